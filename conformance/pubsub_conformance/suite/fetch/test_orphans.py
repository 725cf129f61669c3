"""Orphans: message files whose ids never come through the queue."""

from __future__ import annotations

import os
import resource

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.strace import LIST, UNLINK, fail, stop, traced
from pubsub_conformance.oracle.arrange import dead_pid, let_age
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import a_message
from pubsub_conformance.oracle.queue import enqueue, fill
from pubsub_conformance.plugin import not_run

from .support import (
    expect_message,
    expect_nothing,
    no_descriptor_left,
    outcome,
)

pytestmark = pytest.mark.timing


@pytest.mark.requirement("FETCH-16", role="subscriber")
def test_orphans_are_removed_by_the_owner(driver: Driver, base: Base) -> None:
    """An owner removes stale files, which a killed publisher left, if their ids are not in the
    queue."""
    channel = driver.open("a")
    orphans = [put(channel.directory, a_message("a"), enqueue=False) for _ in range(3)]
    let_age(*orphans)
    driver.reap(stale_age=0)
    left = [path.name for path in orphans if path.exists()]
    assert not left, (
        "the queue is empty and these files are stale orphans: the owner should have removed"
        f" {left}"
    )
    expect_message(driver, channel, base.publish("a"), "after orphans were removed")


ALMOST = (
    "0",
    "00",
    "0042",
    "042",
    "-1",
    "+1",
    "1 ",
    " 1",
    "1.0",
    "1e3",
    "0x1",
    "1_0",
    "\uff11",
    "1\n",
)
"""Names that are almost those of message files: these are numbers without a leading zero."""

LONG = [f"{first}{'0' * (n - 1)}" for first in (1, 9) for n in (21, 22, 30, 65, 200)]
"""Numbers with too many digits for an id."""


@pytest.mark.requirement("FETCH-17", "CHAN-3", role="subscriber")
def test_what_has_almost_the_name_of_a_message_is_no_orphan(driver: Driver, base: Base) -> None:
    """An owner that removes orphans keeps files whose names are not numbers of up to 20 digits
    without a leading zero, and yields none of them."""
    channel = driver.open("a")
    foreign = [channel.directory / name for name in (*ALMOST, *LONG)]
    for path in foreign:
        path.write_bytes(b"")
    orphan = put(channel.directory, a_message("a"), enqueue=False)
    let_age(orphan, *foreign)
    for _ in range(2):
        driver.reap(stale_age=0)
        expect_nothing(driver, channel, "in a channel with foreign files and an empty queue")
    gone = [path.name for path in foreign if not path.exists()]
    assert not gone, f"the owner removed files that are no message files: {gone}"


@pytest.mark.requirement("FETCH-17", "CHAN-3", role="subscriber")
def test_a_directory_under_the_name_of_a_message_is_no_orphan(driver: Driver, base: Base) -> None:
    """A directory with the name of a message file stays, and keeps no orphan from removal."""
    channel = driver.open("a")
    alone = put(channel.directory, a_message("a"), enqueue=False)
    let_age(alone)
    driver.reap(stale_age=0)
    directory = channel.directory / str(a_message("a").id)
    directory.mkdir()
    orphan = put(channel.directory, a_message("a"), enqueue=False)
    let_age(directory, orphan)
    driver.reap(stale_age=0)
    assert directory.is_dir(), "the owner removed a directory, which is no message file"
    if not alone.exists():  # an owner need not remove orphans (FETCH-16); this one does
        assert not orphan.exists(), f"the directory {directory.name} kept an orphan from removal"


@pytest.mark.requirement("FETCH-17", "CHAN-3", role="subscriber")
def test_a_directory_that_unlink_refuses_with_eperm(driver: Driver, base: Base) -> None:
    """A directory with the name of a message file is no error where unlink says EPERM of it: macOS
    and the BSDs do, Linux says EISDIR."""
    channel = driver.open("a")
    directory = channel.directory / str(a_message("a").id)
    directory.mkdir()
    let_age(directory)
    with traced(driver, fail(UNLINK, "EPERM", None)):
        driver.reap(stale_age=0)
    assert directory.is_dir(), "the owner removed a directory, which is no message file"


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_unread_messages_are_no_orphans(driver: Driver, base: Base) -> None:
    """An owner keeps stale files as long as their ids may be in the queue, or may still come."""
    channel = driver.open("a")
    expect_nothing(driver, channel, "a channel just opened")  # empty, but not after the listing
    late = a_message("a", b"linked long before it is enqueued")
    unread = [base.publish("a", b"%d" % n) for n in range(3)]
    files = [channel.directory / str(message.id) for message in unread]
    files.append(put(channel.directory, late, enqueue=False))
    let_age(*files)
    driver.reap(stale_age=0)
    gone = [path.name for path in files if not path.exists()]
    assert not gone, (
        "the queue was not empty since these files became stale, so their ids may be in it; but"
        f" the owner removed {gone}"
    )
    enqueue(channel.directory, late.id)
    for message in (*unread, late):
        expect_message(driver, channel, message, "old, but unread")


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_a_file_that_is_not_stale_is_no_orphan(driver: Driver, base: Base) -> None:
    """An owner keeps a file whose status changed recently, whatever its st_mtime is."""
    channel = driver.open("a")
    message = a_message("a", b"being published")
    file = put(channel.directory, message, enqueue=False)
    os.utime(file, (0, 0))
    expect_nothing(driver, channel, "the queue is empty")
    driver.reap()
    assert file.exists(), "a file was removed though its status changed seconds ago"
    enqueue(channel.directory, message.id)
    expect_message(driver, channel, message, "enqueued after the owner looked for orphans")


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_the_file_of_the_id_in_hand_is_no_orphan(driver: Driver, base: Base) -> None:
    """An owner keeps the file of the id in hand, which it could not open yet (FETCH-8)."""
    if not hasattr(resource, "prlimit"):
        not_run("this system cannot set the limits of another process")
    channel = driver.open("a")
    message = base.publish("a", b"in hand")
    file = channel.directory / str(message.id)
    with no_descriptor_left(driver.pid):
        found = outcome(driver, channel)
    if not file.exists():
        not_run(f"without a descriptor, the fetch yielded {found}, so no id is in hand")
    let_age(file)
    driver.reap(stale_age=0)
    assert file.exists(), "the file was removed as an orphan while its id was in hand"


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_the_queue_is_seen_empty_after_the_files_were_listed(driver: Driver, base: Base) -> None:
    """An owner keeps a stale file whose id comes between its listing and the removal."""
    channel = driver.open("a")
    orphan = put(channel.directory, a_message("a"), enqueue=False)
    let_age(orphan)
    driver.reap(stale_age=0)
    if orphan.exists():
        return  # an owner that never removes orphans (FETCH-16) removes none too soon
    message = a_message("a", b"enqueued between listing and removal")
    file = put(channel.directory, message, enqueue=False)
    let_age(file)
    with traced(driver, stop(LIST), paths=[channel.directory]) as trace:
        reaping = trace.begin(driver.reap, 0)
        trace.stopped()
        enqueue(channel.directory, message.id)
        trace.go_on()
        reaping.result()
    assert file.exists(), (
        "a publisher enqueued a message after the owner listed it as stale, and the owner removed"
        " it: the owner has to look at the queue between listing and removal"
    )
    expect_message(driver, channel, message, "enqueued after the listing")


@pytest.mark.requirement("FETCH-18", role="reaper")
def test_a_reaper_leaves_the_messages_of_a_living_channel(driver: Driver, base: Base) -> None:
    """A reaper keeps all messages of a channel that has a reader, even if its process does not
    run."""
    with base.open("a", pid=dead_pid()) as channel:
        sent = [base.publish("a", b"%d" % n) for n in range(3)]
        put(channel.directory, a_message("a", b"not enqueued yet"), enqueue=False)
        files = channel.files()
        let_age(*channel.directory.iterdir())
        driver.reap(stale_age=0)
        assert channel.files() == files, (
            f"a living channel held {files}, and {channel.files()} after a reaper was at work"
        )
        assert channel.fetch_all() == sent


@pytest.mark.requirement("FETCH-18", role="publisher")
def test_a_publisher_leaves_the_messages_of_others(driver: Driver, base: Base) -> None:
    """A publisher withdraws its own link from a channel that is full, and no other file."""
    with base.open("a") as channel:
        sent = base.publish("a", b"unread")
        put(channel.directory, a_message("a", b"not enqueued yet"), enqueue=False)
        fill(channel.directory)
        files = channel.files()
        let_age(*channel.directory.iterdir())
        driver.publish("a", b"there is no room for this")
        gone = set(files) - set(channel.files())
        assert not gone, f"a publish that found no room removed {gone} from a channel with {files}"
        assert channel.fetch_all() == [sent]
