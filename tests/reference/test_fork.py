from __future__ import annotations

import fcntl
import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Start

from pubsub import Channel, ChannelClosed, fetch, publish, subscribe
from pubsub.ids import next_id

# Python 3.12 and later warn about a fork while there are threads; that it harms nothing here is
# what these tests are for.
pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)


class Child:
    """A forked child. It says what `work` returned, and then lives until it is let go."""

    def __init__(self, work: Callable[[], object]) -> None:
        results, result = os.pipe()
        release, self._release = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:  # never returns: what follows in the test is the parent's
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)  # what hangs is not to outlive the test
            try:
                os.close(results)
                os.close(self._release)
                os.write(result, repr(work()).encode())
                os.close(result)
                os.read(release, 1)
                os._exit(0)
            except BaseException as error:
                os.write(result, repr(error).encode())
            finally:
                os._exit(1)
        os.close(result)
        os.close(release)
        with open(results) as said:
            self.said = said.read()

    def finish(self) -> int:
        os.close(self._release)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def ends_to_read(base: Path) -> set[int]:
    """The descriptors of this process from which it could read a FIFO in the base."""
    found = set()
    device = base.parent.stat().st_dev  # pipes have none: libuv makes one in a forked child
    for descriptor in range(100):
        with suppress(OSError):
            access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
            status = os.fstat(descriptor)
            if access == os.O_RDONLY and stat.S_ISFIFO(status.st_mode) and status.st_dev == device:
                found.add(descriptor)
    return found


def is_closed(channel: Channel) -> bool:
    with pytest.raises(ChannelClosed):
        fetch(channel)
    with pytest.raises(ChannelClosed):
        subscribe(channel, print)
    channel.close()
    return not channel.is_open


def test_a_child_owns_none_of_its_parents_channels() -> None:
    with Channel("a") as channel:
        assert publish("a", b"before") == 1
        child = Child(lambda: (is_closed(channel), publish("a", b"from the child")))
        assert child.finish() == 0
        assert child.said == "(True, 1)"
        assert publish("a", b"after") == 1
        contents = [fetch(channel).content for _ in range(3)]  # type: ignore[union-attr]
        assert contents == [b"before", b"from the child", b"after"]


def test_a_child_that_exits_in_good_order_removes_only_its_own(home: Path) -> None:
    with Channel("a") as channel:
        pid = os.fork()
        if pid == 0:
            # What atexit does, without pytest's own part of it.
            status = 1
            try:
                from pubsub.owners import _close_all

                Channel("b").open()
                channel.open()
                _close_all()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert [path for path in home.iterdir() if path.name != "tmp"] == [channel.directory_path]
        assert publish("a", b"") == 1
        assert fetch(channel) is not None


def test_a_child_does_not_keep_its_parents_queue_alive() -> None:
    channel = Channel("a")
    channel.open()
    child = Child(lambda: "alive")
    queue = os.open(channel.directory_path / "queue", os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(queue, bytes(8))
        channel.close()
        with pytest.raises(BrokenPipeError):
            os.write(queue, bytes(8))
    finally:
        os.close(queue)
        assert child.finish() == 0


def test_a_callback_that_forks() -> None:
    """In the child, too, the loop around the callback goes on: it finds the channel closed."""
    children = []
    with Channel("a") as channel:
        assert publish("a", b"") == 1
        parent = os.getpid()
        results, result = os.pipe()

        def callback(message: object) -> None:
            children.append(os.fork())
            if os.getpid() == parent:
                channel.close()

        try:
            count = subscribe(channel, callback)
        finally:
            if os.getpid() != parent:
                os.write(result, str(count).encode())
                os._exit(0)
        os.close(result)
        with open(results) as said:
            assert (count, said.read()) == (1, "1")
        assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


def test_ids_differ_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    # Time tells them apart, but not reliably; here it stands still, and randomness has to.
    next_id()
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now)
    child = Child(lambda: [next_id() for _ in range(50)])
    assert child.finish() == 0
    ours = [next_id() for _ in range(50)]
    theirs = child.said.strip("[]").split(", ")
    assert len(theirs) == 50
    assert list(map(str, ours)) != theirs


def test_a_fork_at_any_moment_of_another_thread(home: Path) -> None:
    stop = threading.Event()

    def open_and_close() -> None:
        while not stop.is_set():
            with Channel("b") as channel:
                publish("b", b"")
                fetch(channel)

    def work() -> object:
        inherited = ends_to_read(home)
        with Channel("c") as channel:
            count = publish("c", b"")
            return len(inherited), is_closed(shared), count, fetch(channel) is not None

    def receive() -> None:
        while not stop.is_set():
            publish("a", b"")
            fetch(shared)

    threads = [threading.Thread(target=target) for target in (open_and_close, receive)]
    with Channel("a") as shared:
        for thread in threads:
            thread.start()
        try:
            for _ in range(60):
                child = Child(work)
                assert child.said == "(0, True, 1, True)"
                assert child.finish() == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join()


# --- a fork that runs no hooks of Python: uWSGI's, or that of any library in C ---

WITHOUT_HOOKS = """
import ctypes, os, sys, threading
from pubsub import Channel, ChannelClosed, fetch, publish, subscribe
from pubsub.ids import next_id

channel = Channel("a")
channel.open()
next_id()
locked, release = threading.Event(), threading.Event()

def hold_the_locks():
    with channel._lock, __import__("pubsub.ids").ids._lock:
        locked.set()
        release.wait()

if sys.argv[1] == "locked":
    threading.Thread(target=hold_the_locks).start()
    locked.wait()
child = ctypes.PyDLL(None).fork()
if child == 0:
    assert not channel.is_open
    for use in (fetch, lambda c: c.wait(0), lambda c: c.fileno(), lambda c: c.sweep(),
                lambda c: subscribe(c, print)):
        try:
            use(channel)
        except ChannelClosed:
            continue
        os._exit(3)
    channel.close()
    assert publish("a", b"from the child") == 1
    with channel:  # its own now
        assert publish("a", b"") == 2
        assert fetch(channel).content == b""
    Channel("c").open()  # to be closed at the end
    if sys.argv[1] == "locked":
        os._exit(0)  # Python itself would wait for the thread
    sys.exit()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
release.set()
assert publish("a", b"from the parent") == 1
print([fetch(channel).content for _ in range(3)], fetch(channel), channel.directory_path.exists())
"""


@pytest.mark.parametrize("state", ["free", "locked"])
def test_a_child_that_no_hook_has_told(home: Path, start: Start, state: str) -> None:
    out, errors = start(WITHOUT_HOOKS, state).communicate()
    assert (out, errors) == ("[b'from the child', b'', b'from the parent'] None True\n", "")
    left = [path.name for path in home.iterdir() if path.name != "tmp"]
    assert all(name.startswith("c_") for name in left)
    assert len(left) == (state == "locked")


def test_a_child_that_no_hook_has_told_only_ends(home: Path, start: Start) -> None:
    """It uses nothing of the package; what the exit runs takes no channel of the parent down."""
    program = """
import ctypes, os
from pubsub import Channel, fetch, publish
with Channel("a") as channel:
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        raise SystemExit
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert publish("a", b"") == 1
    assert fetch(channel) is not None
"""
    assert start(program).communicate() == ("", "")
    assert os.listdir(home) == ["tmp"]
