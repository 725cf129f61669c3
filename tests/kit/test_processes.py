"""Paths through descriptors, and helpers, in what strace shows."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pubsub_conformance.driver import Driver
from pubsub_conformance.linux import strace
from pubsub_conformance.linux.calls import Call, Log
from pubsub_conformance.linux.processes import Processes, spellings

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="needs the /proc of Linux"
)


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has `tmp_path` open as its stdin."""
    directory = os.open(tmp_path, os.O_RDONLY)
    with subprocess.Popen(["sleep", "60"], stdin=directory) as process:
        os.close(directory)
        yield process
        process.kill()


def calls(processes: Processes, text: str) -> list[Call]:
    """The calls of this log."""
    log = Log(processes.resolve)
    log.add(text)
    return log.calls()


def resolved(idle: subprocess.Popen[bytes], *lines: str) -> list[list[Path]]:
    """The paths of each call of this log."""
    log = "".join(f"{idle.pid} {line}\n" for line in lines)
    return [call.paths for call in calls(Processes([idle.pid]), log)]


def test_the_spellings_of_a_path_through_a_descriptor(
    idle: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """Each is the entry of the directory that the descriptor refers to."""
    places = ("/proc/self", "/proc/thread-self", f"/proc/{idle.pid}", "/dev")
    lines = (f'unlink("{place}/fd/0/queue") = 0' for place in places)
    assert resolved(idle, *lines) == [[tmp_path / "queue"]] * 4
    assert resolved(idle, 'rmdir("/proc/self/fd/0") = 0') == [[tmp_path]]


@given(st.binary(min_size=1))
def test_a_string_is_read_as_strace_writes_it(data: bytes) -> None:
    """Unprintable octets in hexadecimal, a backslash before quotes and backslashes."""
    plain = {*range(0x20, 0x7F)} - {*b'"\\'}
    written = "".join(chr(octet) if octet in plain else f"\\x{octet:02x}" for octet in data)
    assert Call(1, "write", f'5</a>, "{written}"...', 1, None, False).data == data
    escapes = r"\n\t\v\f\r\"\\\0\177"
    assert Call(1, "write", f'5</a>, "{escapes}"', 1, None, False).data == b'\n\t\v\f\r"\\\0\x7f'


def test_a_path_that_leads_through_no_directory_stays(idle: subprocess.Popen[bytes]) -> None:
    """A descriptor that nobody opened, and other files in /proc."""
    for path in ("/proc/self/fd/77/queue", "/proc/self/fdinfo/0", "/dev/fd/0x/queue"):
        assert resolved(idle, f'unlink("{path}") = 0') == [[Path(path)]]


def test_descriptors_that_are_opened_closed_and_opened_again(
    idle: subprocess.Popen[bytes],
) -> None:
    """A path leads where its descriptor led at the call, whatever became of it later."""
    found = resolved(
        idle,
        'openat(AT_FDCWD</>, "/base", O_RDONLY|O_DIRECTORY) = 5</base>',
        'openat(AT_FDCWD</>, "/proc/self/fd/5/tmp", O_RDONLY|O_DIRECTORY) = 6</base/tmp>',
        'link("/proc/self/fd/6/1", "/proc/self/fd/5/a/1") = 0',
        "close(6</base/tmp>) = 0",
        "dup2(5</base>, 6</base/tmp>) = 6</base>",
        'unlink("/proc/self/fd/6/b") = -1 ENOENT (No such file or directory)',
    )
    assert found[2] == [Path("/base/tmp/1"), Path("/base/a/1")]
    assert found[5] == [Path("/base/b")]


def test_a_directory_that_is_renamed(idle: subprocess.Popen[bytes]) -> None:
    """Its descriptor leads to its new path, and that of its neighbour to the old one."""
    found = resolved(
        idle,
        'openat(AT_FDCWD</>, "/base/tmp/x", O_RDONLY) = 5</base/tmp/x>',
        'openat(AT_FDCWD</>, "/base/tmp", O_RDONLY) = 6</base/tmp>',
        'openat(AT_FDCWD</>, "/base/tmp/xy", O_RDONLY) = 7</base/tmp/xy>',
        'renameat2(6</base/tmp>, "x", AT_FDCWD</>, "/base/a", 0) = 0',
        'unlink("/proc/self/fd/5/queue") = 0',
        'rename("/proc/self/fd/6/xy", "/base/b") = -1 EIO (Input/output error)',
        'unlink("/proc/self/fd/7/queue") = 0',
    )
    assert found[4] == [Path("/base/a/queue")]
    assert found[6] == [Path("/base/tmp/xy/queue")]


def test_a_call_that_another_thread_interrupts(idle: subprocess.Popen[bytes]) -> None:
    """Its path leads where its descriptor led when the call began."""
    log = (
        f'{idle.pid} openat(AT_FDCWD</>, "/base", O_RDONLY) = 5</base>\n'
        f"{idle.pid} clone(child_stack=0x1, flags=CLONE_VM|CLONE_THREAD) = 8\n"
        f'8 unlink("/proc/self/fd/5/a" <unfinished ...>\n'
        f'{idle.pid} openat(AT_FDCWD</>, "/other", O_RDONLY) = 5</other>\n'
        f"8 <... unlink resumed>) = 0\n"
    )
    processes = Processes([idle.pid])
    assert calls(processes, log)[-1].paths == [Path("/base/a")]
    assert not processes.helpers


def test_a_helper_is_no_thread_of_the_driver(idle: subprocess.Popen[bytes]) -> None:
    """It has descriptors of its own, and may reach those of the driver by its process id."""
    log = (
        f'{idle.pid} openat(AT_FDCWD</>, "/base", O_RDONLY) = 5</base>\n'
        f"{idle.pid} vfork( <unfinished ...>\n"
        '8 openat(AT_FDCWD</>, "/dev/null", O_RDONLY) = 5</dev/null>\n'
        f"{idle.pid} <... vfork resumed>) = 8\n"
        "8 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0}, 88) = 9\n"
        f'9 mknodat(AT_FDCWD</>, "/proc/{idle.pid}/fd/5/queue", S_IFIFO|0600) = 0\n'
        f'{idle.pid} unlink("/proc/self/fd/5/queue") = 0\n'
    )
    processes = Processes([idle.pid])
    assert [call.paths for call in calls(processes, log)[-2:]] == [[Path("/base/queue")]] * 2
    assert processes.helpers == {8, 9}


def test_every_descriptor_of_the_next_request_is_spelt(idle: subprocess.Popen[bytes]) -> None:
    """strace compares paths as they are written."""
    found = set(spellings([idle.pid], "a/queue"))
    assert {"/proc/self/fd/9/a/queue", "/dev/fd/3/a/queue"} < found
    assert f"/proc/{idle.pid}/fd/9/a/queue" in found


SCRIPT = r"""
import json, os, subprocess, sys
for line in sys.stdin:
    request = json.loads(line)
    reply = {"implementation": "x", "version": "1", "language": "Python", "spec": "1"}
    reply["roles"] = ["topics"]
    if request["op"] != "hello":
        directory = os.open(os.environ["PUBSUB_HOME"], os.O_RDONLY)
        queue = f"/proc/{os.getpid()}/fd/{directory}/queue"
        try:
            subprocess.run(["mkfifo", queue], check=True)
            os.link(f"/proc/self/fd/{directory}/queue", f"/dev/fd/{directory}/linked")
            reply = {"match": True}
        except OSError:
            reply = {"match": False}
        os.close(directory)
    print(json.dumps({"seq": request["seq"], **reply}), flush=True)
"""


@pytest.fixture
def driver(home: Path) -> Iterator[Driver]:
    """It opens its base, has a helper make a FIFO in it, and links this. A match is a success."""
    home.mkdir()
    with Driver(["python3", "-c", SCRIPT], home) as driver:
        yield driver


def test_what_strace_shows_of_a_driver(driver: Driver, home: Path) -> None:
    """The paths are those of the entries, and the helper's calls are not the driver's."""
    with strace.traced(driver) as trace:
        assert driver.match("a", "a")
    (linked,) = trace.calls(*strace.LINK)
    assert linked.paths == [home / "queue", home / "linked"]
    assert not trace.calls(*strace.MAKE_FIFO)


def test_a_filter_of_paths_sees_those_through_descriptors(driver: Driver, home: Path) -> None:
    """An injection meets only the calls on this path, whatever its spelling."""
    with strace.traced(
        driver, strace.stop(strace.LINK), paths=[home / "linked", "linked"]
    ) as trace:
        begun = trace.begin(driver.match, "a", "a")
        assert trace.stopped().name in strace.LINK
        assert (home / "linked").exists()
        trace.go_on()
        assert begun.result()


def test_a_program_that_the_driver_starts_is_left_alone(driver: Driver, home: Path) -> None:
    """Without `helpers` nothing can stop it."""
    with strace.traced(driver, strace.stop(strace.MAKE_FIFO)) as trace:
        begun = trace.begin(driver.match, "a", "a")
        assert trace.stopped().name in strace.MAKE_FIFO
        trace.go_on()
        assert begun.result()
    for name in ("queue", "linked"):
        (home / name).unlink()
    with strace.traced(driver, strace.stop(strace.MAKE_FIFO), helpers=False) as trace:
        begun = trace.begin(driver.match, "a", "a")
        with pytest.raises(strace.CannotTrace):
            trace.stopped()
        assert begun.result()
        assert not trace.helper_was_hit()


def test_a_disturbance_that_meets_a_helper(driver: Driver) -> None:
    """It is none of the driver's calls that fails before the helper runs its program."""
    with strace.traced(driver, strace.fail(("execve",), "EACCES", None), helpers=False) as trace:
        assert not driver.match("a", "a")
    assert trace.helper_was_hit()
    assert not any(call.injected for call in trace.calls())


def test_a_process_stops_again_before_another_is_seen_to_go_on(
    driver: Driver, idle: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """SIGCONT goes to the whole group: the line of the driver may come after the helper's stop."""
    log = tmp_path / "log"
    call = f'{idle.pid} openat(AT_FDCWD</>, "/queue", O_RDONLY) = 3</queue>\n'
    stop = f"{idle.pid} --- SIGSTOP {{}} ---\n{idle.pid} --- stopped by SIGSTOP ---\n"
    log.write_text(f"{call}{stop}{driver.pid} --- SIGCONT {{}} ---\n")
    trace = strace.Trace(driver, log)
    try:
        assert trace.stopped().pid == idle.pid
    finally:
        trace._end()
