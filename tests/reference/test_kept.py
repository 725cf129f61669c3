"""The publisher's side of the inline lane: records, room, and queues that are kept open."""

from __future__ import annotations

import errno
import io
import os
import resource
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Start, needs_inline
from test_fork import Child
from test_inline import contents

import pubsub.delivery
import pubsub.listing
from pubsub import Channel, Message, PublishFailed, close_kept_queues, fetch, publish, reap
from pubsub.capacity import allowance
from pubsub.clock import monotonic
from pubsub.delivery import deliver
from pubsub.place import Place

pytestmark = [
    needs_inline,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> Iterator[None]:
    close_kept_queues()
    yield
    close_kept_queues()


@pytest.fixture
def channel() -> Iterator[Channel]:
    with Channel("a", inline=True) as channel:
        yield channel


def warm(topic: str = "a") -> None:
    """Have the list kept, and the queues of the topic's channels with it."""
    while pubsub.listing.kept(Place.here()) is None:
        publish("nobody", b"")
    publish(topic, b"warm")


def fill(channel: Channel, octets: int) -> None:
    """Write so many octets of wake-ups to the queue of a channel."""
    end = os.open(channel.directory_path / "queue", os.O_WRONLY | os.O_NONBLOCK)
    assert os.write(end, bytes(octets)) == octets
    os.close(end)


def kept() -> list[int]:
    """The descriptors that are kept."""
    listing = pubsub.listing._kept[-1]
    lanes = listing._lanes.values() if listing else ()
    return [number for lane in lanes for number in lane.kept]


def queues() -> set[int]:
    """The descriptors of this process to which it could write as to a queue of the base."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # that of the listing
            continue
        if "/queue" in link and os.environ["PUBSUB_HOME"] in link:
            found.add(int(name))
    return found


@contextmanager
def few_descriptors(free: int) -> Iterator[None]:
    """So many more descriptors can be had meanwhile."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.dup(0)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one + free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


# --- what becomes of a message ---


def test_the_outcome_names_each_channel(home: Path, channel: Channel) -> None:
    with Channel("a") as full, Channel("a") as left_out:
        others = str(left_out.directory_path).__ne__
        while not deliver(Message("a", b"fills")).full:
            contents(channel), contents(left_out)
        contents(channel), contents(left_out)
        dead = home / "a_aaaaaaaaaaaa_1"
        dead.mkdir()
        os.mkfifo(dead / "queue")
        (dead / "inline").touch()
        for _ in range(2):  # with a new list, and with one that is kept
            outcome = deliver(Message("a", b""), 0, others)
            assert outcome.taken == [str(channel.directory_path)]
            assert outcome.full == [str(full.directory_path)]
            assert outcome.gone == [str(dead)]
            assert outcome.failed == []
            assert fetch(left_out) is None
            warm("b")
        shutil.rmtree(dead)


def test_a_ready_message_keeps_its_timestamp(channel: Channel) -> None:
    message = Message("a", b"content", {"n": 1}, timestamp=5)
    assert deliver(message).taken == [str(channel.directory_path)]
    assert fetch(channel) == message


def test_a_failed_staging_is_counted_around(
    home: Path, channel: Channel
) -> None:  # INLINE-14, INLINE-15
    with Channel("a") as plain:
        for _ in range(2):
            shutil.rmtree(home / "tmp")
            (home / "tmp").touch()
            with pytest.raises(PublishFailed) as caught:
                publish("a", b"record")
            assert caught.value.count == 1
            assert [path for path, _ in caught.value.failures] == [str(plain.directory_path)]
            assert contents(channel) == [b"record"]
            with pytest.raises(pubsub.BaseUnusable):
                publish("a", b"." * 2000)
            (home / "tmp").unlink()
            (home / "tmp").mkdir()
            warm()
            contents(plain), contents(channel)
    shutil.rmtree(home / "tmp")
    (home / "tmp").touch()
    assert publish("a", b"no file is needed") == 1
    fill(channel, 40_000)
    assert publish("a", b"and here none can be had") == 1
    (home / "tmp").unlink()


def test_a_copy_that_cannot_be_staged_again(
    home: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:  # INLINE-15, PUB-12
    fill(channel, 40_000)
    link = os.link

    def and_tmp_vanishes(*arguments: str) -> None:
        if (home / "tmp").is_dir():
            shutil.rmtree(home / "tmp")
            (home / "tmp").touch()
        link(*arguments)

    with monkeypatch.context() as patch, Channel("a") as plain:
        patch.setattr(os, "link", and_tmp_vanishes)
        with pytest.raises(PublishFailed) as caught:
            publish("a", b"once")
        assert caught.value.count == 1
        assert caught.value.failures[0][0] == str(plain.directory_path)
        assert contents(channel) == [b"once"]
        (home / "tmp").unlink()


def test_what_was_taken_is_not_sent_again(
    home: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:  # INLINE-17
    with Channel("a") as plain:
        warm()
        contents(channel), contents(plain)
        send = pubsub.listing.send

        def and_then_tmp_vanishes(*arguments: object) -> object:
            left = send(*arguments)  # type: ignore[arg-type]
            shutil.rmtree(home / "tmp")
            return left

        monkeypatch.setattr(pubsub.listing, "send", and_then_tmp_vanishes)
        assert publish("a", b"once") == 2
        assert (contents(channel), contents(plain)) == ([b"once"], [b"once"])
        assert os.listdir(home / "tmp") == []


def test_a_queue_that_takes_a_part_is_not_counted(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:  # INLINE-7
    write = os.write

    def part(octets: bytes) -> bytes:
        return octets[
            : 8 if octets[:2] == b"\x80\0" and not octets.endswith(b"warm\0\0\0") else None
        ]

    class Part(io.FileIO):
        def write(self, octets: bytes) -> int:  # type: ignore[override]
            return super().write(part(octets))

    monkeypatch.setattr("pubsub.lane.FileIO", Part)
    for prepare in (close_kept_queues, warm):
        prepare()
        contents(channel)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda end, octets: write(end, part(octets)))
            with pytest.raises(PublishFailed, match="8 octets of 48") as caught:
                publish("a", b"")
        assert (caught.value.count, caught.value.errno) == (0, errno.EIO)
        with pytest.raises(pubsub.DamagedQueue):
            fetch(channel)


# --- room ---


def test_a_burst_to_a_subscriber_that_sleeps(channel: Channel) -> None:
    """Records until the queue is half full, then files: in order, and none is lost (INLINE-13)."""
    taken = [b"%d" % n for n in range(4000) if publish("a", b"%d" % n + bytes(80))]
    assert len(taken) == 4000 if os.sysconf("SC_PAGE_SIZE") == 4096 else 3000
    by_file = len(os.listdir(channel.directory_path)) - 2
    assert 0 < by_file < len(taken)
    assert [content.rstrip(b"\0") for content in contents(channel)] == taken


def test_ids_take_room_too(channel: Channel) -> None:
    """A queue is looked at again after a sixteenth of it was written, by ids too (INLINE-13)."""
    warm()
    assert publish("a", b"looks at the queue") == 1
    fill(channel, 40_000)
    for _ in range(512):
        assert publish("a", b"." * 2000) == 1
    assert publish("a", b"by file, for the queue is more than half full") == 1
    assert len(os.listdir(channel.directory_path)) == 2 + 513


def test_the_program_that_has_undone_the_ignoring_of_sigpipe(home: Path, start: Start) -> None:
    program = """
import os, signal
from pubsub import Channel, publish
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
with Channel("a", inline=True) as channel:
    while publish("a", b"") and not __import__("pubsub").listing._kept[-1]:
        pass
    assert publish("a", b"") == 1
    read, write = channel._opened()._queue
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, read), os.dup2(null, write)
    print(publish("a", b""), publish("a", b""), flush=True)
    os._exit(0)
"""
    assert start(program).communicate() == ("0 0\n", "")


# --- queues that are kept ---


def test_a_kept_queue_is_written_to_and_nothing_else(channel: Channel) -> None:
    warm()
    assert len(kept()) == 1
    before = queues()
    assert publish("a", b"again") == 1
    assert queues() == before
    assert contents(channel) == [b"warm", b"again"]


def test_kept_queues_go_with_their_list(
    tmp_path: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:  # INLINE-21
    warm()
    channel.directory_path.rename(tmp_path / "elsewhere")  # its reader lives on
    assert publish("a", b"") == 0
    (tmp_path / "elsewhere").rename(channel.directory_path)
    warm()
    assert len(kept()) == 1
    monkeypatch.setenv("PUBSUB_HOME", str(tmp_path / "other"))
    with Channel("b"):
        assert publish("a", b"") == 0
        assert kept() == []
    monkeypatch.undo()


def test_few_queues_are_kept(home: Path) -> None:  # INLINE-22
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    channels = [Channel("a", inline=True) for _ in range(20)]
    for channel in channels:
        channel.open()
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        warm()
        assert len(kept()) == 100 // 8
        assert publish("a", b"") == 20
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    warm()
    assert len(kept()) == 100 // 8  # as long as the list is the same
    for channel in channels:
        channel.close()


@pytest.mark.parametrize("operation", ["open", "fetch", "publish", "list"])
def test_kept_queues_make_way(channel: Channel, operation: str) -> None:  # INLINE-24
    others = [Channel("b", inline=True) for _ in range(4)]
    for other in others:
        other.open()
    file = b"." * 2000
    publish("a", file)
    warm("b")
    assert len(kept()) == 4
    new = Channel("c")
    with few_descriptors(0):
        if operation == "open":
            new.open()
        elif operation == "fetch":
            assert contents(channel)[0] == file
        elif operation == "publish":
            assert publish("a", file) == 1
        else:
            pubsub.files.entries(os.environ["PUBSUB_HOME"])
        assert kept() == []
        assert publish("b", b"") == 4
    for opened in (*others, new):
        opened.close()


@pytest.mark.parametrize("free", range(5))
def test_kept_queues_make_way_for_a_reaper(home: Path, free: int) -> None:  # INLINE-24
    """Whichever of its openings lacks a descriptor: a dead channel with a message is removed."""
    channels = [Channel("b", inline=True) for _ in range(4)]
    for channel in channels:
        channel.open()
    dead = home / f"a_aaaaaaaaaaaa_{2**31 - 1}"
    dead.mkdir()
    os.mkfifo(dead / "queue")
    (dead / "1").touch()
    warm("b")
    assert len(kept()) == 4
    with few_descriptors(free):
        reap()
    assert not dead.exists()
    assert os.listdir(home / "tmp") == []
    for channel in channels:
        channel.close()


def test_kept_queues_make_way_for_a_higher_number(channel: Channel) -> None:
    """What was opened as 0 needs another number (INLINE-23, INLINE-24)."""
    warm()
    saved = os.dup(0)
    with few_descriptors(0):
        os.close(0)
        try:
            assert publish("a", b"." * 2000) == 1
            assert kept() == []
        finally:
            os.dup2(saved, 0)
    os.close(saved)


def test_queues_of_an_earlier_list_make_way(channel: Channel) -> None:
    """An exception of a signal handler may have kept them from being closed."""
    warm()
    pubsub.listing._kept.append(None)
    with few_descriptors(0):
        assert publish("a", b"." * 2000) == 1


def test_a_number_that_the_program_has_closed(channel: Channel) -> None:
    warm()
    os.close(*kept())
    assert publish("a", b"") == 1
    assert contents(channel) == [b"warm", b""]


def test_a_file_under_a_number_that_the_program_has_closed(
    tmp_path: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon closes all descriptors, and then opens files of its own."""
    warm()
    (number,) = kept()
    os.close(number)
    with open(tmp_path / "log", "wb") as log:
        assert log.fileno() == number
        later = monotonic() + 2
        monkeypatch.setattr("pubsub.listing.monotonic", lambda: later)
        assert publish("a", b"after a rest") == 1
        assert len(kept()) == 1
        close_kept_queues()
        assert os.fstat(log.fileno()).st_size == 0
    assert contents(channel) == [b"warm", b"after a rest"]


def test_a_dead_queue_is_closed_and_passed_over(channel: Channel) -> None:
    warm()
    inbox = channel._opened()
    null = os.open("/dev/null", os.O_RDONLY)
    for end in inbox._queue:
        os.dup2(null, end)  # closes both, as the death of its process does
    for _ in range(2):
        outcome = deliver(Message("a", b""))
        assert outcome.gone == [str(channel.directory_path)]
        assert kept() == []
    os.close(null)


def test_a_waiting_publish_sees_that_a_channel_has_gone(
    tmp_path: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:  # INLINE-18
    warm()
    while publish("a", bytes(900)):
        pass
    wait = pubsub.delivery._Delivery._wait_for_room

    def meanwhile(self: object, *arguments: object) -> None:
        if channel.directory_path.exists():
            channel.directory_path.rename(tmp_path / "elsewhere")
        wait(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pubsub.delivery._Delivery, "_wait_for_room", meanwhile)
    assert deliver(Message("a", b""), 1000).gone == [str(channel.directory_path)]


def test_a_child_closes_its_copies(channel: Channel) -> None:
    warm()
    numbers = kept()
    assert numbers

    def work() -> object:
        held = queues()
        return held & set(numbers), publish("a", b"from the child")

    child = Child(work)
    assert (child.said, child.finish()) == ("(set(), 1)", 0)
    assert kept() == numbers
    assert publish("a", b"") == 1


WITHOUT_HOOKS = """
import ctypes, os
from pubsub import Channel, publish, listing
with Channel("a", inline=True):
    while publish("a", b"") and not listing._kept[-1]:
        pass
    publish("a", b"")
    (number,) = [number for lane in listing._kept[-1]._lanes.values() for number in lane.kept]
    if ctypes.PyDLL(None).fork() == 0:
        publish("nobody", b"")
        try:
            os.fstat(number)
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.wait()[1]), publish("a", b""))
"""


def test_a_child_that_no_hook_has_told(start: Start) -> None:
    assert start(WITHOUT_HOOKS).communicate() == (f"{errno.EBADF} 1\n", "")


def test_another_user_lists_anew(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    warm()
    before = pubsub.listing._kept[-1]
    assert pubsub.listing.kept(Place.here()) is before
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert pubsub.listing.kept(Place.here()) is None


def test_no_number_is_closed_under_a_writer(
    home: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads publish while the base changes all the time: each write is to a FIFO."""
    strange: list[object] = []

    class Watched(io.FileIO):
        def write(self, octets: bytes) -> int:  # type: ignore[override]
            try:
                if not stat.S_ISFIFO(os.fstat(self.fileno()).st_mode):
                    strange.append(octets)
            except OSError as error:
                strange.append(error)
            return super().write(octets)

    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            outcome = deliver(Message("a", b"."))
            strange.extend(outcome.failed)
            if outcome.full:
                contents(channel)

    monkeypatch.setattr("pubsub.lane.FileIO", Watched)
    workers = [threading.Thread(target=work) for _ in range(3)]
    warm()
    for worker in workers:
        worker.start()
    for n in range(300):
        (home / f"changed{n}").mkdir()
        close_kept_queues()
    stop.set()
    for worker in workers:
        worker.join()
    assert strange == []


def test_a_kept_queue_is_written_to_and_closed_under_one_lock(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no thread closes a number that another is about to write to."""
    had: list[bool] = []

    def try_lock() -> None:
        had.append(pubsub.listing._lock.acquire(blocking=False))
        if had[-1]:
            pubsub.listing._lock.release()

    def try_lock_elsewhere() -> None:
        other = threading.Thread(target=try_lock)
        other.start()
        other.join()

    class Watched(io.FileIO):
        def write(self, octets: bytes) -> int:  # type: ignore[override]
            try_lock_elsewhere()
            return super().write(octets)

        def close(self) -> None:
            if not self.closed:
                try_lock_elsewhere()
            super().close()

    monkeypatch.setattr("pubsub.lane.FileIO", Watched)
    warm()
    assert publish("a", b".") == 1
    close_kept_queues()
    assert len(had) >= 2
    assert not any(had)


def test_a_handler_that_publishes_in_the_middle(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may replace the list, and close what the interrupted publish is about to write to."""
    warm()
    look = allowance
    nested: list[Callable[[], object]] = [close_kept_queues, warm]

    def interrupted(end: int) -> int:
        room = look(end)
        if nested:
            nested.pop(0)()
        return room

    monkeypatch.setattr("pubsub.lane.allowance", interrupted)
    contents(channel)
    while nested:
        assert publish("a", b"." * 900) == 1
    assert contents(channel).count(b"." * 900) >= 2
    assert len(kept()) <= 1
    assert len(queues()) == 2 + len(kept())
