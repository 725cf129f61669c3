"""The groups of figures: how each is measured for one contender."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..driver import Done, Driver, Fetched, OpenChannel, Published, Rejected
from ..implementations import INLINE, Implementation, in_lane
from ..oracle.base import Base

TOPIC: Final = "bench"
BODY: Final = 100
"""Octets, where a figure does not name its own size."""

BATCH: Final = 50
"""The most messages that a queue holds while nobody reads: fewer than the 64 ids that every queue
has room for."""

BURST: Final = 2000
"""Messages of one throughput measurement."""

RATE: Final = 500.0
"""Messages a second for latency: slow enough that each one meets an idle subscriber."""

FIRST: Final = 100
MATCHING: Final = (1, 10, 100)
FOREIGN: Final = (0, 100, 1000)
SIZES: Final = (0, 1000, 100_000, 1_000_000)

IDLE: Final = 1.0
"""Seconds without a message after which the rest counts as lost."""

TIMEOUT: Final = 10.0
"""Seconds that a publisher may wait for a full queue, where it can wait."""

SETTLE_SECONDS: Final = 0.05
SETTLE_TRIES: Final = 200


class NotMeasured(Exception):
    """Why a contender could not be measured."""


class Contender(NamedTuple):
    """An implementation in one of its lanes."""

    implementation: Implementation
    lane: str

    @property
    def name(self) -> str:
        return in_lane(self.implementation.name, self.lane)

    def as_dict(self) -> dict[str, Any]:
        return {**self.implementation.as_dict(), "lane": self.lane}


class Stage:
    """One contender in one round: a publishing and a subscribing process on one base."""

    def __init__(
        self, contender: Contender, home: Path, seconds: float, drivers: contextlib.ExitStack
    ) -> None:
        """`seconds` is the time of each timed measurement; `drivers` closes both processes."""
        home.mkdir(mode=0o700)
        command = contender.implementation.command
        self.lane, self.seconds, self.base = contender.lane, seconds, Base(home)
        self.publisher: Driver = drivers.enter_context(Driver(command, home))
        self.subscriber: Driver = drivers.enter_context(Driver(command, home))
        self._opened: list[tuple[Driver, OpenChannel]] = []
        self.sent = 0
        """Messages sent for the group that is being measured."""
        self.lost = 0
        """Those of them that did not come."""

    def count(self, sent: int, got: int) -> None:
        self.sent += sent
        self.lost += max(0, sent - got)

    def open(self, reader: Driver) -> OpenChannel:
        """A channel in the contender's lane, open until the end of the group."""
        channel = reader.open(TOPIC, inline=self.lane == INLINE)
        self._opened.append((reader, channel))
        return channel

    def close_channels(self) -> None:
        while self._opened:
            reader, channel = self._opened.pop()
            reader.close_channel(channel)

    def channel(self, reader: Driver) -> OpenChannel:
        """An open channel that has received a message."""
        channel = self.open(reader)
        self.settle(reader, channel)
        return channel

    def settle(self, reader: Driver, channel: OpenChannel) -> None:
        """Publish until a message arrives: some systems lose messages until they are connected."""
        for _ in range(SETTLE_TRIES):
            self.publisher.produce(TOPIC, "settle", 1, [0], report="totals").finish()
            if _consumed(reader, channel, count=1, idle=SETTLE_SECONDS).messages:
                break
        else:
            raise NotMeasured(f"of {SETTLE_TRIES} messages, none came")
        while _consumed(reader, channel, idle=SETTLE_SECONDS).messages:
            pass

    def batch(self, channel: OpenChannel, count: int, size: int) -> tuple[list[int], list[int]]:
        """Publish and then fetch in one process. Returns the nanoseconds of each operation."""
        publishes = _spans(self.publisher.produce(TOPIC, "p", count, [size]))
        fetches = _spans(self.publisher.consume(channel, count=count, idle=IDLE))
        self.count(count, len(fetches))
        return publishes, fetches


def _spans(events: Iterable[Published | Fetched]) -> list[int]:
    spans = []
    for event in events:
        if event.error:
            raise NotMeasured(f"an operation failed with {event.error}")
        spans.append(event.end - event.start)
    return spans


def _consumed(reader: Driver, channel: OpenChannel, **limits: Any) -> Done:
    return reader.consume(channel, report="totals", **limits).finish()


def _working(consumed: Done, count: int) -> int:
    """The nanoseconds of a consume of `count` messages, without the wait for lost ones."""
    lost = consumed.messages < count
    return consumed.end - consumed.start - (int(IDLE * 1e9) if lost else 0)


@contextlib.contextmanager
def within_limits() -> Iterator[None]:
    """Leave out what a contender refuses as too large, for itself or for the machine."""
    try:
        yield
    except Rejected as error:
        if error.code != "too-large":
            raise


def _rank(values: Sequence[float], part: float) -> float:
    """The nearest-rank quantile: a value that was measured."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


# The groups of figures.


Figures = dict[str, float]

Measure = Callable[[Stage], Figures]


@dataclass(frozen=True)
class Group:
    """Figures that are measured together, in one unit."""

    name: str
    unit: str
    figures: tuple[str, ...]
    measure: Measure

    @property
    def method(self) -> str:
        """How the figures are measured, for the report."""
        return " ".join((self.measure.__doc__ or "").split())


GROUPS: dict[str, Group] = {}


def group(name: str, unit: str, *figures: str) -> Callable[[Measure], Measure]:
    """Make a function the measure of a group. Its docstring is the method in the report."""

    def register(measure: Measure) -> Measure:
        GROUPS[name] = Group(name, unit, figures, measure)
        return measure

    return register


@group("first", "messages", "lost of the first 100")
def first(stage: Stage) -> Figures:
    """A subscriber opens; at once another process publishes 100 messages. Those that do not come
    are counted."""
    channel = stage.open(stage.subscriber)
    stage.publisher.produce(TOPIC, "p", FIRST, [BODY], timeout=TIMEOUT, report="totals").finish()
    got = _consumed(stage.subscriber, channel, count=FIRST, idle=IDLE).messages
    stage.count(FIRST, got)
    return {"lost of the first 100": FIRST - got}


@group(
    "single", "µs", "publish, p50", "publish, p99", "fetch, p50", "fetch, p99", "publish+fetch, p50"
)
def single(stage: Stage) -> Figures:
    """One process publishes batches of 50 messages of 100 octets to its own channel, and then
    fetches them. A time is that of one operation (the events of produce and consume);
    publish+fetch is the sum for the n-th message of a batch. Work that a system does beside the
    call, in a thread or a broker, is not in it."""
    publishes: list[int] = []
    fetches: list[int] = []
    both: list[int] = []
    until = time.monotonic() + stage.seconds
    channel = stage.channel(stage.publisher)
    while not both or time.monotonic() < until:
        published, fetched = stage.batch(channel, BATCH, BODY)
        publishes += published
        fetches += fetched
        both += map(sum, zip(published, fetched, strict=False))
        if not both:
            raise NotMeasured("no message came")
    return {
        "publish, p50": _rank(publishes, 0.5) / 1e3,
        "publish, p99": _rank(publishes, 0.99) / 1e3,
        "fetch, p50": _rank(fetches, 0.5) / 1e3,
        "fetch, p99": _rank(fetches, 0.99) / 1e3,
        "publish+fetch, p50": _rank(both, 0.5) / 1e3,
    }


@group("alone", "messages/s", "published and fetched")
def alone(stage: Stage) -> Figures:
    """As in single, in messages a second: the messages, divided by the time of the publishes and
    that of the fetches (the totals of produce and consume). The driver's own work between two
    messages is in it."""
    fetched = nanoseconds = 0
    until = time.monotonic() + stage.seconds
    channel = stage.channel(stage.publisher)
    while not fetched or time.monotonic() < until:
        sent = stage.publisher.produce(TOPIC, "p", BATCH, [BODY], report="totals").finish()
        got = _consumed(stage.publisher, channel, count=BATCH, idle=IDLE)
        stage.count(BATCH, got.messages)
        if not got.messages:
            raise NotMeasured("no message came")
        fetched += got.messages
        nanoseconds += sent.end - sent.start + _working(got, BATCH)
    return {"published and fetched": fetched / nanoseconds * 1e9}


@group("throughput", "messages/s", "received")
def throughput(stage: Stage) -> Figures:
    """One process publishes 2000 messages of 100 octets as fast as it can, and waits for a full
    queue where it can wait, while another receives: the messages received, divided by the time
    from the publisher's start to the subscriber's end (the totals of produce and consume). The
    drivers' own work between two messages is in it."""
    received = nanoseconds = 0
    until = time.monotonic() + stage.seconds
    channel = stage.channel(stage.subscriber)
    while not received or time.monotonic() < until:
        consuming = stage.subscriber.consume(channel, count=BURST, idle=IDLE, report="totals")
        sent = stage.publisher.produce(
            TOPIC, "p", BURST, [BODY], timeout=TIMEOUT, report="totals"
        ).finish()
        got = consuming.finish()
        stage.count(BURST, got.messages)
        if not got.messages:
            raise NotMeasured("no message came")
        received += got.messages
        nanoseconds += got.start + _working(got, BURST) - sent.start
    return {"received": received / nanoseconds * 1e9}


@group("latency", "µs", "p50", "p99", "max")
def latency(stage: Stage) -> Figures:
    """One process publishes 500 messages of 100 octets a second, another waits for each: from the
    publisher's start of a message to the end of the fetch that yielded it, on the one clock of
    the machine (the events of produce and consume)."""
    count = max(BATCH, round(RATE * stage.seconds))
    channel = stage.channel(stage.subscriber)
    consuming = stage.subscriber.consume(channel, count=count, idle=IDLE)
    stream = stage.publisher.produce(TOPIC, "p", count, [BODY], rate=RATE, timeout=TIMEOUT)
    starts = {published.n: published.start for published in stream}
    spans = [
        fetched.end - starts[fetched.headers["n"]] for fetched in consuming if not fetched.error
    ]
    stage.count(count, len(spans))
    if not spans:
        raise NotMeasured("no message came")
    ranks = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: _rank(spans, part) / 1e3 for name, part in ranks.items()}


@group("sizes", "µs", *(f"{size} octets" for size in SIZES))
def sizes(stage: Stage) -> Figures:
    """Publish+fetch as in single, p50, by the size of the body, in batches of 10. Without the sizes
    that a system refuses."""
    figures = {}
    channel = stage.channel(stage.publisher)
    with within_limits():
        for size in SIZES:
            both: list[int] = []
            for _ in range(5):
                both += map(sum, zip(*stage.batch(channel, 10, size), strict=False))
            if not both:
                raise NotMeasured(f"no message of {size} octets came")
            figures[f"{size} octets"] = _rank(both, 0.5) / 1e3
    return figures


@group("matching", "µs", *(f"{count} channels" for count in MATCHING), f"each of {MATCHING[-1]}")
def matching(stage: Stage) -> Figures:
    """A publish, p50, to so many channels that match, all of another process, which does not read
    them meanwhile; and the last one by channel. Without the numbers that a system refuses."""
    figures = {}
    channels: list[OpenChannel] = []
    with within_limits():
        for count in MATCHING:
            while len(channels) < count:
                channels.append(stage.open(stage.subscriber))
            stage.settle(stage.subscriber, channels[-1])
            spans = _spans(stage.publisher.produce(TOPIC, "p", BATCH // len(MATCHING), [BODY]))
            figures[f"{count} channels"] = _rank(spans, 0.5) / 1e3
        figures[f"each of {count}"] = figures[f"{count} channels"] / count
    return figures


@group("foreign", "µs", *(f"beside {count} channels" for count in FOREIGN))
def foreign(stage: Stage) -> Figures:
    """A publish, p50, to one channel beside so many that do not match. The kit makes their
    directories, and their process lives. Only where a channel is a directory."""
    figures: Figures = {}
    made = 0
    channel = stage.channel(stage.publisher)
    for count in FOREIGN if channel.directory.is_dir() else ():
        for number in range(made, count):
            stage.base.dead_channel(f"foreign.n{number}", os.getpid())
        made = count
        publishes, _ = stage.batch(channel, BATCH, BODY)
        figures[f"beside {count} channels"] = _rank(publishes, 0.5) / 1e3
    return figures
