"""publish.md: ids, the steps of a publish, what it does when one of them fails, waiting, listings.

The kit is every subscriber. Where two processes have to meet between two steps, the driver is
stopped there (strace.py); the tests beside those show the same rule more weakly, everywhere.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.strace import (
    LINK,
    LIST,
    LOOK,
    OPEN,
    RENAME,
    SLEEP,
    WRITE,
    Call,
    Trace,
    fail,
    stop,
    traced,
)
from pubsub_conformance.oracle.base import Base, Channel
from pubsub_conformance.oracle.message import a_message, decode, encode
from pubsub_conformance.oracle.queue import fill
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import Start, answers
from pubsub_conformance.suite.scenes import close_off, start_without_privileges

AT_ONCE_SECONDS = 3.0
"""For a publish that has nothing to wait for. It takes milliseconds; a wait would be for ever."""

PATIENCE_SECONDS = 20.0
"""The timeout of a publish that is to be at work until the test lets it end."""

ROOM_SECONDS = 10.0
"""For what a publish at work does meanwhile, on a slow machine."""

UNDER_WAY_SECONDS = 0.5
"""After this a publish has ended, or waits for something. It takes milliseconds."""

LARGE = 300_000
"""Octets of content that no single buffer on the way is likely to hold."""


def octets_in(channel: Channel) -> bytes:
    """Take everything out of the queue."""
    found = b""
    while True:
        try:
            found += os.read(channel.read_end, 65536)
        except BlockingIOError:
            return found


def ids_in(channel: Channel) -> list[int]:
    octets = octets_in(channel)
    assert len(octets) % 8 == 0, f"the queue held {len(octets)} octets, which are no whole ids"
    return [int.from_bytes(octets[at : at + 8], "big") for at in range(0, len(octets), 8)]


def comes(channel: Channel) -> bool:
    """Whether the queue holds something within ROOM_SECONDS."""
    return bool(select.select([channel.read_end], [], [], ROOM_SECONDS)[0])


def make_room(channel: Channel, held: int) -> None:
    """Take as many ids out of a full queue as it held, and not what follows at once."""
    for _ in range(held):
        os.read(channel.read_end, 8)


def settle(driver: Driver, base: Base, topic: str) -> None:
    """Publish until what an implementation may keep of the base's listing is kept (PUB-21)."""
    probe = base.path.with_name("probe")
    listed = base.path.stat()
    while True:
        probe.write_bytes(b"")
        if probe.stat().st_mtime_ns > max(listed.st_mtime_ns, listed.st_ctime_ns):
            break
    for _ in range(2):
        driver.publish(topic)


def nothing_left(base: Base, after: str) -> None:
    assert base.leftovers() == [], f"after {after}, this is left:\n{base.tree()}"


@contextmanager
def publishing(driver: Driver, topic: str, **fields: Any) -> Iterator[Future[int]]:
    """A publish that is at work while the test goes on."""
    with ThreadPoolExecutor(1) as worker:
        yield worker.submit(driver.publish, topic, **fields)


@contextmanager
def several(base: Base, number: int, pattern: str = "a") -> Iterator[list[Channel]]:
    with ExitStack() as closing:
        yield [closing.enter_context(base.open(pattern)) for _ in range(number)]


# --- message ids -----------------------------------------------------------------------------


@pytest.mark.requirement("PUB-1", role="publisher")
def test_ids_are_large(driver: Driver, base: Base) -> None:
    """Every id is at least 2^56 and has 64 bits at most."""
    with base.open("a") as channel:
        for _ in range(20):
            assert driver.publish("a") == 1
        assert channel.files(), f"no message file in the channel:\n{base.tree()}"
        for name in channel.files():
            assert 2**56 <= int(name) < 2**64, f"the id {name} is not from 2^56 to 2^64 - 1"


@pytest.mark.requirement("PUB-2", role="publisher")
def test_ids_of_one_process_rise(driver: Driver, base: Base) -> None:
    """In one channel, each id is larger than the one before, however fast they follow."""
    ids: list[int] = []
    with base.open("a") as channel:
        for _ in range(8):
            for _ in range(20):
                driver.publish("a")
            # Fewer than 64 at a time: no queue is so small that these would not fit.
            done = driver.produce("a", "p", 40, [10]).finish()
            assert done.taken == 40, f"40 messages with room for all, but {done}"
            ids += ids_in(channel)
            for name in channel.files():
                (channel.directory / name).unlink()
    assert len(ids) == 8 * 60
    fallen = [(before, after) for before, after in itertools.pairwise(ids) if after <= before]
    assert not fallen, f"ids that are not larger than the one before: {fallen[:5]}"


@pytest.mark.requirement("PUB-3", role="publisher")
def test_an_id_taken_in_a_channel(driver: Driver, base: Base) -> None:
    """Another's message has the id in the channel: it stays, ours goes on under a fresh id."""
    with base.open("a") as channel:
        with traced(driver, fail(LINK, "EEXIST", then_stop=True)) as trace:
            count = trace.begin(driver.publish, "a", b"ours")
            taken = _name_in(channel, trace.stopped())
            # Only now, so that the call that failed is the one that would have met it.
            other = encode(a_message("a", b"another's", id=int(taken.name)))
            taken.write_bytes(other)
            trace.go_on()
            assert count.result() == 1, "one channel with room was open"
        assert taken.exists(), f"the other process's message was removed:\n{base.tree()}"
        assert taken.read_bytes() == other, "the other process's message was overwritten"
        message = channel.fetch()
        assert message is not None, "counted, but no id in the queue leads to a file"
        assert message.content == b"ours", "the id in the queue is the other process's"
        assert message.id != int(taken.name)
        taken.unlink()
        nothing_left(base, "an id was found taken in a channel")


@pytest.mark.requirement("PUB-3", role="publisher")
def test_an_id_taken_in_the_second_channel(driver: Driver, base: Base) -> None:
    """The channel that has the message keeps it under its id; the others get a fresh one."""
    with several(base, 3) as channels:
        with traced(driver, fail(LINK, "EEXIST", nth=2, then_stop=True)) as trace:
            count = trace.begin(driver.publish, "a", b"ours")
            call = trace.stopped()
            taken = next(path for path in call.paths if path.parent != base.tmp)
            taken.write_bytes(b"another's")
            trace.go_on()
            assert count.result() == 3, "three channels with room were open"
        assert taken.read_bytes() == b"another's", "what stood under the id was overwritten"
        taken.unlink()
        messages = [channel.fetch_all() for channel in channels]
        contents = [[message.content for message in each] for each in messages]
        assert contents == [[b"ours"]] * 3, f"each channel is to yield it once, found {contents}"
        ids = {message.id for each in messages for message in each}
        assert int(taken.name) in ids, "the channel that was served first keeps its id"
        assert len(ids) == 2, f"one id before the clash and one after it, found {ids}"
        nothing_left(base, "an id was found taken in the second channel")


@pytest.mark.requirement("PUB-3", "PUB-6", role="publisher")
def test_an_id_taken_in_tmp(driver: Driver, base: Base) -> None:
    """Another's staged file has the id: it stays as it is, ours is staged under a fresh one."""
    with base.open("a") as channel:
        name, nth = _staging_open(driver, base, channel)
        with traced(driver, fail((name,), "EEXIST", nth, then_stop=True)) as trace:
            count = trace.begin(driver.publish, "a", b"ours")
            staged = _staged_by(base, trace.stopped())
            if staged is None:
                not_run("this publish did not make the same calls as the one before")
            staged.write_bytes(b"another's")
            trace.go_on()
            assert count.result() == 1, "one channel with room was open"
        assert staged.exists(), f"the other process's staged file was removed:\n{base.tree()}"
        assert staged.read_bytes() == b"another's", "the other's staged file was written over"
        staged.unlink()
        assert [message.content for message in channel.fetch_all()] == [b"ours"]
        nothing_left(base, "an id was found taken in tmp")


def _name_in(channel: Channel, call: Call) -> Path:
    """The name in the channel that a link was to make."""
    names = [path for path in call.paths if path.parent == channel.directory]
    assert names, f"{call} was to make a name in {channel.directory}"
    return names[0]


def _staged_by(base: Base, call: Call) -> Path | None:
    if "O_CREAT" not in call.flags or not call.paths or call.paths[0].parent != base.tmp:
        return None
    return call.paths[0]


def _staging_open(driver: Driver, base: Base, channel: Channel) -> tuple[str, int]:
    """Which call of a publish makes the staged file: its name, and how many of that name it is.

    Learnt from a publish that has nothing new to find, and whose message is taken out again.
    """
    assert driver.publish("a") == 1
    with traced(driver) as trace:
        assert driver.publish("a") == 1
    channel.fetch_all()
    calls = trace.calls(*OPEN)
    staging = next((call for call in calls if _staged_by(base, call)), None)
    if staging is None:
        not_run("the making of the staged file was not seen")
    same = [call for call in calls if (call.name, call.pid) == (staging.name, staging.pid)]
    return staging.name, same.index(staging) + 1


# --- the steps ---------------------------------------------------------------------------------


@pytest.mark.requirement("PUB-4", role="publisher")
@pytest.mark.parametrize(
    ("topic", "headers"),
    [
        ("", {}),
        ("a b", {}),
        ("a.=", {}),
        ("../a", {}),
        ("a", {"list": [1]}),
        ("a", {"large": 2**53}),
        ("a", {"half a character": "\ud800"}),
    ],
)
def test_a_refused_publish_leaves_nothing(
    driver: Driver, base: Base, topic: str, headers: dict[str, Any]
) -> None:
    """What is refused has touched nothing, the base itself included."""

    def is_refused() -> None:
        # What has to be refused, and how, is for TOPIC-1, MSG-8, MSG-10 and MSG-11 to say.
        request = {"seq": 1, "op": "publish", "topic": topic, "headers": headers, "content": ""}
        # In ASCII, as half a character has no UTF-8.
        if "error" not in driver.raw(json.dumps(request).encode() + b"\n"):
            not_run(f"publish to {topic!r} with {headers} was not refused")

    is_refused()
    assert not base.path.exists(), "the refused publish made the base directory"
    with base.open("+") as channel:
        before = base.tree()
        is_refused()
        assert base.tree() == before, f"the refused publish left something:\n{base.tree()}"
        assert octets_in(channel) == b"", "the refused publish wrote to the queue"


@pytest.mark.requirement("PUB-5", role="publisher")
def test_a_message_file_is_complete_when_it_is_linked(driver: Driver, base: Base) -> None:
    """Right after the link the file in the channel is the whole message."""
    content = os.urandom(LARGE)
    with base.open("a") as channel, traced(driver, stop(LINK)) as trace:
        count = trace.begin(driver.publish, "a", content, {"n": 1})
        linked = _name_in(channel, trace.stopped())
        found = linked.read_bytes()
        trace.go_on()
        assert count.result() == 1
        assert len(found) >= LARGE, f"only {len(found)} octets were written before the link"
        message = decode(found)
        assert message.content == content, "what stood in the channel was not yet the message"
        assert message.headers == {"n": 1}
        assert linked.read_bytes() == found, "the file was changed after it was linked"


@pytest.mark.requirement("PUB-6", role="publisher")
def test_a_message_is_staged_under_its_id(driver: Driver, base: Base) -> None:
    """While the message is on its way to channels, `tmp` has it under its id."""
    with base.open("a") as channel, traced(driver, stop(LINK)) as trace:
        count = trace.begin(driver.publish, "a")
        linked = _name_in(channel, trace.stopped())
        in_tmp = sorted(entry.name for entry in base.tmp.iterdir())
        same = in_tmp == [linked.name] and linked.samefile(base.tmp / linked.name)
        trace.go_on()
        assert count.result() == 1
        assert in_tmp == [linked.name], f"tmp held {in_tmp} while {linked.name} was published"
        assert same, "the file in the channel is another one than the staged file"


@pytest.mark.requirement("PUB-6", role="publisher")
def test_a_staged_file_is_made_exclusively(driver: Driver, base: Base) -> None:
    """The call that makes the staged file is one that fails where there is a file."""
    with base.open("a") as channel:
        with traced(driver) as trace:
            assert driver.publish("a") == 1
        (name,) = channel.files()
    staged = base.tmp / name
    made = [call for call in trace.calls(*OPEN) if "O_CREAT" in call.flags and staged in call.paths]
    linked = [call for call in trace.calls(*LINK) if call.paths[-1:] == [staged]]
    moved = [call for call in trace.calls(*RENAME) if staged in call.paths]
    assert not moved, f"the staged file was renamed: {moved[0]}"
    if not made and not linked:
        not_run("the making of the staged file was not seen")
    for call in made:
        assert "O_EXCL" in call.flags, f"made without O_EXCL: {call}"


@pytest.mark.requirement("PUB-7", role="publisher")
def test_channels_share_one_file(driver: Driver, base: Base) -> None:
    """All channels have the same file: it was linked into each."""
    with several(base, 3) as channels:
        assert driver.publish("a", b"x") == 3
        files = [channel.directory / name for channel in channels for name in channel.files()]
        assert len(files) == 3, f"three channels, one file each:\n{base.tree()}"
        inodes = {file.stat().st_ino for file in files}
        assert len(inodes) == 1, f"the channels have different files:\n{base.tree()}"
        assert {file.stat().st_nlink for file in files} == {3}, "it has names elsewhere"


@pytest.mark.requirement("PUB-7", role="publisher")
def test_a_name_in_a_channel_is_made_by_link(driver: Driver, base: Base) -> None:
    """No file is made in a channel, and none is renamed into one."""
    with several(base, 2) as channels:
        with traced(driver) as trace:
            assert driver.publish("a", b"x") == 2
        names = {channel.directory / name for channel in channels for name in channel.files()}
        assert len(names) == 2
    for call in trace.calls(*RENAME):
        assert not names.intersection(call.paths), f"renamed into the channel: {call}"
    for call in trace.calls(*OPEN, "creat"):
        made = "O_CREAT" in call.flags or call.name == "creat"
        assert not (made and names.intersection(call.paths)), f"made in the channel: {call}"
    linked = {path for call in trace.calls(*LINK) if call.result == 0 for path in call.paths[1:]}
    if not linked:
        not_run("no link was seen")
    assert names <= linked, f"{names - linked} was not made by link"


@pytest.mark.requirement("PUB-8", role="publisher")
def test_the_queue_is_empty_when_the_file_is_linked(driver: Driver, base: Base) -> None:
    """Between the link and the write, the file is there and its id is not in the queue yet."""
    with base.open("a") as channel, traced(driver, stop(LINK)) as trace:
        count = trace.begin(driver.publish, "a")
        linked = _name_in(channel, trace.stopped())
        there, early = linked.exists(), ids_in(channel)
        trace.go_on()
        assert count.result() == 1
        assert there, f"{linked.name} was not there after its link"
        assert not early, f"the queue had the id {early} before the file was linked"
        assert ids_in(channel) == [int(linked.name)], "the id followed"


@pytest.mark.requirement("PUB-8", role="publisher")
def test_every_id_finds_its_file(driver: Driver, base: Base) -> None:
    """A reader that takes each id as soon as it is there always finds the file."""
    messages = 500
    seen, missing = 0, 0
    with base.open("a") as channel:
        events = driver.produce("a", "p", messages, [10, 5000], timeout=ROOM_SECONDS)
        while seen < messages and comes(channel):
            for id in ids_in(channel):
                seen += 1
                missing += not (channel.directory / str(id)).exists()
        list(events)
    assert not missing, f"{missing} of {seen} ids were in the queue before their files"


@pytest.mark.requirement("PUB-9", role="publisher")
def test_an_id_is_eight_octets_big_endian(driver: Driver, base: Base) -> None:
    """One publish puts 8 octets into the queue: the file's name."""
    with base.open("a") as channel:
        for _ in range(3):
            assert driver.publish("a") == 1
            octets = octets_in(channel)
            (name,) = channel.files()
            assert octets == int(name).to_bytes(8, "big"), f"{octets.hex(' ')} for {name}"
            assert channel.fetch() is None
            (channel.directory / name).unlink()


@pytest.mark.requirement("PUB-9", role="publisher")
def test_an_id_is_written_whole_or_not_at_all(driver: Driver, base: Base) -> None:
    """A queue with room for 4 octets takes nothing: one write of 8 is all or nothing."""
    with base.open("a") as channel:
        fill(channel.directory)
        room = len(octets_in(channel))
        rest = bytes(room - 4)
        while rest:
            rest = rest[os.write(channel.write_end, rest) :]
        with suppress(Rejected):  # what it says of a full queue is for PUB-10 and GUAR-1
            driver.publish("a")
        found = len(octets_in(channel))
        assert found == room - 4, f"the queue took {found - room + 4} octets of an id"


@pytest.mark.requirement("PUB-9", role="publisher")
def test_an_id_is_written_in_one_write(driver: Driver, base: Base) -> None:
    """Each queue is written to once, 8 octets."""
    with several(base, 2) as channels:
        with traced(driver) as trace:
            assert driver.publish("a") == 2
        for channel in channels:
            (name,) = channel.files()
            queue = channel.directory / "queue"
            writes = [call for call in trace.calls(*WRITE) if call.descriptor == queue]
            if not writes:
                not_run("no write to the queue was seen")
            assert len(writes) == 1, f"{len(writes)} writes to one queue: {writes}"
            assert writes[0].result == 8, f"not a write of 8 octets: {writes[0]}"
            assert writes[0].data == int(name).to_bytes(8, "big")


@pytest.mark.requirement("PUB-10", role="publisher")
def test_a_full_queue_is_not_counted(driver: Driver, base: Base) -> None:
    """A full queue: not counted, nothing of the message left there; others get it."""
    with several(base, 3) as channels:
        assert driver.publish("a", b"all") == 3
        assert [len(channel.fetch_all()) for channel in channels] == [1, 1, 1]
        held = fill(channels[1].directory)
        for _ in range(3):
            assert driver.publish("a", b"some") == 2, "of three channels one is full"
            assert channels[1].files() == [], f"left in the full channel:\n{base.tree()}"
        assert len(ids_in(channels[1])) == held, "the full queue was changed"
        assert driver.publish("a", b"all") == 3, "there is room again"
        for channel, messages in zip(channels, (4, 1, 4), strict=True):
            assert len(channel.fetch_all()) == messages


@pytest.mark.requirement("PUB-10", role="publisher")
def test_a_queue_without_a_reader_is_not_counted(driver: Driver, base: Base) -> None:
    """Its owner died: not counted, nothing left there, however often."""
    with base.open("a") as living, base.open("a") as dead:
        assert driver.publish("a") == 2
        dead.stop_reading()
        before = dead.files()
        for _ in range(3):
            assert driver.publish("a") == 1, "nobody reads one of the two queues"
        assert dead.files() == before, f"left in the dead channel:\n{base.tree()}"
        assert len(living.fetch_all()) == 4


def _outlives_a_reader(driver: Driver, base: Base, channels: list[Channel]) -> tuple[Channel, int]:
    """Publish, and have one reader die right after the link: its channel, and the count."""
    with traced(driver, stop(LINK)) as trace:
        count = trace.begin(driver.publish, "a", b"x")
        linked = next(path for path in trace.stopped().paths if path.parent != base.tmp)
        (dying,) = (each for each in channels if each.directory == linked.parent)
        dying.stop_reading()
        trace.go_on()
        with answers("the reader died between link and write"):
            return dying, count.result()


@pytest.mark.requirement("PUB-16", role="publisher")
def test_a_reader_that_dies_after_the_link(driver: Driver, base: Base) -> None:
    """EPIPE: the publisher lives, and goes on with the other channels."""
    with several(base, 3) as channels:
        dying, _ = _outlives_a_reader(driver, base, channels)
        others = [channel for channel in channels if channel is not dying]
        assert [len(channel.fetch_all()) for channel in others] == [1, 1]
        with answers("the publish after a reader died"):
            driver.publish("a")


@pytest.mark.requirement("PUB-10", role="publisher")
def test_the_link_of_a_reader_that_dies_is_withdrawn(driver: Driver, base: Base) -> None:
    """Its queue did not take the id: nothing of the message stays there, and it is not counted."""
    with several(base, 3) as channels:
        dying, count = _outlives_a_reader(driver, base, channels)
        assert count == 2, "of three channels one lost its reader"
        assert dying.files() == [], f"the link was not withdrawn:\n{base.tree()}"


@pytest.mark.requirement("PUB-16", role="publisher")
def test_readers_that_die_all_the_time(driver: Driver, base: Base) -> None:
    """A stream of messages outlives every one of many readers that die in its midst."""
    with base.open("a") as steady:
        events = driver.produce("a", "p", 2000, [10], timeout=ROOM_SECONDS)
        taken = 0
        while taken < 2000:
            with base.open("a"):
                if not comes(steady):
                    break  # a message that is lost is for GUAR-5
                taken += len(steady.fetch_all())
        with answers("readers that die all the time"):
            done = events.finish()
        assert done.messages == 2000, "every publish ended without an error"


def _a_file(queue: Path) -> None:
    queue.write_bytes(b"a file")


def _a_directory(queue: Path) -> None:
    queue.mkdir()


def _a_socket(queue: Path) -> None:
    # By a relative path, for that of a socket may have no more than some hundred octets.
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(queue.parent)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(queue.name)
            listening.listen()
    finally:
        os.fchdir(here)
        os.close(here)


def _a_device(queue: Path) -> None:
    os.mknod(queue, 0o020666, os.stat("/dev/null").st_rdev)


def _a_link_to_a_file(queue: Path) -> None:
    target = queue.parent.parent.parent / "elsewhere"
    target.write_bytes(b"a file")
    queue.symlink_to(target)


def _a_link_to_a_device(queue: Path) -> None:
    queue.symlink_to("/dev/null")


def _a_dangling_link(queue: Path) -> None:
    queue.symlink_to(queue.parent.parent.parent / "nowhere")


@pytest.mark.requirement("PUB-11", role="publisher")
@pytest.mark.parametrize(
    "make",
    [
        *(_a_file, _a_directory, _a_socket, _a_link_to_a_file, _a_link_to_a_device),
        *(_a_dangling_link, *([_a_device] if os.geteuid() == 0 else [])),  # only root may make one
    ],
)
def test_a_queue_that_is_no_fifo(driver: Driver, base: Base, make: Callable[[Path], None]) -> None:
    """Nothing is written to it, nothing put beside it, and the real channels are served."""
    directory = base.dead_channel("a", os.getpid(), queue=False)
    make(directory / "queue")
    before = base.tree()
    assert driver.publish("a", b"x") == 0, "that is not a channel, and there is no other"
    assert base.tree() == before, "the publish changed something"
    with base.open("a") as channel:
        assert driver.publish("a", b"x") == 1, "that is not a channel, but there is another"
        assert len(channel.fetch_all()) == 1
        assert [entry.name for entry in directory.iterdir()] == ["queue"]
    elsewhere = base.path.parent / "elsewhere"
    assert not elsewhere.exists() or elsewhere.read_bytes() == b"a file"
    assert not (base.path.parent / "nowhere").exists(), "the link was followed"


@pytest.mark.requirement("PUB-11", role="publisher")
def test_a_queue_that_is_a_link_to_a_fifo(driver: Driver, base: Base) -> None:
    """A symbolic link to a FIFO that somebody reads is still no FIFO."""
    directory = base.dead_channel("a", os.getpid(), queue=False)
    fifo = base.path.parent / "fifo"
    os.mkfifo(fifo)
    (directory / "queue").symlink_to(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert driver.publish("a", b"x") == 0, "the queue is a symbolic link"
        # Without a writer, an empty FIFO is at its end.
        assert os.read(reader, 8) == b"", "the link was followed and written through"
    finally:
        os.close(reader)
    assert [entry.name for entry in directory.iterdir()] == ["queue"]
    with base.open("a"):
        assert driver.publish("a", b"x") == 1


@pytest.mark.requirement("PUB-11", "BASE-10", role="publisher")
def test_a_link_in_place_of_a_channel(driver: Driver, base: Base) -> None:
    """A symbolic link with a channel's name leads nowhere: nothing is written outside the base."""
    outside = base.path.parent / "outside"
    with base.open("a") as channel:
        channel.directory.rename(outside)  # with its reader: it would take a message
        channel.directory.symlink_to(outside)
        before = sorted(entry.name for entry in outside.iterdir())
        assert driver.publish("a", b"x") == 0, "a link is no channel, and there is no other"
        after = sorted(entry.name for entry in outside.iterdir())
        assert after == before, f"the publish went through the link: {after}"
        channel.directory.unlink()
        outside.rename(channel.directory)
        assert driver.publish("a", b"x") == 1, "the directory itself is a channel"
        assert len(channel.fetch_all()) == 1


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.requirement("PUB-12", role="publisher")
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_cleaner_took_the_staged_file(driver: Driver, base: Base, nth: int) -> None:
    """The link fails because the *staged* file is gone: it is staged again, nobody is missed."""
    with several(base, 3) as channels:
        with traced(driver, fail(LINK, "ENOENT", nth, then_stop=True)) as trace:
            count = trace.begin(driver.publish, "a", b"x")
            trace.stopped()
            for staged in base.tmp.iterdir():
                staged.unlink()
            trace.go_on()
            assert count.result() == 3, "all three channels were open the whole time"
        contents = [[message.content for message in each.fetch_all()] for each in channels]
        assert contents == [[b"x"]] * 3, f"each channel is to yield it once, found {contents}"
        nothing_left(base, "the staged file was removed")


@pytest.mark.requirement("PUB-12", role="publisher")
def test_a_cleaner_took_tmp(driver: Driver, base: Base) -> None:
    """As before, and the directory `tmp` went with the staged file."""
    with several(base, 2) as channels:
        with traced(driver, fail(LINK, "ENOENT", then_stop=True)) as trace:
            count = trace.begin(driver.publish, "a", b"x")
            trace.stopped()
            for staged in base.tmp.iterdir():
                staged.unlink()
            base.tmp.rmdir()
            trace.go_on()
            assert count.result() == 2, "both channels were open the whole time"
        contents = [[message.content for message in each.fetch_all()] for each in channels]
        assert contents == [[b"x"]] * 2, f"each channel is to yield it once, found {contents}"
        nothing_left(base, "tmp was removed")


@pytest.mark.requirement("PUB-12", role="publisher")
def test_a_channel_that_closes_before_the_link(driver: Driver, base: Base) -> None:
    """The link fails because the *channel* is gone: it is passed over, without an error."""
    base.make()
    linked, count = _publish_to_one_that_closes(driver, base)
    if linked:
        not_run("the message was linked before the queue was opened")
    assert count == 0, "the channel was closed before it got the message"


@pytest.mark.requirement("PUB-14", role="publisher")
def test_no_staged_file_is_left_by_a_channel_that_closes(driver: Driver, base: Base) -> None:
    """The link fails because the channel is gone: nothing of the message is left in `tmp`."""
    base.make()
    _publish_to_one_that_closes(driver, base)
    assert os.listdir(base.tmp) == [], "a channel closed before the link"


def _publish_to_one_that_closes(driver: Driver, base: Base) -> tuple[bool, int]:
    """Whether the message was linked before the channel closed, and the count."""
    with base.open("a") as going:
        queue = going.directory / "queue"
        with traced(driver, stop(OPEN), paths=[queue, "queue"]) as trace:
            count = trace.begin(driver.publish, "a", b"x")
            trace.stopped()
            linked = bool(going.files())
            going.close()
            trace.go_on()
            return linked, count.result()


@pytest.mark.requirement("PUB-13", role="publisher")
@pytest.mark.parametrize("errno", ["ENOSPC", "EACCES", "EPERM", "EXDEV", "EIO"])
def test_a_link_that_fails(driver: Driver, base: Base, errno: str) -> None:
    """The first of three channels fails: the others get the message, then the error is told."""
    with several(base, 3) as channels:
        with traced(driver, fail(LINK, errno)) as trace:
            _is_reported(driver, errno, 2, trace)
        got = sorted(len(channel.fetch_all()) for channel in channels)
        assert got == [0, 1, 1], f"messages in the three channels: {got}"


@pytest.mark.requirement("PUB-13", role="publisher")
@pytest.mark.parametrize("errno", ["EIO", "ENOSPC"])
def test_a_write_to_the_queue_that_fails(driver: Driver, base: Base, errno: str) -> None:
    """As with the link: the other channels get the message, then the error is told."""
    with several(base, 3) as channels:
        queues = [channel.directory / "queue" for channel in channels]
        with traced(driver, fail(WRITE, errno), paths=queues) as trace:
            _is_reported(driver, errno, 2, trace)
        got = sorted(len(channel.fetch_all()) for channel in channels)
        assert got == [0, 1, 1], f"messages in the three channels: {got}"


@pytest.mark.requirement("PUB-13", role="publisher")
@pytest.mark.parametrize("errno", ["EACCES", "EMFILE", "ENFILE", "ENOMEM"])
def test_a_queue_that_cannot_be_opened(driver: Driver, base: Base, errno: str) -> None:
    """Whether somebody reads there is not known: an error, not a dead channel."""
    with several(base, 3) as channels:
        queues = [channel.directory / "queue" for channel in channels]
        with traced(driver, fail(OPEN, errno), paths=[*queues, "queue"]) as trace:
            _is_reported(driver, errno, 2, trace)
        got = sorted(len(channel.fetch_all()) for channel in channels)
        assert got == [0, 1, 1], f"messages in the three channels: {got}"


@pytest.mark.requirement("PUB-13", role="publisher")
def test_a_missing_queue_that_cannot_be_looked_at(driver: Driver, base: Base) -> None:
    """Where opening has said that nothing is there, ENOENT is no error, whatever a look says."""
    queue = base.dead_channel("a", os.getpid(), queue=False) / "queue"
    with traced(driver, fail(LOOK, "EIO"), paths=[queue, "queue"]):
        try:
            told: object = driver.publish("a", b"x")
        except Rejected as no:
            told = (no.code, no.errno, no.count)
    assert told in (0, ("io-error", "EIO", 0)), f"no queue, or the look's EIO; found {told}"


def _is_reported(driver: Driver, errno: str, count: int, trace: Trace) -> None:
    """One channel of `count` + 1 was made to fail; publish has to say so, and how."""
    try:
        found = driver.publish("a", b"x")
    except Rejected as rejected:
        no = rejected
    else:
        if not any(call.injected for call in trace.calls()):
            not_run("strace saw no call that it could make fail")
        pytest.fail(f"one channel failed with {errno}, but publish returned {found}, no error")
    assert (no.code, no.errno) == ("io-error", errno), f"expected io-error {errno}, found {no}"
    assert no.count == count, f"{count} queues took the message, the error says {no.count}"


@pytest.mark.requirement("PUB-13", role="publisher")
def test_a_channel_without_permission(start: Start, base: Base) -> None:
    """A channel whose directory takes no file (EACCES): the others get the message."""
    driver = start_without_privileges(start)
    with several(base, 3) as channels:
        driver.publish("a")  # whatever it keeps of the base, it has now
        for channel in channels:
            channel.fetch_all()
        close_off(channels[1].directory, 0o555)
        with pytest.raises(Rejected) as no:
            driver.publish("a", b"x")
        channels[1].directory.chmod(0o700)
        assert (no.value.code, no.value.errno, no.value.count) == ("io-error", "EACCES", 2)
        assert [len(channel.fetch_all()) for channel in channels] == [1, 0, 1]


@pytest.mark.requirement("PUB-14", role="publisher")
@pytest.mark.parametrize("calls", [LINK, WRITE, OPEN], ids=["link", "write", "open"])
def test_no_staged_file_is_left_by_an_error(
    driver: Driver, base: Base, calls: tuple[str, ...]
) -> None:
    """A channel to which something cannot be done: whatever the publish says of it."""
    with several(base, 3) as channels:
        queues = [channel.directory / "queue" for channel in channels]
        paths: list[str | Path] = [] if calls == LINK else [*queues, "queue"]
        with traced(driver, fail(calls, "EIO"), paths=paths) as trace, suppress(Rejected):
            driver.publish("a", b"x")
        if not any(call.injected for call in trace.calls()):
            not_run("strace saw no call that it could make fail")
        assert os.listdir(base.tmp) == [], f"left after an error:\n{base.tree()}"


@pytest.mark.requirement("PUB-3", role="publisher")
def test_a_file_with_too_many_links(driver: Driver, base: Base) -> None:
    """EMLINK: another copy is staged, and every channel gets the message."""
    with several(base, 3) as channels:
        with traced(driver, fail(LINK, "EMLINK", 2)) as trace:
            count = driver.publish("a", b"x")
        if not any(call.injected for call in trace.calls()):
            not_run("strace saw no link that it could make fail")
        assert count == 3, "all three channels had room"
        contents = [[message.content for message in each.fetch_all()] for each in channels]
        assert contents == [[b"x"]] * 3, f"each channel is to yield it once, found {contents}"
        nothing_left(base, "a file had too many links")


@pytest.mark.requirement("PUB-14", role="publisher")
def test_no_staged_file_is_left(driver: Driver, base: Base) -> None:
    """Whoever got the message: nobody, because none matches, reads, or has room; one; all."""

    def nothing_is_left(after: str) -> None:
        assert not base.tmp.exists() or os.listdir(base.tmp) == [], f"staged still, after {after}"

    with suppress(Rejected):  # that it needs nobody to have made the base is PUB-17
        driver.publish("a")
    nothing_is_left("a publish in a base that was not there")
    with base.open("b"), base.open("a") as channel:
        driver.publish("c")
        nothing_is_left("a publish that no pattern matches")
        driver.publish("a")
        nothing_is_left("a publish to one channel")
        driver.publish("a", bytes(LARGE))
        nothing_is_left("a large message")
        channel.fetch_all()
        fill(channel.directory)
        driver.publish("a")
        nothing_is_left("a publish to a full queue")
        driver.publish("a", timeout=0.2)
        nothing_is_left("a publish that waited for a full queue")
        channel.stop_reading()
        driver.publish("a")
        nothing_is_left("a publish to a queue without a reader")


@pytest.mark.requirement("PUB-14", role="publisher")
def test_no_room_for_the_staged_file(driver: Driver, base: Base) -> None:
    """The file system is full: nothing is left of the attempt, and it is an error."""
    with base.open("a"):
        driver.publish("a")  # whatever it keeps of the base, it has now
        with traced(driver, fail(WRITE, "ENOSPC")) as trace:
            count = trace.begin(driver.publish, "a", bytes(LARGE))
            error = count.exception()
        failed = [call for call in trace.calls(*WRITE) if call.injected]
        if not failed or failed[0].descriptor is None or failed[0].descriptor.parent != base.tmp:
            not_run("the writing of the staged file could not be made to fail")
        assert os.listdir(base.tmp) == [], f"left of the attempt:\n{base.tree()}"
        assert isinstance(error, Rejected), f"expected io-error ENOSPC, found {error!r}"
        assert (error.code, error.errno) == ("io-error", "ENOSPC")


@pytest.mark.requirement("PUB-15", role="publisher")
def test_without_a_timeout_nothing_is_waited_for(driver: Driver, base: Base) -> None:
    """Full queues and queues that nobody reads end a publish at once."""
    with base.open("a") as channel:
        base.dead_channel("a", os.getpid())
        for held in ("room", "no room"):
            begin = time.monotonic()
            with answers(f"a publish to a queue without a reader, and one with {held}"):
                driver.publish("a")
            took = time.monotonic() - begin
            assert took < AT_ONCE_SECONDS, f"it took {took:.1f} s"
            channel.fetch_all()
            fill(channel.directory)


@pytest.mark.requirement("PUB-17", role="publisher")
def test_nobody_is_there(driver: Driver, base: Base) -> None:
    """No base, a base that vanished, no channel, none that matches: 0, and no error."""
    assert not base.path.exists()
    assert driver.publish("a", b"x") == 0, "nobody has made the base"
    assert driver.publish("a", b"x") == 0, "there is no channel"
    settle(driver, base, "a")
    with base.open("b"):
        assert driver.publish("a", b"x") == 0, "no channel matches"
        settle(driver, base, "a")
        assert driver.publish("a", b"x") == 0, "still no channel matches"
    base.tmp.rmdir()
    assert driver.publish("b", b"x") == 0, "tmp vanished"
    for entry in base.path.iterdir():
        entry.rmdir()
    base.path.rmdir()
    assert driver.publish("b", b"x") == 0, "the base vanished"


# --- waiting for room --------------------------------------------------------------------------


@pytest.mark.requirement("PUB-18", role="publisher")
def test_nothing_is_linked_while_it_sleeps(driver: Driver, base: Base) -> None:
    """Stopped in the call in which it waits for room, the publisher has no link there."""
    with base.open("a") as full:
        held = fill(full.directory)
        with traced(driver, stop(SLEEP, None)) as trace:
            count = trace.begin(driver.publish, "a", b"x", timeout=PATIENCE_SECONDS)
            trace.stopped()
            # The driver may have slept for other reasons before it tried the queue.
            while not any(_is_in(call, full) for call in trace.calls(*LINK, *WRITE)):
                trace.go_on()
                trace.stopped()
            linked = full.files()
            make_room(full, held)
        count.result()
        assert linked == [], "the message was linked in the full channel while it waited"


def _is_in(call: Call, channel: Channel) -> bool:
    places = [path.parent for path in [*call.paths, call.descriptor] if path]
    return channel.directory in places


@pytest.mark.requirement("PUB-18", role="publisher")
def test_nothing_is_linked_while_it_waits(driver: Driver, base: Base) -> None:
    """While a publish waits for a full queue, its directory is seen without the message."""
    with base.open("a") as full:
        held = fill(full.directory)
        with publishing(driver, "a", content=b"x", timeout=PATIENCE_SECONDS) as count:
            # Whoever does not wait (PUB-19) is done by now; whoever does has tried the queue.
            wait([count], UNDER_WAY_SECONDS)
            waits = not count.done()
            # It may be seen there for the moment in which the queue is tried again, not longer.
            deadline = time.monotonic() + AT_ONCE_SECONDS
            while waits and (seen := full.files()) and time.monotonic() < deadline:
                pass
            make_room(full, held)
            count.result()
        if not waits:
            not_run("the publish does not wait for a full queue, so there is nothing to see")
        assert seen == [], "the message stood in the full channel all the time that it waited"


@pytest.mark.requirement("PUB-19", role="publisher")
def test_it_waits_until_there_is_room(driver: Driver, base: Base) -> None:
    """The subscriber wakes up and reads: the message arrives, whole, and is counted."""
    with base.open("a") as full, base.open("a") as other:
        held = fill(full.directory)
        with publishing(driver, "a", content=b"x", timeout=PATIENCE_SECONDS) as count:
            assert comes(other), "the channel that has room did not get the message"
            # A queue frees its room by the page: after this it may, or may not, have some.
            make_room(full, 1)
            make_room(full, held - 1)
            assert count.result() == 2, "both queues had room in the end"
        assert [message.content for message in full.fetch_all()] == [b"x"]
        assert [message.content for message in other.fetch_all()] == [b"x"]
        nothing_left(base, "a publish that waited")


@pytest.mark.requirement("PUB-19", role="publisher")
def test_it_waits_until_the_reader_is_gone(driver: Driver, base: Base) -> None:
    """The subscriber dies: there is nothing more to wait for."""
    with base.open("a") as full, base.open("a") as other:
        fill(full.directory)
        with publishing(driver, "a", timeout=PATIENCE_SECONDS) as count:
            assert comes(other), "the channel that has room did not get the message"
            begin = time.monotonic()
            full.stop_reading()
            assert count.result() == 1, "one queue took it, the other lost its reader"
            took = time.monotonic() - begin
        assert took < PATIENCE_SECONDS / 2, f"it waited on for {took:.1f} s"
        assert full.files() == [], f"left in the dead channel:\n{base.tree()}"


@pytest.mark.requirement("PUB-19", role="publisher")
def test_it_waits_until_the_time_is_over(driver: Driver, base: Base) -> None:
    """Nobody reads: not counted, not before the time is over and not long after it."""
    timeout = 1.0
    with base.open("a") as full:
        fill(full.directory)
        begin = time.monotonic()
        assert driver.publish("a", timeout=timeout) == 0
        took = time.monotonic() - begin
        assert took >= timeout, f"it gave up after {took:.3f} s of {timeout:g} s"
        assert took < timeout + AT_ONCE_SECONDS, f"it took {took:.1f} s instead of {timeout:g} s"
        nothing_left(base, "a publish that waited for nothing")


@pytest.mark.requirement("PUB-20", role="publisher")
def test_channels_with_room_do_not_wait(driver: Driver, base: Base) -> None:
    """Full channels before, between and behind them: those with room get the message first."""
    with several(base, 9) as channels:
        full, roomy = channels[::2], channels[1::2]
        held = [fill(channel.directory) for channel in full]
        with publishing(driver, "a", content=b"x", timeout=PATIENCE_SECONDS) as count:
            deadline = time.monotonic() + ROOM_SECONDS
            while not all(came := [bool(channel.files()) for channel in roomy]):
                if time.monotonic() > deadline:
                    break
            for channel, ids in zip(full, held, strict=True):
                make_room(channel, ids)
            count.result()
        assert all(came), f"{came.count(False)} of {len(came)} channels with room had to wait"


# --- keeping the list of channels --------------------------------------------------------------


@pytest.mark.requirement("PUB-21", role="publisher")
def test_a_channel_that_opens_after_each_publish(driver: Driver, base: Base) -> None:
    """However soon after a publish a channel opens, the next publish reaches it.

    Where the file system's clock is coarse (ramfs; others before Linux 6.13), publish and opening
    fall into one tick, and the base's times say nothing: `--home` on such a file system is the
    hard case.
    """
    base.make()
    for number in range(300):
        driver.publish("a")
        with base.open("a") as channel:
            assert driver.publish("a") == 1, f"a channel was open (round {number})"
            assert len(channel.fetch_all()) == 1


@pytest.mark.requirement("PUB-21", role="publisher")
def test_a_channel_that_opens_in_the_midst_of_a_stream(driver: Driver, base: Base) -> None:
    """A channel that opens while publishes follow one another closely gets all that come later."""
    with base.open("a") as steady:
        for _ in range(50):
            events = driver.produce("a", "p", 20, [10])
            assert comes(steady), "the first message of a stream"
            with base.open("a") as late:
                for event in events:
                    assert event.error is None, event
                late.fetch_all()
                assert driver.publish("a", b"later") == 2, "two channels are open"
                assert [message.content for message in late.fetch_all()] == [b"later"]
            steady.fetch_all()


@pytest.mark.requirement("PUB-21", role="publisher")
def test_a_base_whose_time_was_set_back(driver: Driver, base: Base) -> None:
    """The base's modification time says nothing if it was set back; its change time does."""
    base.make()
    with base.open("a"):
        settle(driver, base, "a")
        before = base.path.stat()
        with base.open("a"):
            os.utime(base.path, ns=(before.st_atime_ns, before.st_mtime_ns))
            assert base.path.stat().st_mtime_ns == before.st_mtime_ns
            assert driver.publish("a") == 2, "two channels are open"


@pytest.mark.requirement("PUB-21", role="publisher")
def test_a_base_that_was_replaced(driver: Driver, base: Base) -> None:
    """Another directory stands under the base's path: its channels count, not the old ones."""
    with several(base, 2):
        settle(driver, base, "a")
        before = base.path.stat()
        base.path.rename(base.path.with_name("moved"))
        with base.open("a") as channel:
            os.utime(base.path, ns=(before.st_atime_ns, before.st_mtime_ns))
            assert driver.publish("a", b"x") == 1, "one channel is open in the new base"
            assert [message.content for message in channel.fetch_all()] == [b"x"]


@pytest.mark.requirement("PUB-21", role="publisher")
def test_a_channel_that_opens_while_the_base_is_listed(driver: Driver, base: Base) -> None:
    """A channel that opens right after the base was read may be missed once, not for ever."""
    with base.open("a"), ExitStack() as closing:
        settle(driver, base, "a")
        closing.enter_context(base.open("other"))  # so that the base has to be listed again
        with traced(driver, stop(LIST, None), paths=[base.path]) as trace:
            count = trace.begin(driver.publish, "a")
            while trace.stopped().result != 0:  # 0: the end of the directory was read
                trace.go_on()
            closing.enter_context(base.open("a"))
        assert count.result() in (1, 2)
        for _ in range(2):
            assert driver.publish("a") == 2, "two channels were open before this publish"


@pytest.mark.requirement("PUB-22", role="publisher")
@pytest.mark.parametrize("with_queue", [True, False])
def test_a_channel_that_comes_alive_in_its_place(
    driver: Driver, base: Base, with_queue: bool
) -> None:
    """A channel seen without a reader, or without a queue, is tried at every later publish."""
    directory = base.dead_channel("a", os.getpid(), queue=with_queue)
    settle(driver, base, "a")
    before = base.path.stat()
    if not with_queue:
        os.mkfifo(directory / "queue", 0o600)
    reader = os.open(directory / "queue", os.O_RDONLY | os.O_NONBLOCK)
    try:
        after = base.path.stat()
        assert (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)
        assert driver.publish("a", b"x") == 1, "somebody reads there now"
        id = int.from_bytes(os.read(reader, 8), "big")
        assert decode((directory / str(id)).read_bytes()).content == b"x"
    finally:
        os.close(reader)
    assert driver.publish("a") == 0, "and now nobody again"


@pytest.mark.requirement("PUB-22", role="publisher")
def test_a_queue_that_was_full_is_tried_again(driver: Driver, base: Base) -> None:
    """What a publisher learnt of a queue in one publish does not outlive that publish."""
    with base.open("a") as channel:
        fill(channel.directory)
        settle(driver, base, "a")
        octets_in(channel)
        assert driver.publish("a") == 1, "its queue has room again"
        assert len(channel.fetch_all()) == 1
