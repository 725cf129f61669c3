"""channel.md: what a channel is on disk, its queue's descriptors, opening, closing.

A driver is looked at as owner, as publisher and as reaper. Where somebody has to come between two
of its steps it is stopped there (strace.py); the tests beside those show the same rule more weakly,
everywhere.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, OpenChannel, Rejected
from pubsub_conformance.linux.strace import (
    LINK,
    MAKE_DIRECTORY,
    MAKE_FIFO,
    OPEN,
    RENAME,
    UNLINK,
    Call,
    Trace,
    fail,
    stop,
    traced,
)
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import CHANNEL_NAME, MESSAGE_NAME, Base, put
from pubsub_conformance.oracle.message import a_message, fresh_id
from pubsub_conformance.oracle.queue import fill, has_reader
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import refuses, through

QUIET_SECONDS = 0.5
"""How long a queue in which nothing happens is watched for a wait that ends too early."""


def owner(channel: OpenChannel) -> int:
    """The process id in the channel's name."""
    name = CHANNEL_NAME.fullmatch(channel.directory.name)
    assert name, f"{channel.directory.name!r} is not the name of a channel"
    return int(name["pid"])


def is_received(base: Base, driver: Driver, channel: OpenChannel) -> bool:
    """Whether a message that the kit publishes now comes out of the driver's channel."""
    message = base.publish("a", b"probe")
    return driver.fetch(channel) == message


# --- name and content --------------------------------------------------------------------------


@pytest.mark.requirement("CHAN-1", role="subscriber")
@pytest.mark.parametrize("pattern", ["a", "=", "+", "news.=.eu-1.+", "A.0.-"])
def test_the_name_of_a_channel(driver: Driver, base: Base, pattern: str) -> None:
    """An entry of the base: the pattern, 12 characters, the id of the process that reads."""
    channel = driver.open(pattern)
    assert channel.directory in base.channels(), f"not a channel in the base:\n{base.tree()}"
    name = CHANNEL_NAME.fullmatch(channel.directory.name)
    assert name, f"{channel.directory.name!r} is not the name of a channel"
    assert name["pattern"] == pattern
    pid = int(name["pid"])
    try:
        group = os.getpgid(pid)
    except ProcessLookupError:
        pytest.fail(f"the process {pid} in the channel's name does not run")
    # The driver may be the child of a wrapper: any process of its group may be the owner.
    assert group == os.getpgid(driver.pid), f"the process {pid} is none of the driver's"


@pytest.mark.requirement("CHAN-1", "CHAN-13", role="subscriber")
def test_names_are_fresh(driver: Driver) -> None:
    """However often a pattern is opened, and by however many channels, no name comes twice."""
    names = []
    for _ in range(25):
        channels = [driver.open("a"), driver.open("a")]
        for channel in channels:
            names.append(channel.directory.name)
            driver.close_channel(channel)
    random = {name.split("_")[1] for name in names}
    assert len(random) == len(names), f"names that came again: {sorted(names)}"


@pytest.mark.requirement("CHAN-2", role="subscriber")
def test_a_channel_has_a_fifo(driver: Driver, base: Base) -> None:
    """The directory holds a FIFO named `queue`, and nothing else yet."""
    channel = driver.open("a")
    assert os.listdir(channel.directory) == ["queue"], f"found:\n{base.tree()}"
    mode = (channel.directory / "queue").lstat().st_mode
    assert stat.S_ISFIFO(mode), f"the queue is no FIFO: {stat.filemode(mode)}"


def _foreign_entries(directory: Path) -> set[str]:
    """Put into a channel what later versions, or other people, may put there: the names."""
    before = set(os.listdir(directory))
    os.mkfifo(directory / "inline")
    (directory / "lane").mkdir()
    (directory / "lane" / "1").write_bytes(b"foreign")
    (directory / "dangling").symlink_to("nowhere")
    for name in (".hidden", "0", f"0{fresh_id()}", f"{fresh_id()}.tmp", "1" * 21):
        (directory / name).write_bytes(b"foreign")
    return set(os.listdir(directory)) - before


@pytest.mark.requirement("CHAN-3", role="publisher")
def test_a_publisher_ignores_foreign_entries(driver: Driver, base: Base) -> None:
    """What is neither `queue` nor a message changes nothing for a publish, nor by it."""
    with base.open("a") as channel:
        foreign = _foreign_entries(channel.directory)
        for _ in range(3):
            assert driver.publish("a", b"x") == 1
        assert [message.content for message in channel.fetch_all()] == [b"x"] * 3
        assert set(channel.files()) == foreign, f"foreign entries were touched:\n{base.tree()}"


@pytest.mark.requirement("CHAN-3", role="subscriber")
def test_a_subscriber_ignores_foreign_entries(driver: Driver, base: Base) -> None:
    """What is neither `queue` nor a message is not fetched, not removed, and no error."""
    channel = driver.open("a")
    foreign = _foreign_entries(channel.directory)
    assert driver.fetch(channel) is None
    sent = [base.publish("a", b"x") for _ in range(3)]
    assert [driver.fetch(channel) for _ in range(4)] == [*sent, None]
    left = set(os.listdir(channel.directory)) - {"queue"}
    assert left == foreign, f"foreign entries were touched:\n{base.tree()}"


# --- the queue's descriptors -------------------------------------------------------------------


@dataclass(frozen=True)
class Descriptor:
    """A descriptor of a process, as Linux shows it."""

    number: int
    flags: int  # of open(2); O_CLOEXEC as it is now

    def __repr__(self) -> str:
        return f"{self.number}: {self.flags:#o}"

    @property
    def access(self) -> int:
        return self.flags & os.O_ACCMODE


def descriptors(pid: int, queue: Path) -> list[Descriptor]:
    """The descriptors that a process has of this queue."""
    if sys.platform != "linux":
        not_run("only Linux shows the descriptors of another process")
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if not entry.exists() or not entry.samefile(queue):
                continue
            info = Path(f"/proc/{pid}/fdinfo", entry.name).read_text()
        except FileNotFoundError:  # closed meanwhile
            continue
        flags = re.search(r"^flags:\s*([0-7]+)$", info, re.MULTILINE)
        assert flags, info
        found.append(Descriptor(int(entry.name), int(flags[1], 8)))
    return sorted(found, key=lambda descriptor: descriptor.number)


def opens_of_queues(trace: Trace) -> list[Call]:
    return [call for call in trace.calls(*OPEN) if any(path.name == "queue" for path in call.paths)]


def reads(call: Call) -> bool:
    """Whether a descriptor from this call can read, and so keeps a FIFO alive."""
    return not {"O_WRONLY", "O_PATH"} & call.flags


@through("CHAN-4", "publisher", "reaper")
def test_nobody_else_opens_a_queue_for_reading(driver: Driver, base: Base, role: str) -> None:
    """A publish and a reaper open no queue for reading."""
    for call in _opens_of_others_queues(driver, base, role):
        assert not reads(call), f"another's queue was opened for reading: {call}"


@through("CHAN-5", "publisher", "reaper")
def test_nobody_else_creates_a_queue(driver: Driver, base: Base, role: str) -> None:
    """A publish and a reaper open no queue with O_CREAT."""
    for call in _opens_of_others_queues(driver, base, role):
        assert "O_CREAT" not in call.flags, f"a queue was opened with O_CREAT: {call}"


def _opens_of_others_queues(driver: Driver, base: Base, role: str) -> list[Call]:
    with base.open("a"), base.open("a"):
        base.dead_channel("a", os.getpid())
        base.dead_channel("a", dead_pid())
        with traced(driver) as trace:
            if role == "reaper":
                driver.reap()
            else:
                driver.publish("a")
    opens = opens_of_queues(trace)
    if not opens:
        not_run("no opening of a queue was seen")
    return opens


@pytest.mark.requirement("CHAN-4", role="subscriber")
def test_a_subscriber_reads_its_own_queue_only(driver: Driver, base: Base) -> None:
    """Opening a channel and reading from it opens nobody else's queue for reading."""
    dead = base.dead_channel("a", dead_pid())
    with base.open("a") as other:
        put(other.directory, a_message("a", b"other's"))
        with traced(driver) as trace:
            channel = driver.open("a")
            driver.fetch(channel)
            driver.close_channel(channel)
        for queue in (dead / "queue", other.directory / "queue"):
            opens = [call for call in opens_of_queues(trace) if queue in call.paths]
            assert not any(reads(call) for call in opens), f"opened for reading: {opens}"
        assert len(other.fetch_all()) == 1, "the other channel lost an id"


@pytest.mark.requirement("CHAN-5", role="subscriber")
def test_an_owner_opens_without_creating(driver: Driver) -> None:
    """Opening a channel opens its queue without O_CREAT: mkfifo makes it."""
    with traced(driver) as trace:
        channel = driver.open("a")
        driver.close_channel(channel)
    opens = opens_of_queues(trace)
    if not opens:
        not_run("the opening of the queue was not seen")
    for call in opens:
        assert "O_CREAT" not in call.flags, f"a queue was opened with O_CREAT: {call}"


@pytest.mark.requirement("CHAN-4", role="publisher")
def test_publishing_does_not_bring_a_queue_to_life(driver: Driver, base: Base) -> None:
    """A publisher that opened it for reading, or both, would count a queue that nobody reads."""
    directory = base.dead_channel("a", os.getpid())
    for _ in range(3):
        assert driver.publish("a") == 0, "nobody reads that queue"
        assert not has_reader(directory), "the publisher reads the queue of another process"


def looks_at_an_owner(driver: Driver, base: Base) -> Iterator[tuple[str, list[Descriptor]]]:
    """The descriptors that an owner has of its queue, and when that was."""
    channel = driver.open("a")
    queue = channel.directory / "queue"
    yield "after it was opened", descriptors(owner(channel), queue)
    is_received(base, driver, channel)
    yield "after a message", descriptors(owner(channel), queue)
    driver.wait(channel, 0.01)
    yield "after a wait", descriptors(owner(channel), queue)


@pytest.mark.requirement("CHAN-6", role="subscriber")
def test_an_owner_has_both_ends(driver: Driver, base: Base) -> None:
    """It can read from its queue and write to it, always."""
    for when, found in looks_at_an_owner(driver, base):
        access = {descriptor.access for descriptor in found}
        assert access & {os.O_RDONLY, os.O_RDWR}, f"{when}: no read end of the queue: {found}"
        assert access & {os.O_WRONLY, os.O_RDWR}, f"{when}: no write end of the queue: {found}"


@pytest.mark.requirement("CHAN-7", role="subscriber")
def test_no_descriptor_of_an_owner_does_both(driver: Driver, base: Base) -> None:
    """None of its descriptors of the queue both reads and writes, at any time."""
    for when, found in looks_at_an_owner(driver, base):
        assert all(each.access != os.O_RDWR for each in found), f"{when}: O_RDWR: {found}"


@pytest.mark.requirement("CHAN-8", role="subscriber")
def test_the_descriptors_of_an_owner(driver: Driver, base: Base) -> None:
    """All of its descriptors of the queue are non-blocking and closed on exec, always."""
    for when, found in looks_at_an_owner(driver, base):
        for each in found:
            assert each.flags & os.O_NONBLOCK, f"{when}: would block: {each}"
            assert each.flags & os.O_CLOEXEC, f"{when}: survives exec: {each}"


@pytest.mark.requirement("CHAN-6", role="subscriber")
def test_the_queue_does_not_end(driver: Driver, base: Base) -> None:
    """When the last publisher has gone, an empty queue is empty: no end, no hang-up, no error."""
    channel = driver.open("a")
    for _ in range(3):
        assert is_received(base, driver, channel)
        assert driver.fetch(channel) is None, "the queue is empty"
        assert driver.wait(channel, QUIET_SECONDS) is False, (
            "woken with nothing to fetch: without a write end of the owner's own, the end of the"
            " last publisher reads as a hang-up"
        )


@pytest.mark.requirement("CHAN-7", role="subscriber")
def test_the_read_end_is_opened_first(driver: Driver) -> None:
    """Whatever is opened later, the first descriptor reads, and none does both."""
    with traced(driver) as trace:
        channel = driver.open("a")
        driver.close_channel(channel)
    opens = [call for call in opens_of_queues(trace) if "O_PATH" not in call.flags]
    if not opens:
        not_run("the opening of the queue was not seen")
    assert not any("O_RDWR" in call.flags for call in opens), f"opened with O_RDWR: {opens}"
    assert reads(opens[0]), f"the first descriptor of the queue does not read: {opens[0]}"


@pytest.mark.requirement("CHAN-8", role="publisher")
def test_the_descriptors_of_a_publisher(driver: Driver, base: Base) -> None:
    """While it publishes, its descriptor of the queue is non-blocking and closed on exec."""
    with base.open("a") as channel, traced(driver, stop(LINK)) as trace:
        count = trace.begin(driver.publish, "a")
        thread = trace.stopped().pid
        found = descriptors(thread, channel.directory / "queue")
        trace.go_on()
        assert count.result() == 1
    if not found:
        not_run("the queue was not open at the link")
    for each in found:
        assert each.flags & os.O_NONBLOCK, f"{each.number} would block: {each.flags:#o}"
        assert each.flags & os.O_CLOEXEC, f"{each.number} survives exec: {each.flags:#o}"


# --- alive or dead -------------------------------------------------------------------------------


@pytest.mark.requirement("CHAN-9", role="publisher")
def test_a_publisher_does_not_look_at_the_process(driver: Driver, base: Base) -> None:
    """A reader counts though its process seems to have ended; a process that runs does not."""
    with base.open("a", pid=dead_pid()) as read:
        base.dead_channel("a", os.getpid())
        base.dead_channel("a", driver.pid)
        base.dead_channel("a", 1)
        assert driver.publish("a", b"x") == 1, "one queue has a reader, three have none"
        assert [message.content for message in read.fetch_all()] == [b"x"]


@pytest.mark.requirement("CHAN-9", role="reaper")
def test_a_socket_is_not_a_dead_queue(driver: Driver, base: Base) -> None:
    """A socket answers ENXIO as well; that is not the answer of a queue without a reader."""
    directory = base.dead_channel("a", dead_pid(), queue=False)
    _make_socket(directory / "queue")
    dead = base.dead_channel("a", dead_pid())
    driver.reap()
    assert not dead.exists(), "the dead channel was not reaped"
    assert (directory / "queue").is_socket(), f"the socket was taken for a queue:\n{base.tree()}"


def _make_socket(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)  # the path of a socket may have no more than some hundred octets
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


@pytest.mark.requirement("CHAN-9", role="reaper")
@pytest.mark.parametrize("errno", ["EACCES", "EMFILE", "ENFILE", "ENOMEM"])
def test_a_queue_that_cannot_be_opened_is_not_dead(driver: Driver, base: Base, errno: str) -> None:
    """Only ENXIO says that nobody reads: what could not be looked at is left alone."""
    directory = base.dead_channel("a", dead_pid())
    queue = directory / "queue"
    with traced(driver, fail(OPEN, errno, None), paths=[queue, "queue"]) as trace:
        driver.reap()
    if not any(call.injected for call in trace.calls(*OPEN)):
        not_run("strace saw no opening of the queue that it could make fail")
    assert directory.exists(), f"{errno} was taken for a queue without a reader"
    driver.reap()
    assert not directory.exists(), "ENXIO is what says that nobody reads"


# --- opening -------------------------------------------------------------------------------------


@pytest.mark.requirement("CHAN-10", role="subscriber")
def test_a_channel_is_visible_with_a_reader(driver: Driver, base: Base) -> None:
    """Right after the rename that makes it visible, the queue has a reader already."""
    with traced(driver, stop(RENAME)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        visible = base.channels()
        alive = [has_reader(directory) for directory in visible]
        trace.go_on()
        channel = opened.result()
    assert visible == [channel.directory], f"visible after the rename: {visible}"
    assert alive == [True], "the channel was visible before its queue had a reader"


@pytest.mark.requirement("CHAN-10", role="subscriber")
def test_a_channel_without_a_reader_is_not_visible(driver: Driver, base: Base) -> None:
    """Right after its queue was made, and nobody reads it yet, the base shows nothing of it."""
    base.make()
    with traced(driver, stop(MAKE_FIFO)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        seen = sorted(entry.name for entry in base.path.iterdir())
        trace.go_on()
        channel = opened.result()
    assert seen == ["tmp"], f"the base showed {seen} while the channel was being made"
    assert channel.directory.exists()


@pytest.mark.requirement("CHAN-10", role="subscriber")
def test_a_channel_is_made_in_tmp_and_renamed(driver: Driver, base: Base) -> None:
    """One rename from `tmp` into the base, after the opening of the queue for reading."""
    base.make()
    with traced(driver) as trace:
        channel = driver.open("a")
    calls = trace.calls(*RENAME, *OPEN, *MAKE_DIRECTORY)
    made = [call for call in calls if call.name in MAKE_DIRECTORY and call.errno is None]
    assert not any(channel.directory in call.paths for call in made), "it was made in the base"
    renames = [
        call for call in calls if call.name in RENAME and channel.directory in call.paths[1:]
    ]
    if not made and not renames:
        not_run("the making of the channel was not seen")
    assert len(renames) == 1, f"not one rename to the channel's name: {renames}"
    source = renames[0].paths[0]
    assert source.parent == base.tmp, f"renamed from elsewhere than tmp: {renames[0]}"
    opens = [call for call in calls if source / "queue" in call.paths and reads(call)]
    assert opens, f"the queue was not opened for reading in {source}"
    assert calls.index(opens[0]) < calls.index(renames[0]), "it was visible before it was read"


@pytest.mark.requirement("CHAN-10", role="subscriber")
def test_whoever_sees_a_channel_sees_a_reader(driver: Driver, base: Base) -> None:
    """Somebody who looks all the time never sees a channel without a queue or a reader."""
    base.make()
    ended = threading.Event()
    seen: dict[Path, bool] = {}

    def look() -> None:
        while not ended.is_set():
            for name in os.listdir(base.path):
                directory = base.path / name
                if name == "tmp" or directory in seen:
                    continue
                try:
                    seen[directory] = has_reader(directory)
                except FileNotFoundError:
                    # Closed meanwhile, unless the directory is still there.
                    if directory.exists():
                        seen[directory] = False

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(40):
            driver.close_channel(driver.open("a"))
    finally:
        ended.set()
        looking.join()
    deaf = [directory.name for directory, alive in seen.items() if not alive]
    assert not deaf, f"{len(deaf)} of {len(seen)} channels were visible without a reader"


@pytest.mark.requirement("CHAN-11", role="subscriber")
def test_a_directory_that_vanishes_before_the_rename(driver: Driver, base: Base) -> None:
    """A reaper took what was being made: the owner starts again, and its channel receives."""
    base.make()
    with traced(driver, fail(RENAME, "ENOENT", then_stop=True)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        for entry in base.tmp.iterdir():
            shutil.rmtree(entry)
        trace.go_on()
        channel = opened.result()
    _is_sound(base, driver, channel)


@pytest.mark.requirement("CHAN-11", role="subscriber")
def test_tmp_vanishes_before_the_rename(driver: Driver, base: Base) -> None:
    """As before, and `tmp` itself went with it."""
    base.make()
    with traced(driver, fail(RENAME, "ENOENT", then_stop=True)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        shutil.rmtree(base.tmp)
        trace.go_on()
        channel = opened.result()
    _is_sound(base, driver, channel)


@pytest.mark.requirement("CHAN-12", role="subscriber")
def test_a_channel_that_vanishes_after_the_rename(driver: Driver, base: Base) -> None:
    """A reaper had claimed the directory: nothing is left under the name. It starts again."""
    base.make()
    with traced(driver, stop(RENAME)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        (visible,) = base.channels()
        shutil.rmtree(visible)
        trace.go_on()
        channel = opened.result()
    assert channel.directory != visible, "it took a channel for open that is gone"
    _is_sound(base, driver, channel)


@pytest.mark.requirement("CHAN-12", role="subscriber")
@pytest.mark.parametrize("there", [True, False], ids=["another queue", "no queue"])
def test_a_queue_that_is_another_after_the_rename(driver: Driver, base: Base, there: bool) -> None:
    """A reaper had emptied the directory before the rename: the queue in it is not its own."""
    base.make()
    with traced(driver, stop(RENAME)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        (visible,) = base.channels()
        # Kept elsewhere, so that no later FIFO gets its inode number.
        (visible / "queue").rename(base.path.parent / "own")
        if there:
            os.mkfifo(visible / "queue", 0o600)
        trace.go_on()
        channel = opened.result()
    assert channel.directory != visible, "it took a channel for open whose queue is not its own"
    shutil.rmtree(visible, ignore_errors=True)
    _is_sound(base, driver, channel)


def _is_sound(base: Base, driver: Driver, channel: OpenChannel) -> None:
    """The channel receives, and closing it leaves nothing of it nor of earlier attempts."""
    assert channel.directory in base.channels(), f"not visible:\n{base.tree()}"
    assert has_reader(channel.directory), "nobody reads the channel that was opened"
    assert is_received(base, driver, channel), "the channel that was opened does not receive"
    driver.close_channel(channel)
    assert base.leftovers() == [], f"after closing, this is left:\n{base.tree()}"


@pytest.mark.requirement("CHAN-13", role="subscriber")
def test_an_open_channel_keeps_its_name(driver: Driver, base: Base) -> None:
    """Whatever goes on around it, the directory stays where it is, and it is the same one."""
    channel = driver.open("a")
    inode = channel.directory.stat().st_ino
    _is_used(driver, base, channel)
    assert channel.directory.stat().st_ino == inode, f"moved or replaced:\n{base.tree()}"


@pytest.mark.requirement("CHAN-13", role="subscriber")
def test_an_open_channel_is_not_renamed(driver: Driver, base: Base) -> None:
    """Not even for a moment."""
    channel = driver.open("a")
    with traced(driver) as trace:
        _is_used(driver, base, channel)
    moved = [call for call in trace.calls(*RENAME) if channel.directory in call.paths]
    assert not moved, f"the open channel was renamed: {moved}"


def _is_used(driver: Driver, base: Base, channel: OpenChannel) -> None:
    for _ in range(3):
        assert is_received(base, driver, channel)
        assert driver.fetch(channel) is None
        driver.wait(channel, 0.01)
        driver.close_channel(driver.open("a"))


# --- closing -------------------------------------------------------------------------------------


def _furnish(directory: Path, outside: Path) -> None:
    """Fill a channel with all that may stand in one, links to what is outside included."""
    for _ in range(3):
        put(directory, a_message("a", b"unread"))
        put(directory, a_message("a", b"orphan"), enqueue=False)
    _foreign_entries(directory)
    deep = directory / str(fresh_id())
    deep.mkdir()
    for _ in range(5):
        deep = deep / "deeper"
        deep.mkdir()
        (deep / "file").write_bytes(b"foreign")
    _make_socket(directory / "socket")
    (directory / "to-file").symlink_to(outside / "file")
    (directory / "to-directory").symlink_to(outside)
    (directory / str(fresh_id())).symlink_to(outside)
    (deep / "to-directory").symlink_to(outside, target_is_directory=True)


@pytest.fixture
def outside(home: Path) -> Path:
    """A directory outside the base, for links to lead to."""
    path = home.parent / "outside"
    (path / "inner").mkdir(parents=True)
    (path / "file").write_bytes(b"outside")
    (path / "inner" / "file").write_bytes(b"outside")
    return path


def _untouched(outside: Path) -> None:
    found = sorted(str(path.relative_to(outside)) for path in outside.rglob("*"))
    assert found == ["file", "inner", "inner/file"], f"links were followed; outside: {found}"
    assert (outside / "file").read_bytes() == b"outside", "a link was followed and written through"


@pytest.mark.requirement("CHAN-14", role="subscriber")
def test_closing_removes_everything_in_it(driver: Driver, base: Base, outside: Path) -> None:
    """Unread messages, orphans, foreign entries, directories and links go."""
    channel, other = driver.open("a"), driver.open("a")
    driver.close_channel(other)
    assert base.channels() == [channel.directory]
    _furnish(channel.directory, outside)
    driver.close_channel(channel)
    assert base.leftovers() == [], f"after closing, this is left:\n{base.tree()}"


@pytest.mark.requirement("CHAN-14", role="subscriber")
def test_closing_a_channel_that_is_full(driver: Driver, base: Base) -> None:
    """A full queue does not keep an owner from closing."""
    channel = driver.open("a")
    put(channel.directory, a_message("a"))
    fill(channel.directory)
    driver.close_channel(channel)
    assert base.leftovers() == [], f"after closing, this is left:\n{base.tree()}"


@pytest.mark.requirement("CHAN-14", role="subscriber")
def test_closing_closes_that_channel_only(driver: Driver, base: Base) -> None:
    """Other channels of the owner stay open, with their messages."""
    closing, staying = driver.open("a"), driver.open("a")
    message = base.publish("a", b"x")
    driver.close_channel(closing)
    assert base.channels() == [staying.directory]
    assert driver.fetch(staying) == message
    assert is_received(base, driver, staying)


@pytest.mark.requirement("CHAN-15", role="subscriber")
def test_closing_follows_no_links(driver: Driver, outside: Path) -> None:
    """Whatever becomes of the links in a channel that is closed, what they lead to stays."""
    channel = driver.open("a")
    _furnish(channel.directory, outside)
    with contextlib.suppress(Rejected):  # that it comes to its end is CHAN-14
        driver.close_channel(channel)
    _untouched(outside)


@pytest.mark.requirement("CHAN-15", role="reaper")
def test_reaping_follows_no_links(driver: Driver, base: Base, outside: Path) -> None:
    """Whatever becomes of the links in a dead channel, what they lead to stays."""
    dead = base.open("a", pid=dead_pid())
    _furnish(dead.directory, outside)
    dead.stop_reading()
    with contextlib.suppress(Rejected):  # that it is removed is REAP-3
        driver.reap()
    _untouched(outside)


@pytest.mark.requirement("CHAN-16", role="subscriber")
def test_closing_begins_with_a_rename_into_tmp(driver: Driver, base: Base) -> None:
    """Stopped at the first thing that closing does to the directory: all of it is in `tmp`."""
    channel = driver.open("a")
    _is_claimed_whole(base, channel.directory, driver, lambda: driver.close_channel(channel))


@pytest.mark.requirement("CHAN-16", role="reaper")
def test_reaping_begins_with_a_rename_into_tmp(driver: Driver, base: Base) -> None:
    """As closing: what a reaper found dead is moved to `tmp` before anything in it goes."""
    dead = base.open("a", pid=dead_pid())
    dead.stop_reading()
    _is_claimed_whole(base, dead.directory, driver, driver.reap)


def _is_claimed_whole(
    base: Base, directory: Path, driver: Driver, take_down: Callable[[], None]
) -> None:
    for _ in range(3):
        put(directory, a_message("a"), enqueue=False)
    before = sorted(os.listdir(directory))
    with traced(driver, stop([*RENAME, *UNLINK, "rmdir"])) as trace:
        taken_down = trace.begin(take_down)
        call = trace.stopped()
        visible = directory.exists()
        claimed = list(base.tmp.iterdir())
        content = [sorted(os.listdir(entry)) for entry in claimed]
    taken_down.result()
    assert not visible, f"the channel was still visible after {call}"
    assert content == [before], f"in tmp, after {call}: {content}; in the channel before: {before}"
    assert not MESSAGE_NAME.fullmatch(claimed[0].name), "a name that a message file could have"
    assert not directory.exists(), f"the channel is there again:\n{base.tree()}"
    assert os.listdir(base.tmp) == [], f"left in tmp:\n{base.tree()}"


@pytest.mark.requirement("CHAN-16", role="subscriber")
def test_nobody_sees_half_a_channel(driver: Driver, base: Base) -> None:
    """Somebody who looks all the time never sees a channel from which something is missing."""
    for _ in range(3):
        channel = driver.open("a")
        names = {"queue", *(f"foreign-{number}" for number in range(1000))}
        for name in names - {"queue"}:
            (channel.directory / name).touch()
        inode = channel.directory.stat().st_ino
        closed = threading.Event()
        halves: list[int] = []

        def look(
            directory: Path = channel.directory,
            whole: set[str] = names,
            inode: int = inode,
            closed: threading.Event = closed,
            halves: list[int] = halves,
        ) -> None:
            while not closed.is_set():
                try:
                    found = set(os.listdir(directory))
                    # Still there afterwards: then the list was of what was visible.
                    if found != whole and directory.stat().st_ino == inode:
                        halves.append(len(found))
                except FileNotFoundError:
                    return

        looking = threading.Thread(target=look)
        looking.start()
        try:
            driver.close_channel(channel)
        finally:
            closed.set()
            looking.join()
        assert not halves, f"seen in the base with {halves[:3]} of {len(names)} entries"


@pytest.mark.requirement("CHAN-17", role="subscriber")
def test_a_late_link_while_closing(driver: Driver, base: Base) -> None:
    """A publisher puts its link into the claimed directory: closing goes on until it is gone."""
    channel = driver.open("a")
    take_down = functools.partial(driver.close_channel, channel)
    _meets_a_late_link(base, channel.directory, driver, take_down)


@pytest.mark.requirement("CHAN-17", role="reaper")
def test_a_late_link_while_reaping(driver: Driver, base: Base) -> None:
    """As closing: a reaper goes on until the directory is gone."""
    dead = base.dead_channel("a", dead_pid())
    _meets_a_late_link(base, dead, driver, driver.reap)


def _meets_a_late_link(
    base: Base, directory: Path, driver: Driver, take_down: Callable[[], None]
) -> None:
    # The queue is the only entry. Stopped right after it went, the directory has been read, and
    # what is put there now is what rmdir will meet.
    inode = directory.stat().st_ino
    with traced(driver, stop(UNLINK)) as trace:
        taken_down = trace.begin(take_down)
        trace.stopped()
        # In tmp, if it was claimed (CHAN-16).
        places = [directory, *(base.tmp.iterdir() if base.tmp.exists() else ())]
        found = [place for place in places if place.exists() and place.stat().st_ino == inode]
        if not found:
            not_run("the directory is neither in the base nor in tmp")
        (found[0] / str(fresh_id())).write_bytes(b"late")
        trace.go_on()
        with contextlib.suppress(Rejected):  # what is left shows
            taken_down.result()
    assert not found[0].exists(), f"the late link was left, and its directory:\n{base.tree()}"
    met = [call for call in trace.calls("rmdir", *UNLINK) if call.errno in ("ENOTEMPTY", "EEXIST")]
    if not met:
        not_run("the late link was seen before the directory was to be removed")


@pytest.mark.requirement("CHAN-18", role="subscriber")
def test_a_closed_channel(driver: Driver, base: Base) -> None:
    """Fetching from it and waiting for it fail as `channel-closed`; others go on."""
    closed, open_ = driver.open("a"), driver.open("a")
    base.publish("a", b"unread")
    driver.close_channel(closed)
    for _ in range(2):
        with refuses("channel-closed", what="a fetch from a closed channel"):
            driver.fetch(closed)
        with refuses("channel-closed", what="a wait for a closed channel"):
            driver.wait(closed, 0)
        with refuses("channel-closed", what="consuming a closed channel"):
            list(driver.consume(closed, deadline=0))
    message = driver.fetch(open_)
    assert message is not None, "the channel that is open was closed, too"
    assert message.content == b"unread"


@pytest.mark.requirement("CHAN-18", role="subscriber")
def test_closing_twice(driver: Driver, base: Base) -> None:
    """It does nothing: another channel is not taken for it, and nothing else is removed."""
    closed, open_ = driver.open("a"), driver.open("a")
    driver.close_channel(closed)
    # The implementation says nothing; that its driver does not know the handle any more is as good.
    refused = None
    try:
        driver.close_channel(closed)
    except Rejected as no:
        refused = no.code
    assert refused in (None, "channel-closed"), f"closing a closed channel: {refused}"
    assert base.channels() == [open_.directory]
    assert is_received(base, driver, open_)


@pytest.mark.requirement("CHAN-19", role="subscriber")
def test_a_refused_pattern_leaves_nothing(driver: Driver, base: Base) -> None:
    """The pattern is judged before the disk is touched."""
    with pytest.raises(Rejected):  # as what is for TOPIC-2 to say
        driver.open("a b")
    assert not base.path.exists(), f"a refused opening left:\n{base.tree()}"


@pytest.mark.requirement("CHAN-14", role="subscriber")
def test_closing_where_tmp_is_gone(driver: Driver, base: Base) -> None:
    """ENOENT from the claim does not say that the channel is gone: it may be `tmp` that is."""
    channel = driver.open("a")
    base.publish("a", b"unread")
    shutil.rmtree(base.tmp)
    driver.close_channel(channel)
    assert not channel.directory.exists(), f"the channel is still there:\n{base.tree()}"
    assert base.leftovers() == [], f"closing left:\n{base.tree()}"


@pytest.mark.requirement("CHAN-20", role="subscriber")
def test_closing_leaves_what_is_not_its_own(driver: Driver, base: Base) -> None:
    """Somebody took the channel away and put a directory of their own in its place."""
    channel = driver.open("a")
    shutil.rmtree(channel.directory)
    channel.directory.mkdir()
    (channel.directory / "theirs").write_bytes(b"theirs")
    with contextlib.suppress(Rejected):  # whether a lost channel can be closed in peace is not said
        driver.close_channel(channel)
    assert (channel.directory / "theirs").exists(), f"it is gone:\n{base.tree()}"
