"""Errors say which argument, which path, and what helps."""

from __future__ import annotations

import copy
import errno
import math
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Start
from pubsub_conformance.oracle.base import put
from pubsub_conformance.oracle.queue import enqueue

import pubsub
from pubsub import Channel, Message, PublishFailed, fetch, publish, reap, subscribe

WRONG: dict[str, tuple[str, Callable[[Channel], object]]] = {
    "Channel(5)": ("topic", lambda _: Channel(5)),  # type: ignore[arg-type]
    "Channel(b'a')": ("topic", lambda _: Channel(b"a")),  # type: ignore[arg-type]
    "publish(None)": ("topic", lambda _: publish(None, b"")),  # type: ignore[arg-type]
    "data": ("data", lambda _: publish("a", "text")),  # type: ignore[arg-type]
    "timeout": ("timeout", lambda _: publish("a", b"", timeout="1")),  # type: ignore[arg-type]
    "timeout None": ("timeout", lambda _: publish("a", b"", timeout=None)),  # type: ignore[arg-type]
    "fetch": ("channel", lambda _: fetch("a")),  # type: ignore[arg-type]
    "subscribe": ("channel", lambda _: subscribe("a", print)),  # type: ignore[arg-type]
    "callback": ("callback", lambda channel: subscribe(channel, None)),  # type: ignore[arg-type]
    "on_error": ("on_error", lambda c: subscribe(c, print, on_error="log")),  # type: ignore[arg-type]
    "seconds": ("timeout_seconds", lambda c: subscribe(c, print, None)),  # type: ignore[arg-type]
    "wait": ("timeout_seconds", lambda channel: channel.wait("1")),  # type: ignore[arg-type]
    "wait complex": ("timeout_seconds", lambda channel: channel.wait(1j)),  # type: ignore[arg-type]
    "reap": ("stale_age", lambda _: reap("1")),  # type: ignore[arg-type]
    "sweep": ("stale_age", lambda channel: channel.sweep(None)),  # type: ignore[arg-type]
    "id": ("id", lambda _: Message("a", b"", id="5")),  # type: ignore[arg-type]
    "id 1.5": ("id", lambda _: Message("a", b"", id=1.5)),  # type: ignore[arg-type]
    "timestamp": ("timestamp", lambda _: Message("a", b"", timestamp=1.5)),  # type: ignore[arg-type]
    "content": ("content", lambda _: Message("a", [1])),  # type: ignore[arg-type]
    "from_bytes": ("data", lambda _: Message.from_bytes("text")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("name", "call"), WRONG.values(), ids=WRONG.keys())
def test_a_type_error_names_the_argument(name: str, call: Callable[[Channel], object]) -> None:
    with Channel("a") as channel:
        assert publish("a", b"") == 1
        with pytest.raises(TypeError, match=rf"\b{name}\b"):
            call(channel)
        assert fetch(channel) is not None  # nothing was taken


@pytest.mark.parametrize(
    "call",
    [
        lambda channel: reap(math.nan),
        lambda channel: channel.sweep(math.nan),
        lambda channel: channel.wait(math.nan),
        lambda channel: publish("a", b"", timeout=math.nan),
        lambda channel: subscribe(channel, print, math.nan),
    ],
)
def test_no_time_is_nan(home: Path, call: Callable[[Channel], object]) -> None:
    """Every file is older than so many seconds, and none is."""
    with Channel("a") as channel:
        staged = home / "tmp" / "1"
        staged.touch()
        with pytest.raises(ValueError, match="NaN"):
            call(channel)
        assert staged.exists()


def test_an_error_of_a_publish_goes_to_another_process() -> None:
    """As a pool of processes sends it; one that cannot be made again breaks the pool."""
    error = PublishFailed(2, [("/base/channel", PermissionError(errno.EACCES, "denied"))])
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (str(other), other.errno, other.count) == (str(error), errno.EACCES, 2)
        assert other.failures[0][0] == "/base/channel"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_channel_is_not_copied(copied: Callable[[Channel], object]) -> None:
    with Channel("a") as channel:
        with pytest.raises(TypeError, match="copied or pickled"):
            copied(channel)
        assert publish("a", b"") == 1


def with_no_descriptor_left(call: Callable[[], object]) -> OSError:
    """The error of a call in a process that can open no more files."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[0], 64), limits[1]))
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            pass
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)) as caught:
            call()
        return caught.value
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_without_descriptors_each_error_has_a_path_and_the_remedy(home: Path) -> None:
    closed = Channel("b")
    with Channel("a") as channel:
        assert publish("a", b"") == 1
        calls: dict[str, Callable[[], object]] = {
            "open": closed.open,
            "fetch": lambda: fetch(channel),
            "publish": lambda: publish("a", b""),
            "sweep": channel.sweep,
        }
        for name, call in calls.items():
            error = with_no_descriptor_left(call)
            assert str(error.filename).startswith(f"{home}/"), name
            assert "ulimit" in str(error), name
        error = with_no_descriptor_left(reap)
        assert str(error.filename).startswith(str(home))
        assert fetch(channel) is not None


FULL = """
import errno, os, sys
from pubsub import Channel, publish
home = os.environ["PUBSUB_HOME"] = sys.argv[1] + "/base"
channel = Channel("a")
channel.open()
with open(sys.argv[1] + "/fill", "wb", 0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
try:
    publish("a", b"x" * 10_000)
except OSError as error:
    print(error.errno == errno.ENOSPC, error.filename.startswith(home), "PUBSUB_HOME" in str(error))
channel.close()
"""


def test_a_full_file_system(tmp_path: Path) -> None:
    """A small one of its own needs the right to mount it."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    enter = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    try:
        trial = subprocess.run([*enter, *mount], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare")
    if trial.returncode:
        pytest.skip(f"no file system can be mounted: {trial.stderr!r}")
    program = [*enter, "sh", "-c", '"$0" "$@" && exec "$PYTHON" -c "$PROGRAM" "$PLACE"', *mount]
    environment = {"PYTHON": sys.executable, "PROGRAM": FULL, "PLACE": str(place)}
    root = Path(pubsub.__file__).parent.parent
    ended = subprocess.run(
        program,
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "True True True\n")


LIMITED = """
import builtins, os, signal, sys
from pubsub import Channel, fetch, publish, subscribe, reap

kind = getattr(builtins, sys.argv[2])


class Handler:
    def __call__(self, *_):
        raise kind("the caller's own limit")


channel = Channel("full")
channel.open()
signal.signal(signal.SIGALRM, Handler())
calls = {
    "publish": lambda: publish("full", b"", timeout=60),
    "wait": lambda: channel.wait(60),
    "subscribe": lambda: subscribe(channel, print, 60),
}
if sys.argv[1] == "publish":
    while publish("full", b""):
        pass
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    calls[sys.argv[1]]()
except kind as error:
    print(type(error) is kind, error)
signal.setitimer(signal.ITIMER_REAL, 0)
print(channel.is_open, os.listdir(os.environ["PUBSUB_HOME"] + "/tmp"))
"""


@pytest.mark.parametrize("kind", ["TimeoutError", "FileNotFoundError", "BlockingIOError"])
@pytest.mark.parametrize("use", ["publish", "wait", "subscribe"])
def test_what_a_handler_raises_ends_the_call(start: Start, use: str, kind: str) -> None:
    out, errors = start(LIMITED, use, kind).communicate()
    assert (out, errors) == ("True the caller's own limit\nTrue []\n", "")


def test_a_file_that_may_not_be_opened_has_a_path(home: Path) -> None:
    with Channel("a") as channel:
        put(channel.directory_path, b"", name="5", enqueue=False)
        enqueue(channel.directory_path, 5)
        with pytest.raises(pubsub.InvalidMessage) as caught:
            fetch(channel)
        assert str(channel.directory_path / "5") in str(caught.value)


def test_a_base_below_a_path_of_4000_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_HOME", "/nowhere" + "/d" * 2000)
    for call in (lambda: publish("a", b""), Channel("a").open, reap):
        with pytest.raises(pubsub.BaseUnusable) as caught:
            call()
        assert caught.value.errno == errno.ENAMETOOLONG


SHORT_OF_MEMORY = """
import errno, os, resource, sys
from pathlib import Path
from pubsub import Channel, fetch, publish
with Channel("a") as channel:
    size = int(sys.argv[1])
    publish("a", b"1" * size)
    publish("a", b"next")
    usual = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    octets = pages * os.sysconf("SC_PAGESIZE") + size // 2
    resource.setrlimit(resource.RLIMIT_AS, (octets, usual[1]))
    for _ in range(2):
        try:
            fetch(channel)
        except OSError as error:
            print(errno.errorcode[error.errno], error.filename.startswith(channel._path))
    resource.setrlimit(resource.RLIMIT_AS, usual)
    print([len(message.content) for message in (fetch(channel), fetch(channel))])
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="nothing says what is in use")
@pytest.mark.parametrize("size", [2**20, 2**25])
def test_a_message_for_which_memory_is_short(start: Start, size: int) -> None:  # FETCH-8
    output, errors = start(SHORT_OF_MEMORY, size).communicate()
    assert (output, errors) == (f"ENOMEM True\nENOMEM True\n[{size}, 4]\n", "")
