"""What belongs to the program that imports the package is neither used up nor believed."""

from __future__ import annotations

import functools
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from pubsub_conformance.oracle.queue import enqueue

import pubsub
from pubsub import Channel, ChannelLost, fetch, publish, reap, subscribe


def result(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    return out


def test_a_channel_loads_what_it_needs_without_descriptors(start: Start) -> None:
    program = """
import resource, sys
from pubsub import Channel
from pubsub.log import logger

with Channel("a") as channel:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, most[1]))
    sys.path_importer_cache.clear()
    print(channel.directory_path.name[:2], logger().name)
    resource.setrlimit(resource.RLIMIT_NOFILE, most)
"""
    assert result(start(program)) == "a_ pubsub\n"


def test_the_programs_random_numbers_are_those_of_its_seed() -> None:
    def draw(work: Callable[[], object]) -> float:
        random.seed(1)
        work()
        return random.random()

    with Channel("a"):
        assert draw(lambda: publish("a", b"")) == draw(lambda: None)


def test_a_clock_that_the_program_has_stopped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Channel("a") as channel:
        staged = home / "tmp" / "1"
        staged.touch()  # as another process does in a publish
        while publish("a", b""):
            pass
        for name in ("time", "monotonic"):
            monkeypatch.setattr(time, name, lambda: 4e9)  # in the year 2096
            monkeypatch.setattr(time, f"{name}_ns", lambda: 4 * 10**18)
        assert publish("a", b"", timeout=0.01) == 0
        reap()
        assert staged.exists()
        message = fetch(channel)
        assert message is not None
        assert message.timestamp < 4 * 10**15
        while fetch(channel):
            pass
        assert publish("a", b"") == 1
        message = fetch(channel)
        assert message is not None
        assert message.timestamp == 4 * 10**15  # this is the program's
        assert not channel.wait(0.01)
        assert subscribe(channel, print, 0.01) == 0


WITHOUT_STANDARD_FILES = """
import os, sys
os.closerange(0, 3)
from pubsub import Channel, fetch, publish
with Channel("a") as channel:
    assert channel.fileno() > 2
    for descriptor in range(3):
        try:
            os.write(descriptor, b"output ")
        except OSError:
            pass
    assert publish("a", b"") == 1
    assert fetch(channel).topic == "a"
    assert fetch(channel) is None
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        os._exit(5)  # ours, or left open
os._exit(0)
"""


def test_no_descriptor_takes_the_place_of_a_standard_file() -> None:
    program = [sys.executable, "-c", WITHOUT_STANDARD_FILES]
    root = Path(pubsub.__file__).parent.parent
    assert subprocess.run(program, cwd=root, check=False).returncode == 0


SIGPIPE = """
import os, signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
from pubsub import publish
home = os.environ["PUBSUB_HOME"]
channel = f"{home}/a_abcdefABCDEF_1"
os.makedirs(channel)
os.chmod(home, 0o700)
os.mkfifo(f"{channel}/queue")
reader = os.open(f"{channel}/queue", os.O_RDONLY | os.O_NONBLOCK)
# The reader dies when the publisher has opened the queue, and is about to write.
sys.addaudithook(lambda event, _: os.close(reader) if event == "os.link" else None)
print(publish("a", b""), os.listdir(channel))
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.sigpending(), flush=True)
os.kill(os.getpid(), signal.SIGPIPE)
"""


def test_a_reader_that_dies_where_the_program_lets_sigpipe_kill(start: Start) -> None:  # PUB-16
    process = start(SIGPIPE)
    out, errors = process.communicate()
    assert (out, errors) == ("0 ['queue']\nset() set()\n", "")
    assert process.returncode == -13  # the program has what it asked for


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with Channel("a") as channel:
        assert publish("a", b"") == 1
        assert fetch(channel) is not None
    monkeypatch.setenv("PUBSUB_HOME", "relative")
    with pytest.raises(pubsub.BaseUnusable, match="PUBSUB_HOME"):
        publish("a", b"")


def test_functions_of_the_program_in_os(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test suites put them there, to find calls that block, or to let one fail."""
    names = "access close fstat link listdir lstat mkdir open read rename rmdir scandir stat unlink"
    for name in names.split():
        function = getattr(os, name)

        def call(*arguments: Any, function: Any = function, **named: Any) -> Any:
            return function(*arguments, **named)

        replaced = functools.wraps(function)(call)
        for table in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if function in table:
                monkeypatch.setattr(os, name, replaced)
                table.add(replaced)
        monkeypatch.setattr(os, name, replaced)
    for _ in range(2):  # the second one finds `tmp`
        with Channel("a") as channel:
            assert publish("a", b"") == 1
            assert fetch(channel) is not None
            assert publish("b", b"") == 0
            enqueue(channel.directory_path, 5)  # the id of no file
            assert fetch(channel) is None
            assert publish("a", b"unread") == 1
    assert os.listdir(home) == ["tmp"]
    assert os.listdir(home / "tmp") == []


LOGGING = """
import logging.config
from pubsub import Channel, publish, subscribe
logging.config.dictConfig({
    "version": 1,
    "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}},
    "root": {"handlers": ["out"]},
})
with Channel("a") as channel:
    publish("a", b"")
    print(subscribe(channel, lambda message: channel.close() or 1 / 0))
"""


def test_logging_that_is_configured_after_the_import(start: Start) -> None:
    """That disables the loggers that exist, unless it is asked not to."""
    assert "ZeroDivisionError" in result(start(LOGGING))


CLOSES_ALL = """
import ctypes, os, sys
from pubsub import Channel, ChannelLost, fetch, publish

channel = Channel("a")
channel.open()
parent = os.getpid()
if sys.argv[1] == "child":
    child = ctypes.PyDLL(None).fork()  # runs no hooks, as daemon() runs none
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert publish("a", b"") == 1
        assert fetch(channel) is not None
        sys.exit()
os.closerange(3, 100)
numbers = [os.open(sys.executable, os.O_RDONLY) for _ in range(20)]
if sys.argv[1] == "parent":
    assert channel.wait(0)
    for _ in range(2):
        try:
            fetch(channel)
        except ChannelLost as error:
            assert "closed" in str(error)
        else:
            raise AssertionError
    try:
        channel.sweep()
    except ChannelLost:
        pass
else:
    assert not channel.is_open
channel.close()
assert not channel.is_open
assert publish("b", b"") == 0
read = [os.lseek(number, 0, os.SEEK_CUR) for number in numbers]  # all are open still
assert sum(read) <= 16, read
"""


@pytest.mark.parametrize("where", ["parent", "child"])
def test_a_program_that_closes_all_descriptors(home: Path, start: Start, where: str) -> None:
    """Its own files have our numbers then: they are not closed, nor read to their ends."""
    assert result(start(CLOSES_ALL, where)) == ""
    assert os.listdir(home) == ["tmp"]


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "fifo"])
def test_a_subscriber_whose_descriptor_is_another_file(tmp_path: Path, path: str) -> None:
    if path == "fifo":  # one that is never readable
        os.mkfifo(tmp_path / path)
    other = os.open(tmp_path / path, os.O_RDONLY | os.O_NONBLOCK)
    with Channel("a") as channel:
        os.dup2(other, channel.fileno(), inheritable=False)
        with pytest.raises(ChannelLost, match="closed"):
            subscribe(channel, print)
        number = channel.fileno()
    os.fstat(number)  # it was not closed
    os.close(number)
    os.close(other)


DEEP = """
import os, sys
from pubsub import Channel, fetch, publish

home = os.environ["PUBSUB_HOME"]


def descriptors():
    found = set()
    for number in range(64):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.add(number)
    return found


def at(depth, call):
    return at(depth - 1, call) if depth else call()


# A channel that nobody reads, of a process that runs: the reaper looks at both.
os.makedirs(f"{home}/x_abcdefABCDEF_{os.getppid()}")
os.chmod(home, 0o700)
os.mkfifo(f"{home}/x_abcdefABCDEF_{os.getppid()}/queue")
one, two = Channel("a"), Channel("b")
one.open(), two.open(), two.close()
before = descriptors()
ended = set()
for name, call in {
    "publish": lambda: publish("a", b""),
    "fetch": lambda: fetch(one),
    "wait": lambda: one.wait(0),
    "open": two.open,
    "close": two.close,
}.items():
    for depth in range(sys.getrecursionlimit() - 60, sys.getrecursionlimit()):
        if name == "close":
            two.open()
        if name == "fetch":
            publish("a", b"")
        try:
            at(depth, call)
        except RecursionError:
            ended.add(name)
        two.close()
        while fetch(one):
            pass
        assert descriptors() == before, (name, depth)
        assert os.listdir(f"{home}/tmp") == [], (name, depth)
        assert os.listdir(one.directory_path) == ["queue"], (name, depth)
assert len(ended) == 5
"""


def test_a_program_that_calls_too_deep(start: Start) -> None:
    """A call that ends by a RecursionError leaves nothing either."""
    assert result(start(DEEP)) == ""


@pytest.mark.parametrize("flags", [["-O"], ["-OO"], ["-bb"], ["-X", "dev"], ["-S"]])
def test_modes_of_the_interpreter(flags: list[str]) -> None:
    program = """
from pubsub import Channel, fetch, publish, reap
with Channel("a.+") as channel:
    assert_ = publish("a.b", b"x", {"n": 1}), fetch(channel).content, publish("a.b", b"y")
    channel.sweep()
reap()
print(assert_)
"""
    command = [sys.executable, "-W", "error", *flags, "-c", program]
    root = Path(pubsub.__file__).parent.parent
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "(1, b'x', 1)\n")
