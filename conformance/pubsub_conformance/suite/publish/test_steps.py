"""The steps of publishing, in order: stage, link, enqueue, withdraw."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.strace import (
    LINK,
    OPEN,
    RENAME,
    WRITE,
    stop,
    traced,
)
from pubsub_conformance.oracle.base import Base, Channel
from pubsub_conformance.oracle.message import decode
from pubsub_conformance.oracle.queue import fill
from pubsub_conformance.plugin import not_run
from pubsub_conformance.sockets import make_socket
from pubsub_conformance.suite.helpers import answers

from .support import (
    LARGE,
    ROOM_SECONDS,
    comes,
    ids_in,
    name_in,
    octets_in,
    several,
)

pytestmark = pytest.mark.timing


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
    """A publish that is refused for its topic or headers does not touch the disk, and makes no
    base."""

    def check_refused() -> None:
        # TOPIC-1, MSG-8, MSG-10 and MSG-11 say what is refused, and with which error.
        request = {"seq": 1, "op": "publish", "topic": topic, "headers": headers, "content": ""}
        # In ASCII, as a lone surrogate has no UTF-8.
        if "error" not in driver.raw(json.dumps(request).encode() + b"\n"):
            not_run(f"publish to {topic!r} with {headers} was not refused")

    check_refused()
    assert not base.path.exists(), "the refused publish made the base directory"
    with base.open("+") as channel:
        before = base.tree()
        check_refused()
        assert base.tree() == before, f"the refused publish left something:\n{base.tree()}"
        assert octets_in(channel) == b"", "the refused publish wrote to the queue"


@pytest.mark.requirement("PUB-5", role="publisher")
def test_a_message_file_is_complete_when_it_is_linked(driver: Driver, base: Base) -> None:
    """Right after the link, the file in the channel is the whole message."""
    content = os.urandom(LARGE)
    with base.open("a") as channel, traced(driver, stop(LINK)) as trace:
        count = trace.begin(driver.publish, "a", content, {"n": 1})
        linked = name_in(channel, trace.stopped())
        found = linked.read_bytes()
        trace.go_on()
        assert count.result() == 1
        assert len(found) >= LARGE, f"only {len(found)} octets were written before the link"
        message = decode(found)
        assert message.content == content, "the file was not yet complete when it was linked"
        assert message.headers == {"n": 1}
        assert linked.read_bytes() == found, "the file was changed after it was linked"


@pytest.mark.requirement("PUB-6", role="publisher")
def test_a_message_is_staged_under_its_id(driver: Driver, base: Base) -> None:
    """While a message is published, `tmp` holds its file, named by the id."""
    with base.open("a") as channel, traced(driver, stop(LINK)) as trace:
        count = trace.begin(driver.publish, "a")
        linked = name_in(channel, trace.stopped())
        in_tmp = sorted(entry.name for entry in base.tmp.iterdir())
        same = in_tmp == [linked.name] and linked.samefile(base.tmp / linked.name)
        trace.go_on()
        assert count.result() == 1
        assert in_tmp == [linked.name], f"tmp held {in_tmp} while {linked.name} was published"
        assert same, "the file in the channel is not the staged file"


@pytest.mark.requirement("PUB-6", role="publisher")
def test_a_staged_file_is_made_exclusively(driver: Driver, base: Base) -> None:
    """The call that makes the staged file fails if the file exists (O_EXCL, or a link)."""
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
    """All channels hold the same file: each has a link to it, and `tmp` has none any more."""
    with several(base, 3) as channels:
        assert driver.publish("a", b"x") == 3
        files = [channel.directory / name for channel in channels for name in channel.files()]
        assert len(files) == 3, f"expected one file in each of three channels:\n{base.tree()}"
        inodes = {file.stat().st_ino for file in files}
        assert len(inodes) == 1, f"the channels have different files:\n{base.tree()}"
        assert {file.stat().st_nlink for file in files} == {3}, (
            f"the file has links elsewhere:\n{base.tree()}"
        )


@pytest.mark.requirement("PUB-7", role="publisher")
def test_a_name_in_a_channel_is_made_by_link(driver: Driver, base: Base) -> None:
    """A name in a channel is made by a link: no file is made there, or renamed into it."""
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
    """Between the link and the write, the file exists, and its id is not yet in the queue."""
    with base.open("a") as channel, traced(driver, stop(LINK)) as trace:
        count = trace.begin(driver.publish, "a")
        linked = name_in(channel, trace.stopped())
        there, early = linked.exists(), ids_in(channel)
        trace.go_on()
        assert count.result() == 1
        assert there, f"{linked.name} did not exist after its link"
        assert not early, f"the queue held {early} before the file was linked"
        assert ids_in(channel) == [int(linked.name)], "the id did not follow the link"


@pytest.mark.requirement("PUB-8", role="publisher")
def test_every_id_finds_its_file(driver: Driver, base: Base) -> None:
    """A reader that takes each id as soon as it comes always finds its file."""
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
    """A publish writes 8 octets to the queue: the id in the file's name, big-endian."""
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
    """A queue with room for 4 octets takes no part of an id."""
    with base.open("a") as channel:
        fill(channel.directory)
        room = len(octets_in(channel))
        rest = bytes(room - 4)
        while rest:
            rest = rest[os.write(channel.write_end, rest) :]
        with suppress(Rejected):  # PUB-10 and GUAR-1 say what it reports of a full queue
            driver.publish("a")
        found = len(octets_in(channel))
        assert found == room - 4, f"the queue took {found - room + 4} octets of an id"


@pytest.mark.requirement("PUB-9", role="publisher")
def test_an_id_is_written_in_one_write(driver: Driver, base: Base) -> None:
    """A publish writes to each queue once, 8 octets."""
    with several(base, 2) as channels:
        with traced(driver) as trace:
            assert driver.publish("a") == 2
        for channel in channels:
            (name,) = channel.files()
            queue = channel.directory / "queue"
            writes = [call for call in trace.calls(*WRITE) if call.descriptor == queue]
            if not writes:
                not_run("no write to the queue was seen")
            assert len(writes) == 1, f"expected one write to the queue, found {writes}"
            assert writes[0].result == 8, f"expected a write of 8 octets, found {writes[0]}"
            assert writes[0].data == int(name).to_bytes(8, "big")


@pytest.mark.requirement("PUB-10", role="publisher")
def test_a_full_queue_is_not_counted(driver: Driver, base: Base) -> None:
    """A full queue is not counted, and its channel keeps no file of the message; other channels
    get it."""
    with several(base, 3) as channels:
        assert driver.publish("a", b"all") == 3
        assert [len(channel.fetch_all()) for channel in channels] == [1, 1, 1]
        held = fill(channels[1].directory)
        for _ in range(3):
            assert driver.publish("a", b"some") == 2, "one of three channels is full"
            assert channels[1].files() == [], (
                f"the message is left in the full channel:\n{base.tree()}"
            )
        assert len(ids_in(channels[1])) == held, "the full queue was changed"
        assert driver.publish("a", b"all") == 3, "all queues have room again"
        for channel, messages in zip(channels, (4, 1, 4), strict=True):
            assert len(channel.fetch_all()) == messages


@pytest.mark.requirement("PUB-10", role="publisher")
def test_a_queue_without_a_reader_is_not_counted(driver: Driver, base: Base) -> None:
    """A queue without a reader is not counted, and its channel keeps no file of the message."""
    with base.open("a") as living, base.open("a") as dead:
        assert driver.publish("a") == 2
        dead.stop_reading()
        before = dead.files()
        for _ in range(3):
            assert driver.publish("a") == 1, "one of two queues has no reader"
        assert dead.files() == before, f"the message is left in the dead channel:\n{base.tree()}"
        assert len(living.fetch_all()) == 4


def _publish_past_a_death(
    driver: Driver, base: Base, channels: list[Channel]
) -> tuple[Channel, int]:
    """Publish, and have one reader die right after a link. Returns its channel and the count."""
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
    """A publisher whose write fails with EPIPE lives on, and goes on with the other channels."""
    with several(base, 3) as channels:
        dying, _ = _publish_past_a_death(driver, base, channels)
        others = [channel for channel in channels if channel is not dying]
        assert [len(channel.fetch_all()) for channel in others] == [1, 1]
        with answers("the publish after a reader died"):
            driver.publish("a")


@pytest.mark.requirement("PUB-10", role="publisher")
def test_the_link_of_a_reader_that_dies_is_withdrawn(driver: Driver, base: Base) -> None:
    """If a reader dies after the link, its queue is not counted, and the link is withdrawn."""
    with several(base, 3) as channels:
        dying, count = _publish_past_a_death(driver, base, channels)
        assert count == 2, "one of three channels lost its reader"
        assert dying.files() == [], f"the link was not withdrawn:\n{base.tree()}"


@pytest.mark.requirement("PUB-16", role="publisher")
def test_readers_that_die_all_the_time(driver: Driver, base: Base) -> None:
    """A publisher goes on while readers die all the time."""
    with base.open("a") as steady:
        events = driver.produce("a", "p", 2000, [10], timeout=ROOM_SECONDS)
        taken = 0
        while taken < 2000:
            with base.open("a"):
                if not comes(steady):
                    break  # a lost message breaks GUAR-5
                taken += len(steady.fetch_all())
        with answers("readers that die all the time"):
            done = events.finish()
        assert done.messages == 2000, "of 2000 publishes, some ended with an error"


def _a_file(queue: Path) -> None:
    queue.write_bytes(b"a file")


def _a_directory(queue: Path) -> None:
    queue.mkdir()


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
        *(_a_file, _a_directory, make_socket, _a_link_to_a_file, _a_link_to_a_device),
        *(_a_dangling_link, *([_a_device] if os.geteuid() == 0 else [])),  # only root may make one
    ],
)
def test_a_queue_that_is_no_fifo(driver: Driver, base: Base, make: Callable[[Path], None]) -> None:
    """If a `queue` is no FIFO, nothing is written to it or put beside it, and channels get the
    message."""
    directory = base.dead_channel("a", os.getpid(), queue=False)
    make(directory / "queue")
    before = base.tree()
    assert driver.publish("a", b"x") == 0, "there is no channel"
    assert base.tree() == before, f"the publish changed something:\n{base.tree()}"
    with base.open("a") as channel:
        assert driver.publish("a", b"x") == 1, "there is one channel"
        assert len(channel.fetch_all()) == 1
        assert [entry.name for entry in directory.iterdir()] == ["queue"]
    elsewhere = base.path.parent / "elsewhere"
    assert not elsewhere.exists() or elsewhere.read_bytes() == b"a file"
    assert not (base.path.parent / "nowhere").exists(), "the link was followed"


@pytest.mark.requirement("PUB-11", role="publisher")
def test_a_queue_that_is_a_link_to_a_fifo(driver: Driver, base: Base) -> None:
    """If a `queue` is a symbolic link to a FIFO with a reader, nothing is written to it."""
    directory = base.dead_channel("a", os.getpid(), queue=False)
    fifo = base.path.parent / "fifo"
    os.mkfifo(fifo)
    (directory / "queue").symlink_to(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert driver.publish("a", b"x") == 0, "the queue is a symbolic link"
        # An empty FIFO without a writer is at its end.
        assert os.read(reader, 8) == b"", "the link was followed and written through"
    finally:
        os.close(reader)
    assert [entry.name for entry in directory.iterdir()] == ["queue"]
    with base.open("a"):
        assert driver.publish("a", b"x") == 1


@pytest.mark.requirement("PUB-11", "BASE-10", role="publisher")
def test_a_link_in_place_of_a_channel(driver: Driver, base: Base) -> None:
    """A symbolic link with a channel's name is no channel: nothing is written where it leads."""
    outside = base.path.parent / "outside"
    with base.open("a") as channel:
        channel.directory.rename(outside)  # its queue has a reader, so it could take a message
        channel.directory.symlink_to(outside)
        before = sorted(entry.name for entry in outside.iterdir())
        assert driver.publish("a", b"x") == 0, "there is no channel"
        after = sorted(entry.name for entry in outside.iterdir())
        assert after == before, f"the publish went through the link: {after}"
        channel.directory.unlink()
        outside.rename(channel.directory)
        assert driver.publish("a", b"x") == 1, "the directory is a channel again"
        assert len(channel.fetch_all()) == 1
