"""Numbers: as many channels, ids and headers as no array of a fixed size holds."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import ExitStack

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base, Channel
from pubsub_conformance.oracle.message import Scalar
from pubsub_conformance.oracle.queue import fill, resize
from pubsub_conformance.suite.numbers import ENDS, LONGEST, make_foreign, missing, room_for

from .support import (
    PATIENCE_SECONDS,
    UNDER_WAY_SECONDS,
    comes,
    ids_in,
    make_room,
    nothing_left,
    publishing,
)

pytestmark = pytest.mark.timing


def _check_count(driver: Driver, channels: list[Channel], topic: str, content: bytes) -> None:
    """A publish has to reach each of these channels once, and to count them."""
    count = driver.publish(topic, content)
    assert count == len(channels), f"{len(channels)} channels match; the count is {count}"
    found = [len(channel.fetch_all()) for channel in channels]
    assert found == [1] * len(channels), (
        f"of {len(channels)} channels that match, {found.count(0)} yield no message, and"
        f" {sum(number > 1 for number in found)} yield several"
    )


@pytest.mark.requirement("GUAR-1", "GUAR-5", role="publisher")
@pytest.mark.parametrize("length", [1, LONGEST], ids=["short names", "the longest names"])
def test_each_of_a_thousand_channels_gets_the_message(
    driver: Driver, base: Base, length: int
) -> None:
    """A publish reaches all channels that match, and counts them, whatever their number is."""
    topic = "a" * length
    channels: list[Channel] = []
    with room_for(2 * ENDS[-1]), ExitStack() as closing:
        for number in ENDS if length == 1 else (257, 1025):
            while len(channels) < number:
                channels.append(closing.enter_context(base.open(topic)))
            _check_count(driver, channels, topic, b"%d" % number)
        while len(channels) > 256:
            channels.pop().close()
        _check_count(driver, channels, topic, b"after most of them closed")


@pytest.mark.requirement("GUAR-5", "GUAR-6", "BASE-10", role="publisher")
def test_a_channel_among_thousands_of_others(driver: Driver, base: Base) -> None:
    """A publish finds the channels that match among a thousand foreign entries, hundreds of dead
    channels, and hundreds of channels of other topics."""
    base.make()
    dead = dead_pid()
    channels, others = [], []
    with room_for(600), ExitStack() as closing:
        for part in range(4):
            foreign = make_foreign(base.path, 250)
            for number in range(75):
                base.dead_channel("a" if number % 2 else "b", dead)
            others += [closing.enter_context(base.open("b")) for _ in range(65)]
            channels.append(closing.enter_context(base.open("a")))
            _check_count(driver, channels, "a", b"%d" % part)
            assert not missing(foreign, base.path), "a publish removed foreign entries"
        reached = [channel.directory.name for channel in others if ids_in(channel)]
        assert not reached, f"these channels do not match: {reached}"


@pytest.mark.requirement("GUAR-7", "PUB-10", role="publisher")
def test_hundreds_of_full_queues(driver: Driver, base: Base) -> None:
    """A publish that finds hundreds of queues full reaches the others, and leaves no link."""
    with room_for(600), ExitStack() as closing:
        full = [closing.enter_context(base.open("a")) for _ in range(257)]
        _fill(full)
        channels = [closing.enter_context(base.open("a")) for _ in range(3)]
        _check_count(driver, channels, "a", b"x")
        linked = [channel.directory.name for channel in full if channel.files()]
        assert not linked, f"links were left in {len(linked)} of {len(full)} channels that are full"


def _fill(channels: list[Channel]) -> int:
    """Fill the queues, small ones where the system can make them small. Returns the ids in one."""
    held = 0
    for channel in channels:
        resize(channel.write_end, 1)
        held = fill(channel.directory)
    return held


@pytest.mark.requirement("PUB-19", role="publisher")
def test_it_waits_for_hundreds_of_full_queues(driver: Driver, base: Base) -> None:
    """A publish that waits for hundreds of full queues reaches each one that gets room, and then
    all others."""
    with room_for(600), ExitStack() as closing:
        full = [closing.enter_context(base.open("a")) for _ in range(257)]
        held = _fill(full)
        listed = [entry.name for entry in os.scandir(base.path)]
        full.sort(key=lambda channel: listed.index(channel.directory.name))
        with publishing(driver, "a", timeout=PATIENCE_SECONDS) as count:
            wait_for([count], UNDER_WAY_SECONDS)  # until it has tried each of them
            first = [full[number] for number in (256, 255, 128, 64, 16, 0)]
            for number, channel in enumerate(first):
                make_room(channel, held)
                assert comes(channel), f"the room in a queue was not used ({number + 1})"
            for channel in full:
                if channel not in first:
                    make_room(channel, held)
            assert count.result() == len(full), f"each of {len(full)} queues got room"
        assert all(len(channel.files()) == 1 for channel in full)
    nothing_left(base, "a publish that waited for hundreds of queues")


@pytest.mark.requirement("GUAR-1", "PUB-2", role="publisher")
def test_a_queue_is_filled(driver: Driver, base: Base) -> None:
    """A publisher fills a queue to its end: what it counted is there, and nothing else."""
    with base.open("a") as channel:
        room = fill(channel.directory)
        ids_in(channel)
        done = driver.produce("a", "p", room + 100, [10], report="totals").finish()
        ids = ids_in(channel)
        assert done.taken == len(ids) == room, (
            f"the queue has room for {room} ids, {len(ids)} were in it, and {done.taken} were"
            " counted"
        )
        assert ids == sorted(set(ids)), "the ids of one process have to rise"
        assert not missing(map(str, ids), channel.directory), "an id has no file"
        assert len(os.listdir(channel.directory)) == room + 1, "a file has no id"


@pytest.mark.requirement("GUAR-3", role="publisher")
def test_headers_and_contents_of_any_number(driver: Driver, base: Base) -> None:
    """A published message is whole with any number of headers, of any length, and any content."""
    with base.open("a") as channel:
        for number in (0, *ENDS, 4095, 4096, 4097, 65535, 65536, 65537):
            text = "é" * (number // 2) + "x" * (number % 2)
            cases: list[tuple[bytes, dict[str, Scalar]]] = [
                (bytes(number), {}),
                (b"", {"value": text, "k" * number: 1}),
            ]
            if number < 5000:
                cases.append((b"x" * number, {f"k{n}": n for n in range(number)}))
            for content, headers in cases:
                assert driver.publish("a", content, headers) == 1
                message = channel.fetch()
                assert message is not None
                assert message.content == content, f"a content of {number} octets was changed"
                assert message.headers == headers, f"headers were changed: {number} octets or keys"


YEARS = (
    *(2**31 / 1000, 2**32 / 1000, 2**31, 2**32, 2**32 + 1),
    *(2**bits / unit for bits in (63, 64) for unit in (10**6, 10**9)),
)
"""Timeouts in seconds that leave 31, 32, 63 or 64 bits in some unit."""

PAUSE_SECONDS = 0.05


@pytest.mark.requirement("PUB-19", role="publisher")
def test_a_publish_that_may_take_years(driver: Driver, base: Base) -> None:
    """A publish to a full queue with a timeout of years ends when there is room, and not before:
    its timeout does not overflow."""
    with base.open("a") as channel:
        held = _fill([channel])
        for timeout in YEARS:
            with ThreadPoolExecutor(1) as worker:
                publish = worker.submit(
                    driver.request,
                    "publish",
                    within=30,
                    topic="a",
                    content="",
                    headers={},
                    timeout=timeout,
                )
                wait_for([publish], PAUSE_SECONDS)  # longer if it does not overflow
                make_room(channel, held)
                assert publish.result()["count"] == 1, (
                    f"a publish with a timeout of {timeout:g} s did not wait for a full queue"
                )
            assert len(channel.fetch_all()) == 1
            held = fill(channel.directory)
    nothing_left(base, "publishes that waited")
