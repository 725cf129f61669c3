"""The owner's side of the inline lane: opening, fetching, waiting, closing."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import needs_inline
from pubsub_conformance import vectors
from test_fork import Child

from pubsub import (
    Channel,
    ChannelClosed,
    DamagedQueue,
    InvalidMessage,
    Message,
    capacity,
    fetch,
    publish,
    queue,
)
from pubsub.batch import Batch

pytestmark = [
    needs_inline,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

ID = 1806356480000000389


@pytest.fixture
def channel() -> Iterator[Channel]:
    with Channel("a", inline=True) as channel:
        assert channel.is_inline
        yield channel


def write(channel: Channel, octets: bytes) -> None:
    end = os.open(channel.directory_path / "queue", os.O_WRONLY | os.O_NONBLOCK)
    assert os.write(end, octets) == len(octets)
    os.close(end)


def four(channel: Channel) -> bytes:
    """The characters of a channel that its records begin with."""
    return channel.directory_path.name.rsplit("_", 2)[1][:4].encode()


def contents(channel: Channel) -> list[bytes]:
    return [message.content for message in iter(lambda: fetch(channel), None)]


def is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def read_end(channel: Channel) -> int:
    return channel._opened().read_end


# --- opening ---


def test_a_channel_is_marked_only_if_it_is_asked_for(home: Path) -> None:
    with Channel("a") as plain, Channel("a", inline=True) as marked:
        assert (plain.is_inline, marked.is_inline) == (False, True)
        assert os.listdir(plain.directory_path) == ["queue"]
        marker = os.lstat(marked.directory_path / "inline")
        assert (marker.st_mode, marker.st_size) == (0o100600, 0)
        assert repr(marked) == "Channel(topic='a', inline=True)"
    assert not marked.is_inline
    assert os.listdir(home) == ["tmp"]


@pytest.mark.parametrize("unfit", ["size", "fill", "pieces", "silence"])
def test_a_queue_that_is_not_fit_is_not_marked(
    monkeypatch: pytest.MonkeyPatch, unfit: str
) -> None:  # INLINE-3
    system = fcntl.fcntl

    def small(end: int, command: int, value: int = 0) -> int:
        return 32 * 1024 - 1 if command == fcntl.F_GETPIPE_SZ else system(end, command, value)

    if unfit == "size":
        monkeypatch.setattr(fcntl, "fcntl", small)
    elif unfit == "fill":
        monkeypatch.setattr(fcntl, "ioctl", lambda *_: 0)  # it answers 0, as that of macOS does
    elif unfit == "pieces":
        monkeypatch.setattr(os, "fpathconf", lambda *_: 512)
    else:
        monkeypatch.setattr(capacity, "can_tell", False)
    with Channel("a", inline=True) as channel:
        assert not channel.is_inline
        assert os.listdir(channel.directory_path) == ["queue"]
        monkeypatch.undo()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE])
def test_a_marker_that_cannot_be_made(
    home: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:  # INLINE-4
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "mknod", refuse)
    channel = Channel("a", inline=True)
    if number == errno.EMFILE:
        with pytest.raises(OSError, match=os.strerror(number)):
            channel.open()
    else:
        with channel:
            assert not channel.is_inline
            assert publish("a", b"by file") == 1
            assert contents(channel) == [b"by file"]
    assert os.listdir(home) == ["tmp"]
    assert os.listdir(home / "tmp") == []


# --- words and records ---


@pytest.mark.parametrize("row", vectors.table("queue"), ids=lambda row: str(row["queue"]))
@pytest.mark.parametrize("reads", [None, 8], ids=["one read", "reads of 8 octets"])
def test_the_vectors_of_the_specification(
    channel: Channel, monkeypatch: pytest.MonkeyPatch, row: dict[str, str], reads: int | None
) -> None:
    if reads:
        monkeypatch.setattr("pubsub.batch._LARGEST", reads + 1024)
    path = channel.directory_path / str(ID)
    path.write_bytes(Message("file", b"", id=ID).to_bytes())
    write(channel, vectors.octets(row["hex"]).replace(b"fVd3", four(channel)))
    found = []
    while True:
        try:
            message = fetch(channel)
        except InvalidMessage:
            found.append("invalid-message")
        except DamagedQueue:
            found.append("damaged-queue")
        else:
            if message is None:
                break
            twin = "twin" if message.id == ID else "record"
            found.append("file" if message.topic == "file" else twin)
    assert (", ".join(found) or "none") == row["fetches"]
    assert path.exists() == ("file" not in found)


def test_records_beyond_one_read(channel: Channel) -> None:
    """A record that ends behind a read is not cut short: the rest is in the queue (INLINE-10)."""
    end = os.open(channel.directory_path / "queue", os.O_WRONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 2**20)
        first = queue.heading(str(channel.directory_path))
        expected = [b"%d" % n * (n % 300) for n in range(1000)]
        for content in expected:
            os.write(end, first + queue.body(Message("a", content).to_bytes()))
    except PermissionError:
        pytest.skip("this user may not have so large a queue")
    finally:
        os.close(end)
    assert contents(channel) == expected


def test_words_without_a_file_are_passed_over(channel: Channel) -> None:
    """By the thousand, in one fetch, and none of them twice (FETCH-22)."""
    write(channel, b"".join(map(queue.word, range(1, 8001))))
    assert fetch(channel) is None
    assert not channel.wait(0)


def test_an_idle_channel_holds_no_batch(channel: Channel) -> None:
    for _ in range(300):
        assert publish("a", bytes(100)) == 1
    assert len(contents(channel)) == 300
    assert channel._opened().hand._state == (b"", 0, [])  # type: ignore[attr-defined]


# --- messages in hand ---


def in_hand(channel: Channel, count: int) -> None:
    """Publish so many messages and one more, which is fetched."""
    for n in range(count + 1):
        assert publish("a", b"%d" % n) == 1
    assert fetch(channel) is not None
    assert not is_readable(read_end(channel))


def test_a_batch_is_announced_to_who_waits(channel: Channel) -> None:  # INLINE-20
    elsewhere = threading.Lock()
    with elsewhere:
        channel._waiters._registered.append((0, elsewhere))
        for _ in range(3):
            for n in range(3):
                publish("a", b"%d" % n)
            assert fetch(channel) is not None
            assert is_readable(read_end(channel))
            assert fetch(channel) is not None
            publish("a", b"behind the wake-up")  # the next batch begins with that, and renews it
            publish("a", b"further")
            assert fetch(channel) is not None
            assert fetch(channel) is not None
            assert is_readable(read_end(channel))
            assert contents(channel) == [b"further"]
        publish("a", b"alone")
        assert fetch(channel) is not None
        assert not is_readable(read_end(channel))


@pytest.mark.parametrize("inline", [False, True])
def test_an_id_that_stays_in_hand_wakes_who_waits(inline: bool) -> None:  # FETCH-8, FETCH-21
    def refuse(name: str) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    elsewhere = threading.Lock()
    with Channel("a", inline=inline) as channel, elsewhere:
        channel._waiters.register(elsewhere)
        publish("a", b"." * 2000)
        hand = channel._opened().hand
        opening, hand.open = hand.open, refuse  # type: ignore[assignment]
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            fetch(channel)
        hand.open = opening
        assert is_readable(read_end(channel))
        assert contents(channel) == [b"." * 2000]


def test_a_handler_that_fetches_wakes_the_wait_that_it_interrupts(channel: Channel) -> None:
    publish("a", b"1")
    publish("a", b"2")
    seen: list[object] = []

    def handler(*_: object) -> None:
        seen.append(fetch(channel))
        seen.append(is_readable(read_end(channel)))

    held = threading.Lock()
    with held:  # as in a wait
        channel._waiters.register(held)
        before = signal.signal(signal.SIGUSR1, handler)
        signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, before)
    assert seen[0] is not None
    assert seen[1]
    assert contents(channel) == [b"2"]


def test_a_thread_wakes_for_what_another_has_in_hand(channel: Channel) -> None:
    taken: list[bytes] = []

    def work() -> None:
        while len(taken) < 4:
            channel.wait(30)
            taken.extend(contents(channel))

    worker = threading.Thread(target=work)
    in_hand(channel, 4)
    worker.start()  # this thread is busy with its message, and makes no call
    worker.join()
    assert taken == [b"1", b"2", b"3", b"4"]


def test_a_batch_that_is_read_right_after_the_look_wakes_who_waits(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:  # INLINE-20
    """Another thread reads it when this one has seen an empty hand, and does not sleep yet."""

    def take() -> None:
        for n in range(3):
            publish("a", b"%d" % n)
        assert fetch(channel) is not None

    waiting = threading.current_thread()
    others = [threading.Thread(target=take)]
    look = Batch.__bool__

    def looked(hand: Batch) -> bool:
        found = look(hand)
        if threading.current_thread() is waiting and others:
            other = others.pop()
            other.start()
            other.join()
        return found

    monkeypatch.setattr(Batch, "__bool__", looked)
    assert channel.wait(1)
    assert not others
    assert contents(channel) == [b"1", b"2"]


def test_the_descriptor_shows_what_is_in_hand(channel: Channel) -> None:
    in_hand(channel, 2)
    assert is_readable(channel.fileno())
    assert contents(channel) == [b"1", b"2"]
    assert not is_readable(channel.fileno())
    for n in range(3):
        publish("a", b"%d" % n)
    for _ in range(3):  # each is shown, now that the program polls
        assert is_readable(channel.fileno())
        assert fetch(channel) is not None


def test_orphans_stay_while_something_is_in_hand(channel: Channel) -> None:  # FETCH-17
    publish("a", b"record")
    publish("a", b"." * 2000)
    assert fetch(channel) is not None
    assert not is_readable(read_end(channel))
    channel.sweep(-10)
    assert contents(channel) == [b"." * 2000]


@pytest.mark.parametrize("by", ["thread", "handler"])
def test_a_closed_channel_gives_nothing_from_its_hand(channel: Channel, by: str) -> None:
    in_hand(channel, 3)
    if by == "thread":
        closer = threading.Thread(target=channel.close)
        closer.start()
        closer.join()
    else:
        before = signal.signal(signal.SIGUSR1, lambda *_: channel.close())
        signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, before)
    with pytest.raises(ChannelClosed):
        fetch(channel)
    channel.open()
    assert fetch(channel) is None


def test_a_forked_child_has_nothing_in_hand(channel: Channel) -> None:
    in_hand(channel, 3)

    def work() -> object:
        with pytest.raises(ChannelClosed):
            fetch(channel)
        channel.open()
        return fetch(channel)

    child = Child(work)
    assert (child.said, child.finish()) == ("None", 0)
    assert contents(channel) == [b"1", b"2", b"3"]


def test_a_file_that_cannot_be_opened_stays_first(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:  # FETCH-8
    for content in (b"record", b"." * 2000, b"behind"):
        publish("a", content)
    hand = channel._opened().hand
    assert fetch(channel) is not None
    opening = hand.open

    def refuse(name: str) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    hand.open = refuse  # type: ignore[assignment]
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        fetch(channel)
    hand.open = opening
    assert contents(channel) == [b"." * 2000, b"behind"]


# --- closing ---


def test_closing_frees_the_memory_of_the_queue() -> None:  # INLINE-25
    with Channel("a", inline=True) as channel:
        kept = os.open(channel.directory_path / "queue", os.O_WRONLY | os.O_NONBLOCK)
        while publish("a", bytes(500)):
            pass
    assert capacity.octets(kept) == 0
    assert fcntl.fcntl(kept, fcntl.F_GETPIPE_SZ) == os.sysconf("SC_PAGE_SIZE")
    os.close(kept)


def test_a_queue_that_cannot_be_emptied_is_shrunk_nevertheless(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "octets", lambda end: 8)  # somebody else reads from it
    kept = os.open(channel.directory_path / "queue", os.O_WRONLY | os.O_NONBLOCK)
    channel.close()
    assert fcntl.fcntl(kept, fcntl.F_GETPIPE_SZ) == os.sysconf("SC_PAGE_SIZE")
    os.close(kept)


def test_a_child_that_closes_its_copies_takes_nothing(channel: Channel) -> None:
    assert publish("a", b"stays") == 1
    child = Child(lambda: channel.close())
    assert child.finish() == 0
    assert contents(channel) == [b"stays"]


# --- threads ---


def test_threads_share_what_one_of_them_has_read(channel: Channel) -> None:  # FETCH-11
    count = 3000
    got: list[list[bytes]] = [[], []]
    total = itertools.count(1)

    def work(mine: list[bytes]) -> None:
        while channel.wait(30):
            message = fetch(channel)
            if message:
                mine.append(message.content)
                if next(total) == count:
                    channel.close()

    def run(mine: list[bytes]) -> None:
        with pytest.raises(ChannelClosed):
            work(mine)

    workers = [threading.Thread(target=run, args=[mine]) for mine in got]
    for worker in workers:
        worker.start()
    for n in range(count):
        assert publish("a", b"%d" % n, timeout=30) == 1
    for worker in workers:
        worker.join()
    assert sorted(map(int, itertools.chain(*got))) == [*range(count)]
    assert all(mine == sorted(mine, key=int) for mine in got)
    channel.open()
