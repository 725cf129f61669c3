"""The checks of each cell: stories of publishers and readers, each a function of a pair."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..driver import DriverError, OpenChannel, Published
from ..implementations import FILES, INLINE, LANES, Implementation
from ..judge.check import check as check_history
from ..judge.events import Event
from ..judge.violations import render
from ..oracle import queue
from ..oracle.message import Message, a_message
from ..oracle.record import LONGEST, MARKER
from ..oracle.topics import matches
from ..stress.recorded import RecordedChannel, RecordedPublisher
from ..waiting import now, until
from .messages import SAMPLES, compare
from .parties import Finding, Pair, Party, enumerated, expect

PATTERNS: Final = ("+", "=", "=.=", "a", "a.=", "a.+", "+.c", "a.=.c", "=.b.+", "a.+.c", "A.b")
TOPICS: Final = ("a", "b", "a.b", "a-b", "A.b", "a.c", "aa.b", "a.b.c", "b.b.c", "a.b.b.c")

IDLE: Final = 0.5
"""Seconds without a message after which a reader concludes that no more come."""

TIMEOUT: Final = 10.0
"""Seconds that a publisher waits for room in a queue that is read all the time."""

PATIENCE: Final = 5.0
"""Seconds for files of the dead to become stale and be reaped. Some compare ages in whole ones."""

MOMENT: Final = 0.3
"""Seconds for a publisher to find the queue full before it is read. On most systems the first id
that is read makes room; a publisher that finds room at once does not wait."""

CHUNK: Final = 250
MOST: Final = 12_000
"""Messages for a queue that nobody reads: more than the FIFO of any system holds by default."""

SMALL_QUEUE: Final = 2  # pages
MOST_SMALL: Final = 2000
"""Messages for a queue of that size, where the system can make it so small: it is full sooner."""

Story = Callable[[Pair], None]


@dataclass(frozen=True)
class Check:
    """A story, and the roles that it needs."""

    name: str
    story: Story
    publisher: frozenset[str]
    """Roles that the publishing implementation needs."""
    reader: frozenset[str]
    """Roles that the reading implementation needs."""
    lanes: Collection[str] = LANES
    """The lanes in which there is something to check."""

    @property
    def text(self) -> str:
        """What the check tests, for the report."""
        return " ".join((self.story.__doc__ or "").split())

    def missing(self, publishing: Implementation, reading: Implementation) -> str:
        """Which needed role is not claimed; empty if all are."""
        for implementation, roles in ((publishing, self.publisher), (reading, self.reader)):
            if lacking := sorted(roles - implementation.hello.roles):
                return f"{implementation.name} does not claim {' and '.join(lacking)}"
        return ""


CHECKS: dict[str, Check] = {}


def check(
    name: str, *, publisher: str, reader: str, lanes: Collection[str] = LANES
) -> Callable[[Story], Story]:
    """Make a story a check of every cell in these lanes. The roles are separated by spaces."""

    def register(story: Story) -> Story:
        roles = frozenset(publisher.split()), frozenset(reader.split())
        CHECKS[name] = Check(name, story, *roles, lanes)
        return story

    return register


# The checks.


@check("codec", publisher="codec", reader="codec", lanes=[FILES])
def codec(pair: Pair) -> None:
    """One decodes what the other encodes: headers of every kind, contents up to 4 MiB."""
    writer, reader = pair.publisher(), pair.reader()
    for headers, content in SAMPLES:
        sent = a_message("a.b-c.D9", content, headers)
        compare(reader.decode(writer.encode(sent)), sent)


@check("messages", publisher="publisher", reader="subscriber")
def messages(pair: Pair) -> None:
    """Published messages are fetched unchanged, once and in order: the messages of codec."""
    reader, publisher = pair.reader(), pair.publisher()
    channel = reader.open("a.b-c")
    for headers, content in SAMPLES:
        count = publisher.publish("a.b-c", content, headers)
        expect(count == 1, f"the publish counted {count} queues; one was open")
    expect(reader.wait(channel, PATIENCE), f"{reader.name} waits, though its queue is not empty")
    for number, (headers, content) in enumerate(SAMPLES, start=1):
        got = reader.fetch(channel)
        if got is None:
            raise Finding(f"message {number} of {len(SAMPLES)} did not come")
        compare(got, Message(got.id, got.timestamp, "a.b-c", headers, content))
    expect(reader.fetch(channel) is None, "more messages came than were published")


@check("lanes", publisher="publisher", reader="subscriber", lanes=[INLINE])
def lanes(pair: Pair) -> None:
    """Small and large messages take turns in a channel of the inline lane. A publisher that knows
    the lane sends the small ones as records and the large ones as files, another one sends files
    alone. All are fetched once and in order."""
    reader, publisher = pair.reader(), pair.publisher()
    channel = reader.open("a")
    sizes = (1, 900, LONGEST) * 6  # the octets that are not content make the last ones too long
    contents = [bytes([number] * size) for number, size in enumerate(sizes)]
    for content in contents:
        count = publisher.publish("a", content)
        expect(count == 1, f"the publish counted {count} queues; one was open")
    files = _files(channel)
    due = sizes.count(LONGEST) if pair.has_records(channel) else len(sizes)
    sent = f"{len(sizes)} messages, {sizes.count(LONGEST)} of them large"
    expect(files == due, f"of {sent}, {files} were files; expected {due}")
    got = [message.content for message in _fetched(reader, channel)]
    expect(got == contents, f"of {sent}, {len(got)} came, or not in order")


@check("wildcards", publisher="publisher", reader="subscriber")
def wildcards(pair: Pair) -> None:
    """Each of several patterns gets the topics that it matches and no others; the counts agree."""
    reader, publisher = pair.reader(), pair.publisher()
    channels = {pattern: reader.open(pattern) for pattern in PATTERNS}
    faults = []
    for topic in TOPICS:
        count = publisher.publish(topic)
        right = sum(matches(pattern, topic) for pattern in PATTERNS)
        if count != right:
            faults.append(f"the publish to {topic} counted {count} channels; {right} match")
    for pattern, channel in channels.items():
        got = [message.topic for message in _fetched(reader, channel)]
        due = [topic for topic in TOPICS if matches(pattern, topic)]
        if got != due:
            missing, besides = Counter(due) - Counter(got), Counter(got) - Counter(due)
            wrong = [f"does not get {' '.join(missing)}"] if missing else []
            wrong += [f"gets {' '.join(besides)}"] if besides else []
            faults.append(f"{pattern} {' and '.join(wrong) or 'gets topics in another order'}")
    expect(not faults, enumerated(faults))


@check("full", publisher="publisher", reader="subscriber")
def full(pair: Pair) -> None:
    """A queue that nobody reads becomes full: it holds what was counted, and nothing else. Once it
    is read there is room again, and a publisher that waits for room gets it."""
    reader, publisher = pair.reader(), pair.publisher()
    channel = reader.open("a")
    most = MOST_SMALL if _shrink(channel.directory) else MOST
    taken = _fill(publisher, most)
    files = _files(channel)
    got = _read_all(reader, channel)
    expect(got == taken, f"{taken} messages were counted into the queue, {got} came out of it")
    expect(
        files < taken if pair.has_records(channel) else files == taken,
        f"{taken} messages were counted, but the channel had {files} files",
    )
    again = _fill(publisher, most)
    waiting = publisher.produce("a", "w", 1, [0], timeout=TIMEOUT)
    until(pair.is_staging, MOMENT)
    got = _read_all(reader, channel)
    late = waiting.finish().taken
    expect(
        taken == most or late == 1,
        f"a publish that waits {TIMEOUT:g} s for room was not taken, though the queue was read",
    )
    again += late
    got += _read_all(reader, channel)
    expect(got == again, f"later {again} messages were counted into the queue, {got} came out")


@check("closing", publisher="publisher", reader="subscriber")
def closing(pair: Pair) -> None:
    """Channels open and close while messages are published, and one stays open: it gets all of
    them, the others get what they must, and all files of closed channels are removed."""
    events: list[Event] = []
    steady, visitor, publisher = pair.reader(), pair.reader(), pair.publisher()
    publishing = RecordedPublisher(events.append, publisher.name)
    kept = RecordedChannel(events.append, steady.name, "+")
    kept.open(steady)
    for number in range(16):
        sizes = [pair.rng.randrange(3000)]
        published = publishing.publish(publisher, "a.b", 200, sizes, timeout=TIMEOUT)
        pattern, count = pair.rng.choice(("a.b", "+", "b")), pair.rng.randint(1, 20)
        passing = RecordedChannel(events.append, visitor.name, pattern)
        passing.open(visitor)
        _exhaust(passing.consume(visitor, count=count, idle=0.02))
        if number % 4:
            passing.close(visitor)  # while messages arrive
        _succeed(publisher, published)
        if number % 4 == 0:
            passing.drain(visitor)
            passing.close(visitor)
        _exhaust(kept.consume(steady, idle=0.02))
        kept.drain(steady)
    kept.close(steady)
    _judge(events)
    left = pair.base.leftovers()
    expect(not left, f"the base directory still has {enumerated(left)}")


@check("dead", publisher="publisher", reader="subscriber")
def dead(pair: Pair) -> None:
    """One of two readers is killed with unread messages: it is no longer counted and gets no more
    files, the other one gets all; a publisher that can reap removes its channel."""
    victim, survivor, publisher = pair.reader(), pair.reader(), pair.publisher()
    lost, kept = victim.open("a.b"), survivor.open("+")
    count = publisher.publish("a.b", b"before")
    expect(count == 2, f"with both alive the publish counted {count} queues")
    victim.die()
    before = set(lost.directory.glob("*"))
    count = publisher.publish("a.b", b"after")
    expect(count == 1, f"with one reader dead the publish counted {count} queues")
    more = sorted(path.name for path in set(lost.directory.glob("*")) - before)
    expect(not more, f"the dead reader's channel got {enumerated(more)}")
    got = [message.content for message in _fetched(survivor, kept)]
    expect(got == [b"before", b"after"], f"the reader that lives got {got}")
    if "reaper" in pair.publishing.hello.roles:
        publisher.reap()
        expect(not lost.directory.exists(), f"{publisher.name} did not reap the dead channel")
        expect(kept.directory.exists(), f"{publisher.name} reaped a channel that is alive")


@check("reaping", publisher="publisher", reader="subscriber reaper")
def reaping(pair: Pair) -> None:
    """A publisher is killed at work, and a reader of the same implementation: the other one removes
    all files that they left, and none of its own."""
    reader, publisher = pair.reader(), pair.publisher()
    kept = reader.open("a")
    if "subscriber" in pair.publishing.hello.roles:
        victim = pair.publisher()
        victim.open("b")
        victim.die()
    victim = pair.publisher()
    victim.begin("produce", topic="a", prefix="p", count=16, sizes=[8 * 2**20], report="totals")
    until(pair.is_staging, PATIENCE)
    victim.die()
    count = publisher.publish("a", b"after")
    expect(count == 1, f"after the deaths a publish to the one reader counted {count} queues")

    def left() -> list[str]:
        return [
            name for name in pair.base.leftovers() if kept.directory.name not in Path(name).parts
        ]

    def is_reaped() -> bool:
        reader.reap(0)
        return not left()

    expect(until(is_reaped, PATIENCE), f"{reader.name} did not reap {enumerated(left())}")
    got = [message.content for message in _fetched(reader, kept)]
    expect(got[-1:] == [b"after"], f"{reader.name} lost an unread message in reaping")


@check("stress", publisher="publisher", reader="subscriber")
def stress(pair: Pair) -> None:
    """Three publishers at once, one of them killed and replaced, and two readers, one that reads
    all the time and one that comes late, judged as in `stress`: no message is lost, doubled, torn
    or out of order, and the counts are right."""
    events: list[Event] = []

    def start(name: str) -> tuple[Party, RecordedPublisher]:
        return pair.publisher(), RecordedPublisher(events.append, name)

    publishers = [start("p0"), start("p1"), start("p2")]
    steady, late = pair.reader(), pair.reader()
    read = RecordedChannel(events.append, steady.name, "+")
    unread = RecordedChannel(events.append, late.name, "+")
    read.open(steady)
    unread.open(late)
    reading = read.consume(steady, idle=4 * IDLE)
    for number in range(6):
        bursts = []
        for driver, publisher in publishers:
            topic = pair.rng.choice(("a.b", "a.c", "b.c"))
            small, medium = pair.rng.randrange(100), pair.rng.randrange(10_000)
            sizes = [0, small, medium, pair.rng.randrange(100), 70_000]
            published = publisher.publish(driver, topic, 150, sizes, timeout=TIMEOUT)
            bursts.append((driver, publisher, published))
        if number == 1:
            until(pair.is_staging, PATIENCE)  # one of the three is at work
            driver, publisher, published = bursts.pop(0)
            driver.kill()
            with contextlib.suppress(DriverError):
                _succeed(driver, published)
            publisher.died(now())
            publishers[0] = start("p3")
        for driver, _, published in bursts:
            _succeed(driver, published)
        _exhaust(unread.consume(late, idle=0.05))
    _exhaust(reading)
    read.drain(steady)
    unread.drain(late)
    _judge(events)


# What the checks are made of.


def _fetched(reader: Party, channel: OpenChannel) -> Iterator[Message]:
    while (message := reader.fetch(channel)) is not None:
        yield message


def _files(channel: OpenChannel) -> int:
    """How many messages a channel holds as files."""
    return len({path.name for path in channel.directory.iterdir()} - {"queue", MARKER})


def _shrink(channel_dir: Path) -> bool:
    """Make a queue small. Whether the system can do it."""
    with open(queue.open_queue(channel_dir), "wb", buffering=0) as file:
        return queue.resize(file.fileno(), SMALL_QUEUE)


def _fill(publisher: Party, most: int) -> int:
    """Publish until the queue is full, or `most` were counted. How many were counted."""
    taken = 0
    while taken < most:
        more = publisher.produce("a", "f", CHUNK, [0], report="totals").finish().taken
        taken += more
        if more == 0:
            break
    return taken


def _read_all(reader: Party, channel: OpenChannel) -> int:
    return reader.consume(channel, idle=IDLE, report="totals").finish().messages


def _exhaust(events: Iterable[object]) -> None:
    """Take all events of a stream, which records them."""
    for _ in events:
        pass


def _succeed(publisher: Party, events: Iterable[Published]) -> None:
    """Take all publishes of a stream, which records them. One that failed is a Finding."""
    for event in events:
        expect(event.error is None, f"a publish of {publisher.name} failed with {event.error}")


def _judge(events: list[Event]) -> None:
    found = check_history(events)
    if found.contradictions:
        raise DriverError(f"the drivers' replies contradict themselves: {found.contradictions[0]}")
    kinds = Counter(violation.kind for violation in found.violations)
    counts = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    summary = f"of {found.due} deliveries that were due: {counts}"
    expect(not kinds, f"{summary}\n{render(found.violations, most=1)}")
    expect(found.due > 0, "no message was due anywhere")
