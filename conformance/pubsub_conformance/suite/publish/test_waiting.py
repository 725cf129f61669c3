"""Waiting for room in full queues (PUB-15 to PUB-20)."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from concurrent.futures import wait

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.calls import Begun, Call, Event
from pubsub_conformance.linux.strace import (
    LINK,
    SLEEP,
    UNLINK,
    WRITE,
    Trace,
    traced,
)
from pubsub_conformance.oracle.base import Base, Channel
from pubsub_conformance.oracle.queue import fill
from pubsub_conformance.plugin import not_run
from pubsub_conformance.waiting import until

from .support import (
    AT_ONCE_SECONDS,
    PATIENCE_SECONDS,
    ROOM_SECONDS,
    UNDER_WAY_SECONDS,
    comes,
    make_room,
    nothing_left,
    publishing,
    several,
)

pytestmark = pytest.mark.timing

PUBLISHES = 30
"""How many publishes are watched, unless one shows that it is right."""


@pytest.mark.requirement("PUB-18", role="publisher")
def test_nothing_is_linked_while_it_sleeps(driver: Driver, base: Base) -> None:
    """A publisher has no link in a full channel while it sleeps to wait for room."""
    tries: list[bool] = []
    with base.open("a") as full, traced(driver) as trace:
        for _ in range(PUBLISHES):
            tries += _tries(_publish_into(full, driver, trace), full)
            if not all(tries) or not tries:
                break
    assert not tries or not all(tries), (
        f"in each of {len(tries)} tries, the thread that found the queue full went to sleep before"
        " the link was withdrawn"
    )


def _publish_into(full: Channel, driver: Driver, trace: Trace) -> list[Event]:
    """Publish into a full queue, which has room once the publisher sleeps. Returns its events."""
    begin = len(trace.events())
    held = fill(full.directory)
    count = trace.begin(driver.publish, "a", b"x", timeout=PATIENCE_SECONDS)
    # Not for ever: a publisher may look for room before it makes a link.
    until(lambda: _sleeps(trace.events()[begin:], full), AT_ONCE_SECONDS)
    make_room(full, held)
    count.result()
    full.fetch_all()
    return trace.events()[begin:]


def _sleeps(events: Sequence[Event], full: Channel) -> bool:
    """Whether a thread that found the queue full has gone to sleep."""
    found = set()
    for event in events:
        if isinstance(event, Begun) and event.name in SLEEP and event.pid in found:
            return True
        if isinstance(event, Call) and _finds_full(event, full):
            found.add(event.pid)
    return False


def _tries(events: Sequence[Event], full: Channel) -> list[bool]:
    """For each write that found the queue full: whether its thread slept with the message linked.

    It may have to: the run time's locks let it wait now and then. If another thread withdraws the
    link, the publish does not wait with this one.
    """
    calls = [event for event in events if isinstance(event, Call)]
    tries = []
    for at, call in enumerate(calls):
        if _finds_full(call, full):
            then = calls[at + 1 :]
            end = next((n for n, each in enumerate(then) if _ends_try(each, full)), len(then))
            slept = any(each.pid == call.pid and _is_sleep(each) for each in then[:end])
            tries.append(slept and all(each.pid == call.pid for each in then[end : end + 1]))
    return tries


def _finds_full(call: Call, full: Channel) -> bool:
    at_queue = call.descriptor == full.directory / "queue"
    return call.name in WRITE and at_queue and call.errno == "EAGAIN"


def _ends_try(call: Call, full: Channel) -> bool:
    """Whether this call withdraws the link, or begins the next try."""
    places = [path.parent for path in [*call.paths, call.descriptor] if path]
    return call.name in (*UNLINK, *LINK, *WRITE) and full.directory in places


def _is_sleep(call: Call) -> bool:
    """Whether a thread sleeps in this call. Some only look, or wake others."""
    if call.name == "futex":
        return "FUTEX_WAIT" in call.args
    return call.name in SLEEP and not re.search(r", 0(, NULL, \d+)?$", call.args)


@pytest.mark.requirement("PUB-18", role="publisher")
def test_nothing_is_linked_while_it_waits(driver: Driver, base: Base) -> None:
    """While a publish waits for room in a full queue, the channel holds no link to the message."""
    with base.open("a") as full:
        held = fill(full.directory)
        with publishing(driver, "a", content=b"x", timeout=PATIENCE_SECONDS) as count:
            # A publish that does not wait (PUB-19) has ended by now; one that waits has tried.
            wait([count], UNDER_WAY_SECONDS)
            waits = not count.done()
            # A link may exist for the moment in which the queue is tried again.
            deadline = time.monotonic() + AT_ONCE_SECONDS
            while waits and (seen := full.files()) and time.monotonic() < deadline:
                pass
            make_room(full, held)
            count.result()
        if not waits:
            not_run("the publish does not wait for room in a full queue")
        assert seen == [], "the message was linked in the full channel during the whole wait"


@pytest.mark.requirement("PUB-19", role="publisher")
def test_it_waits_until_there_is_room(driver: Driver, base: Base) -> None:
    """A publish with a timeout waits until a full queue has room; the message arrives and is
    counted."""
    with base.open("a") as full, base.open("a") as other:
        held = fill(full.directory)
        with publishing(driver, "a", content=b"x", timeout=PATIENCE_SECONDS) as count:
            assert comes(other), "the channel that has room did not get the message"
            # A queue frees its room by the page, so it may have none after this.
            make_room(full, 1)
            make_room(full, held - 1)
            assert count.result() == 2, "both queues had room in the end"
        assert [message.content for message in full.fetch_all()] == [b"x"]
        assert [message.content for message in other.fetch_all()] == [b"x"]
        nothing_left(base, "a publish that waited")


@pytest.mark.requirement("PUB-19", role="publisher")
def test_it_waits_until_the_reader_is_gone(driver: Driver, base: Base) -> None:
    """A publish with a timeout stops waiting for a queue whose reader dies."""
    with base.open("a") as full, base.open("a") as other:
        fill(full.directory)
        with publishing(driver, "a", timeout=PATIENCE_SECONDS) as count:
            assert comes(other), "the channel that has room did not get the message"
            begin = time.monotonic()
            full.stop_reading()
            assert count.result() == 1, "one queue took the id, the other lost its reader"
            took = time.monotonic() - begin
        assert took < PATIENCE_SECONDS / 2, f"the publish waited for another {took:.1f} s"
        assert full.files() == [], f"the message is left in the dead channel:\n{base.tree()}"


@pytest.mark.requirement("PUB-19", role="publisher")
def test_it_waits_until_the_time_is_over(driver: Driver, base: Base) -> None:
    """A publish with a timeout gives a full queue up when the time is over, and does not count
    it."""
    timeout = 1.0
    with base.open("a") as full:
        fill(full.directory)
        begin = time.monotonic()
        assert driver.publish("a", timeout=timeout) == 0
        took = time.monotonic() - begin
        assert took >= timeout, f"the publish ended after {took:.3f} s of {timeout:g} s"
        assert took < timeout + AT_ONCE_SECONDS, f"a wait of {timeout:g} s took {took:.1f} s"
        nothing_left(base, "a publish that waited for nothing")


@pytest.mark.requirement("PUB-20", role="publisher")
def test_channels_with_room_do_not_wait(driver: Driver, base: Base) -> None:
    """Channels with room get a message before the publish waits for full ones, in any order."""
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
