"""The client of a driver against drivers that each do one thing wrong (misbehaving.py)."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pubsub_conformance.driver import (
    Done,
    Driver,
    DriverError,
    Limits,
    NoReply,
    OpenChannel,
    Rejected,
)
from pubsub_conformance.driver.output import STDERR_OCTETS
from pubsub_conformance.driver.protocol import OPS, SCHEMAS, faults, load_schema, reply_fault
from pubsub_conformance.driver.tables import DRIVER_MD, with_tables

MISBEHAVING = Path(__file__).with_name("misbehaving.py")
NOWHERE = Path("/nonexistent/home")  # no implementation is behind these drivers


class Quick(Driver):
    limits = Limits(
        start_seconds=10.0,  # of which the interpreter needs one on a loaded machine
        reply_seconds=0.3,
        close_seconds=0.3,
        last_words_seconds=0.2,
        unread_octets=2**20,
    )


class Patient(Quick):
    """For modes in which the answer comes, if after some time."""

    limits = Quick.limits._replace(reply_seconds=10.0, close_seconds=10.0, last_words_seconds=5.0)


class HastyStart(Quick):
    limits = Quick.limits._replace(start_seconds=0.3)


Begin = Callable[..., Driver]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts a driver of a mode; afterwards nothing of any process group may be left."""
    pids: list[int] = []

    def start(mode: str, kind: type[Driver] = Quick) -> Driver:
        driver = kind([sys.executable, str(MISBEHAVING), mode], NOWHERE)
        pids.append(driver.pid)
        drivers.append(driver)
        return driver

    drivers: list[Driver] = []
    yield start
    for driver in drivers:
        with contextlib.suppress(DriverError):
            driver.close()
    for pid in pids:
        assert_gone(pid)
    assert not [t for t in threading.enumerate() if t.name == "driver output"]


def assert_gone(pid: int) -> None:
    """No process `pid` and no group `pid`: neither running nor, of our own, a zombie."""
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def runs(pid: int) -> bool:
    """Whether `pid` runs; a zombie that init has not collected does not."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return told.stdout.strip()[:1] not in ("", "Z")


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("mode", "kind", "what", "end"),
    [
        ("crash-at-start", Quick, "stdout ended", "exit status 127"),
        ("silent-at-start", HastyStart, "no reply within 0.3 s", "still running"),
        ("banner", Quick, "misbehaving driver 1.0", "still running"),
        ("refuses-hello", Quick, "hello was refused: bad-request", "still running"),
        ("no-roles", Quick, "roles", "still running"),
    ],
)
def test_start_that_fails(
    mode: str, kind: type[Driver], what: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []
    popen = subprocess.Popen

    def noting(*args: Any, **options: Any) -> object:
        process = popen(*args, **options)
        pids.append(process.pid)
        return process

    monkeypatch.setattr(subprocess, "Popen", noting)
    with pytest.raises(DriverError, match=re.escape(what)) as caught:
        kind([sys.executable, str(MISBEHAVING), mode], NOWHERE)
    assert "hello" in str(caught.value)
    assert end in caught.value.end
    if mode == "crash-at-start":
        assert "no such library" in str(caught.value)
    assert_gone(pids[0])


def test_command_that_does_not_exist() -> None:
    with pytest.raises(DriverError, match="/nonexistent/driver --option cannot be started"):
        Driver(["/nonexistent/driver", "--option"], NOWHERE)


@pytest.mark.parametrize(
    ("mode", "what", "end"),
    [
        ("crash-inside", "stdout ended", "killed by SIGSEGV"),
        ("exit-inside", "stdout ended", "exit status 3"),
        ("half-a-line", "stdout ended", "exit status 0"),
        ("closes-stdout", "stdout ended", "still running"),
        ("garbage", "no JSON: matching...", "still running"),
        ("no-object", "no JSON object: [1]", "still running"),
        ("not-utf-8", "no JSON", "still running"),
        ("not-a-number", "NaN is not JSON", "still running"),
        ("name-twice", "stands twice", "still running"),
        ("deep", "no JSON", "still running"),
        ("late", "no reply within 0.3 s", "still running"),
        ("never", "no reply within 0.3 s", "still running"),
        ("unflushed", "flushed", "still running"),
        ("does-not-read", "no reply within 0.3 s", "still running"),
        ("wrong-seq", "seq 3 in the reply to request 2", "still running"),
        ("no-seq", "seq None in the reply to request 2", "still running"),
        ("wrong-type", 'match must be boolean, found "yes"', "still running"),
        ("field-missing", 'the line lacks "match"', "still running"),
        ("field-too-many", 'must not have "because"', "still running"),
        ("wrong-code", "error.code", "still running"),
        ("no-errno", 'error lacks "errno"', "still running"),
        ("flood-stdout", "1048576 octets", ""),
    ],
)
def test_request_that_fails(begin: Begin, mode: str, what: str, end: str) -> None:
    driver = begin(mode)
    with pytest.raises(DriverError, match=re.escape(what)) as caught:
        driver.match("a", "a")
    assert '"op": "match"' in caught.value.request
    assert end in caught.value.end
    # It is out of step from here on, and says so instead of trying.
    with pytest.raises(DriverError, match=re.escape(caught.value.what)):
        driver.match("a", "a")


@pytest.mark.parametrize("mode", ["crash-inside", "never"])
def test_a_crash_and_a_hang_are_no_reply(begin: Begin, mode: str) -> None:
    """Tests that demand an answer fail for these, and for nothing else."""
    with pytest.raises(NoReply):
        begin(mode).match("a", "a")


@pytest.mark.parametrize("mode", ["wrong-type", "garbage", "wrong-seq", "flood-stdout"])
def test_a_reply_that_breaks_the_protocol_is_a_reply(begin: Begin, mode: str) -> None:
    with pytest.raises(DriverError) as caught:
        begin(mode).match("a", "a")
    assert not isinstance(caught.value, NoReply)


def test_stderr_is_told(begin: Begin) -> None:
    driver = begin("exit-inside")
    with pytest.raises(DriverError) as caught:
        driver.match("a", "a")
    assert caught.value.stderr == "giving up\n"
    assert "giving up" in str(caught.value)


def test_request_that_is_never_read(begin: Begin) -> None:
    driver = begin("does-not-read")
    with pytest.raises(DriverError, match=r"did not read the request within 0\.3 s"):
        driver.publish("a", b"x" * 2**20)


def test_answer_too_many(begin: Begin) -> None:
    """The second answer is found at the next request, whether it came before it or after."""
    driver = begin("twice", Patient)
    assert driver.match("a", "a")
    with pytest.raises(DriverError, match=r"nothing asked for|seq 2 in the reply to request 3"):
        driver.match("a", "a")


def test_answer_too_many_at_the_end(begin: Begin) -> None:
    driver = begin("twice", Patient)
    assert driver.match("a", "a")
    with pytest.raises(DriverError, match="nothing asked for"):
        driver.close()


def test_result_for_an_operation_that_does_not_exist(begin: Begin) -> None:
    with pytest.raises(DriverError, match="an operation that does not exist"):
        begin("result-for-nonsense").request("nonsense")


def test_refusal_is_no_driver_error(begin: Begin) -> None:
    driver = begin("none")
    with pytest.raises(Rejected) as caught:
        driver.request("nonsense")
    assert (caught.value.code, caught.value.detail) == ("unknown-op", "nonsense")
    assert driver.match("a", "a")
    driver.close()


def test_flood_on_stderr_is_read_and_its_end_kept(begin: Begin) -> None:
    driver = begin("flood-stderr", Patient)
    assert driver.match("a", "a")
    wait_until(lambda: driver.stderr.endswith("the end\n"))
    assert len(driver.stderr) <= STDERR_OCTETS


@pytest.mark.parametrize(
    ("mode", "by", "what"),
    [
        ("ignore-end-of-stdin", None, "did not end within 0.3 s of the end of stdin"),
        ("ignore-sigterm", signal.SIGTERM, "did not end within 0.3 s of SIGTERM"),
    ],
)
def test_end_that_does_not_come(
    begin: Begin, mode: str, by: signal.Signals | None, what: str
) -> None:
    with pytest.raises(DriverError, match=re.escape(what)):
        begin(mode).close(by)


def test_exit_status(begin: Begin) -> None:
    with pytest.raises(DriverError, match="exit status 1 after the end of stdin"):
        begin("exit-status", Patient).close()


def test_words_at_the_end(begin: Begin) -> None:
    with pytest.raises(DriverError, match="nothing asked for: bye"):
        begin("farewell", Patient).close()


@pytest.mark.parametrize("mode", ["child", "child-without-pipes"])
def test_process_left_behind(begin: Begin, mode: str) -> None:
    driver = begin(mode)
    wait_until(lambda: "child" in driver.stderr)
    pid = int(driver.stderr.split()[1])
    assert runs(pid)
    driver.limits = driver.limits._replace(close_seconds=10.0)
    with pytest.raises(DriverError, match="left processes of its own behind"):
        driver.close()
    wait_until(lambda: not runs(pid))


@pytest.mark.parametrize("by", [None, signal.SIGTERM])
def test_end_during_a_request(begin: Begin, by: signal.Signals | None) -> None:
    driver = begin("none", Patient)
    driver.begin("wait", channel="c1", timeout=60)
    driver.close(by)


def test_end_of_a_stopped_driver(begin: Begin) -> None:
    driver = begin("none", Patient)
    os.kill(driver.pid, signal.SIGSTOP)
    driver.close()


@pytest.mark.parametrize("how", ["kill", "os.kill"])
def test_death_on_purpose_is_no_error(begin: Begin, how: str) -> None:
    driver = begin("none", Patient)
    if how == "kill":
        driver.kill()
    else:
        os.kill(driver.pid, signal.SIGKILL)
    with pytest.raises(DriverError) as caught:
        driver.match("a", "a")
    assert caught.value.end == "killed by SIGKILL"
    driver.close()


def test_what_went_wrong_first_is_raised(begin: Begin) -> None:
    with pytest.raises(ZeroDivisionError), begin("ignore-end-of-stdin"):
        raise ZeroDivisionError


def test_stream(begin: Begin) -> None:
    driver = begin("none", Patient)
    stream = driver.produce("a", "p", 2, [0])
    events = list(stream)
    assert [event.n for event in events] == [0, 1]
    assert events[0].start == 1  # a number, not its digits
    assert stream.finish() == Done(messages=0, taken=0, start=1, end=2)
    assert driver.match("a", "a")


def test_stream_of_a_driver_that_dies_keeps_what_it_told(begin: Begin) -> None:
    stream = begin("dies-in-stream", Patient).produce("a", "p", 3, [0])
    told = [next(stream).n, next(stream).n]
    assert told == [0, 1]
    with pytest.raises(DriverError, match="stdout ended") as caught:
        next(stream)
    assert caught.value.end == "killed by SIGKILL"


@pytest.mark.parametrize("mode", ["waits-in-stream", "endless-stream"])
def test_stream_without_end(begin: Begin, mode: str) -> None:
    stream = begin(mode).produce("a", "p", 3, [0], within=0.3)
    with pytest.raises(DriverError, match=r"no reply within 0\.3 s|octets on stdout"):
        for _ in stream:
            pass


def test_event_that_breaks_its_schema(begin: Begin) -> None:
    with pytest.raises(DriverError, match="with `count`, or with `error`"):
        list(begin("event-with-both", Patient).produce("a", "p", 3, [0]))


def test_one_request_at_a_time(begin: Begin) -> None:
    driver = begin("waits-in-stream")
    driver.produce("a", "p", 3, [0])
    with pytest.raises(RuntimeError, match="at work"):
        driver.match("a", "a")


def test_request_of_the_kit_that_breaks_its_schema(begin: Begin) -> None:
    driver = begin("none", Patient)
    with pytest.raises(ValueError, match="timeout"):
        driver.wait(OpenChannel("c1", NOWHERE), -1)
    with pytest.raises(ValueError, match="at least one of: count; idle; deadline"):
        driver.consume(OpenChannel("c1", NOWHERE))
    assert driver.match("a", "a")


def test_environment(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "driver.py"
    script.write_text(
        "import os, runpy, sys\n"
        "print(*map(os.environ.get, ['PUBSUB_HOME', 'ADDED', 'REMOVED']), file=sys.stderr)\n"
        f"runpy.run_path({str(MISBEHAVING)!r}, run_name='__main__')\n"
    )
    monkeypatch.setenv("REMOVED", "still there")
    command = [sys.executable, str(script), "none"]
    with Patient(command, tmp_path, env={"ADDED": "yes", "REMOVED": None}) as driver:
        pass
    assert driver.stderr == f"{tmp_path} yes None\n"


def test_transcript(begin: Begin) -> None:
    driver = begin("none", Patient)
    driver.match("a" * 1000, "a")
    asked, answered = driver.transcript.splitlines()[-2:]
    assert asked.startswith('> {"seq": 2, "op": "match", "pattern": "aaa')
    assert len(asked) < 600
    assert answered == '< {"seq": 2, "match": true}'


def test_tables_are_those_of_the_schemas() -> None:
    """`python -m pubsub_conformance.driver.tables` writes them."""
    text = DRIVER_MD.read_text(encoding="utf-8")
    assert with_tables(text) == text
    assert all(f"#### `{op}`" in text for op in OPS)


def fields(schema: object) -> Iterator[tuple[str, dict[str, object]]]:
    if isinstance(schema, dict):
        for name, field in schema.get("properties", {}).items():
            if isinstance(field, dict):
                yield name, field
        for part in schema.values():
            yield from fields(part)


@pytest.mark.parametrize("file", sorted(SCHEMAS.glob("*.json")), ids=lambda p: p.stem)
def test_schema(file: Path) -> None:
    """Each can be used, and each field says what it means."""
    schema = load_schema(file.name)
    for name in schema.get("$defs", {}):
        faults(file.name, name, None)
    for name, field in fields(schema.get("$defs", {})):
        assert "description" in field or "$ref" in field or field.keys() == {"const"}, name


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("0", None),
        ("18446744073709551615", None),
        ("18446744073709551616", "uint64"),
        ("07", "match"),
        ("7\n", "match"),
        ("-1", "match"),
        (7, "must be string"),
    ],
)
def test_unsigned_64_bits(text: object, fault: str | None) -> None:
    event = {"n": 0, "start": text, "end": "1", "count": 0}
    told = reply_fault("produce", {"seq": 1, "event": event})
    assert told is None if fault is None else fault in (told or "")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("", True),
        ("QQ==", True),
        ("QQ", False),
        ("QQ==\n", False),
        ("Q Q==", False),
        ("Q-==", False),
    ],
)
def test_base64(text: str, right: bool) -> None:
    assert (reply_fault("encode", {"seq": 1, "bytes": text}) is None) == right
