"""Orphans: files that no id speaks for."""

from __future__ import annotations

import os
import resource

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.strace import LIST, stop, traced
from pubsub_conformance.oracle.arrange import dead_pid, let_age
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import a_message
from pubsub_conformance.oracle.queue import enqueue, fill
from pubsub_conformance.plugin import not_run

from .support import (
    _expect,
    _expect_nothing,
    no_descriptor_left,
    outcome,
)


@pytest.mark.requirement("FETCH-16", role="subscriber")
def test_orphans_are_removed_by_the_owner(driver: Driver, base: Base) -> None:
    """A killed publisher left files that no id speaks for; the channel is open all the time."""
    channel = driver.open("a")
    orphans = [put(channel.directory, a_message("a"), enqueue=False) for _ in range(3)]
    let_age(*orphans)
    driver.reap(stale_age=0)
    left = [path.name for path in orphans if path.exists()]
    assert not left, (
        "the queue is empty, these files are stale and no id speaks for them: the owner should"
        f" have removed them: {left}"
    )
    _expect(driver, channel, base.publish("a"), "after orphans were removed")


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_unread_messages_are_no_orphans(driver: Driver, base: Base) -> None:
    """A slow subscriber's messages are old, and one publisher has not enqueued its id yet."""
    channel = driver.open("a")
    _expect_nothing(driver, channel, "a channel just opened")  # seen empty, but before the listing
    late = a_message("a", b"linked long before it is enqueued")
    unread = [base.publish("a", b"%d" % n) for n in range(3)]
    files = [channel.directory / str(message.id) for message in unread]
    files.append(put(channel.directory, late, enqueue=False))
    let_age(*files)
    driver.reap(stale_age=0)
    gone = [path.name for path in files if not path.exists()]
    assert not gone, (
        "the queue was not empty since these files became stale, so whether an id speaks for them"
        f" could not be known, and yet they were removed: {gone}"
    )
    enqueue(channel.directory, late.id)
    for message in (*unread, late):
        _expect(driver, channel, message, "old, but unread")


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_a_file_that_is_not_stale_is_no_orphan(driver: Driver, base: Base) -> None:
    """Its publisher links it now and enqueues it in a moment; its st_mtime says nothing."""
    channel = driver.open("a")
    message = a_message("a", b"being published")
    file = put(channel.directory, message, enqueue=False)
    os.utime(file, (0, 0))
    _expect_nothing(driver, channel, "the queue is empty")
    driver.reap()
    assert file.exists(), "a file was removed though its status changed seconds ago"
    enqueue(channel.directory, message.id)
    _expect(driver, channel, message, "enqueued after the owner had looked for orphans")


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_the_file_of_the_id_in_hand_is_no_orphan(driver: Driver, base: Base) -> None:
    """Its id is not in the queue any more, but the owner could not open it yet (FETCH-8)."""
    if not hasattr(resource, "prlimit"):
        not_run("this system cannot set the limits of another process")
    channel = driver.open("a")
    message = base.publish("a", b"in hand")
    file = channel.directory / str(message.id)
    with no_descriptor_left(driver.pid):
        found = outcome(driver, channel)
    if not file.exists():
        not_run(f"without a descriptor it came to {found}, and no id is in hand")
    let_age(file)
    driver.reap(stale_age=0)
    assert file.exists(), "the file was removed as an orphan while its id was in hand"


@pytest.mark.requirement("FETCH-17", role="subscriber")
def test_the_queue_is_seen_empty_after_the_files_were_listed(driver: Driver, base: Base) -> None:
    """The id comes right after the listing: an owner that looked at the queue before misses it."""
    channel = driver.open("a")
    orphan = put(channel.directory, a_message("a"), enqueue=False)
    let_age(orphan)
    driver.reap(stale_age=0)
    if orphan.exists():
        return  # this owner never removes orphans (FETCH-16), so none too soon
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
        "a publisher enqueued a message after the owner had listed it as stale and before it"
        " removed what it had listed: the queue has to be looked at in between"
    )
    _expect(driver, channel, message, "counted by its publisher")


@pytest.mark.requirement("FETCH-18", role="reaper")
def test_a_reaper_leaves_the_messages_of_a_living_channel(driver: Driver, base: Base) -> None:
    """Only its owner knows which of them are orphans; its process id seems not to run, though."""
    with base.open("a", pid=dead_pid()) as channel:
        sent = [base.publish("a", b"%d" % n) for n in range(3)]
        put(channel.directory, a_message("a", b"not enqueued yet"), enqueue=False)
        files = channel.files()
        let_age(*channel.directory.iterdir())
        driver.reap(stale_age=0)
        assert channel.files() == files, (
            f"another's channel has a reader and held {files}; after a reaper: {channel.files()}"
        )
        assert channel.fetch_all() == sent


@pytest.mark.requirement("FETCH-18", role="publisher")
def test_a_publisher_leaves_the_messages_of_others(driver: Driver, base: Base) -> None:
    """It withdraws its own link from a full queue, and no other file of that channel."""
    with base.open("a") as channel:
        sent = base.publish("a", b"unread")
        put(channel.directory, a_message("a", b"not enqueued yet"), enqueue=False)
        fill(channel.directory)
        files = channel.files()
        let_age(*channel.directory.iterdir())
        driver.publish("a", b"there is no room for this")
        gone = set(files) - set(channel.files())
        assert not gone, f"a full channel held {files}; a publish that found no room took {gone}"
        assert channel.fetch_all() == [sent]
