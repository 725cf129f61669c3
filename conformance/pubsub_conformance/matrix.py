"""Every implementation publishes to every other one and to itself: a table of what came of it.

`run` judges an implementation against the kit's own other side. Here two real ones meet, in
several processes on one base directory: each check is a short story of a publisher and a reader.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import shutil
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pubsub_conformance.driver import (
    Driver,
    DriverError,
    Fetched,
    OpenChannel,
    Published,
    Rejected,
)
from pubsub_conformance.driver.produced import content_of, identity_of
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import Message, a_message
from pubsub_conformance.oracle.topics import matches
from pubsub_conformance.waiting import now, until

from . import __version__
from .implementations import Implementation, Unusable
from .judge.check import check as check_history
from .judge.events import Broken, Close, Drained, Event, Open, Publish, Receive
from .judge.expected import Expected, load
from .judge.violations import render
from .report import JUDGED, PIPED_COLUMNS, RANK, STYLE, Outcome, file_system_of, platform_on
from .requirements import SPEC_VERSION

REPORT_VERSION: Final = 1

HEADERS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"text": "plain", "empty": "", "": "no key"},
    {"letters": "äöü ß Ωж 中文 🎉", "ключ": "key", "controls": '"\\/\b\f\n\r\t\x00\x1f\x7f'},
    {"zero": 0, "least": -(2**53 - 1), "most": 2**53 - 1},
    {"half": 0.5, "tenth": 0.1, "huge": 1.7976931348623157e308, "tiny": 5e-324, "minus": -2.5},
    {"yes": True, "no": False, "nothing": None, "one": 1},
    {f"key-{i}": "x" * i for i in range(200)},
)
"""Of every kind that MSG-8 to MSG-11 allow."""

CONTENTS: Final = (b"", b"\0", bytes(range(256)), b"\n" * 4096, b"\xff" * 65537, b"PMSG" * 2**20)
"""Empty, all octets, a page, more than a pipe, many times a pipe."""

PATTERNS: Final = ("+", "=", "=.=", "a", "a.=", "a.+", "+.c", "a.=.c", "=.b.+", "a.+.c", "A.b")
TOPICS: Final = ("a", "b", "a.b", "a-b", "A.b", "a.c", "aa.b", "a.b.c", "b.b.c", "a.b.b.c")

IDLE: Final = 0.5
"""Seconds without a message after which a reader takes it that nothing more comes."""

TIMEOUT: Final = 10.0
"""Seconds that a publisher waits for a full queue which is being read all the time."""

PATIENCE: Final = 5.0
"""Seconds until what the dead left must be stale and reaped. Some compare ages in whole ones."""

CHUNK: Final = 250
MOST: Final = 12_000
"""Messages for a queue that nobody reads: more than the FIFO of any system holds by default."""

SMALL_QUEUE: Final = 2  # pages
MOST_SMALL: Final = 2000
"""Messages for a queue that was cut down to that, where the system can do it: it is full sooner."""

FAULTS_TOLD: Final = 3  # of one check


class Finding(Exception):
    """What one implementation did to the other, in words."""


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Finding(otherwise)


class Party(Driver):
    """A driver in a check; what it refuses is a finding, with its name."""

    def __init__(self, who: Implementation, home: Path) -> None:
        self.name = who.name
        super().__init__(who.command, home)

    def request(self, op: str, *, within: float | None = None, **fields: object) -> dict[str, Any]:
        try:
            return super().request(op, within=within, **fields)
        except Rejected as error:
            raise Finding(f"{self.name} answered {op} with {error}") from error

    def _part(self) -> dict[str, Any]:
        op = self._asked.op if self._asked else ""
        try:
            return super()._part()
        except Rejected as error:
            raise Finding(f"{self.name} answered {op} with {error}") from error

    def die(self) -> None:
        """Is killed, and gone from the table of processes."""
        self.kill()
        self.close()


class Pair:
    """The publishing and the reading implementation of one check, and their base directory."""

    def __init__(
        self,
        publishing: Implementation,
        reading: Implementation,
        home: Path,
        rng: random.Random,
        closing: contextlib.ExitStack,
    ) -> None:
        self.publishing, self.reading, self.rng = publishing, reading, rng
        self.base = Base(home)
        self.started: list[Party] = []
        self._closing = closing

    def publisher(self) -> Party:
        return self._start(self.publishing)

    def reader(self) -> Party:
        return self._start(self.reading)

    def _start(self, who: Implementation) -> Party:
        party = Party(who, self.base.path)
        self._closing.push(party)
        self.started.append(party)
        return party


@dataclass(frozen=True)
class Check:
    name: str
    story: Callable[[Pair], None]
    publisher: frozenset[str]
    """Roles that the publishing side needs."""
    reader: frozenset[str]

    @property
    def text(self) -> str:
        return " ".join((self.story.__doc__ or "").split())

    def missing(self, publishing: Implementation, reading: Implementation) -> str:
        """The role that is not claimed; empty if all are."""
        for who, roles in ((publishing, self.publisher), (reading, self.reader)):
            if lacking := sorted(roles - who.hello.roles):
                return f"{who.name} does not claim {' and '.join(lacking)}"
        return ""


CHECKS: dict[str, Check] = {}

Story = Callable[[Pair], None]


def check(name: str, *, publisher: str, reader: str) -> Callable[[Story], Story]:
    """Makes a story a check of every cell; roles separated by spaces."""

    def register(story: Story) -> Story:
        roles = frozenset(publisher.split()), frozenset(reader.split())
        CHECKS[name] = Check(name, story, *roles)
        return story

    return register


# The checks.


@check("codec", publisher="codec", reader="codec")
def codec(pair: Pair) -> None:
    """What the one encodes the other decodes: headers of every kind, contents up to 4 MiB."""
    writer, reader = pair.publisher(), pair.reader()
    for headers, content in _messages():
        sent = a_message("a.b-c.D9", content, headers)
        _compare(reader.decode(writer.encode(sent)), sent)


@check("messages", publisher="publisher", reader="subscriber")
def messages(pair: Pair) -> None:
    """What is published is fetched as it was, once and in order: headers and contents as above."""
    reader, publisher = pair.reader(), pair.publisher()
    channel = reader.open("a.b-c")
    for headers, content in _messages():
        count = publisher.publish("a.b-c", content, headers)
        expect(count == 1, f"the publish counted {count} queues; one was open")
    expect(reader.wait(channel, PATIENCE), f"{reader.name} waits, though its queue is not empty")
    for number, (headers, content) in enumerate(_messages(), start=1):
        got = reader.fetch(channel)
        if got is None:
            raise Finding(f"message {number} of {len(_messages())} did not come")
        _compare(got, Message(got.id, got.timestamp, "a.b-c", headers, content))
    expect(reader.fetch(channel) is None, "more messages came than were published")


@check("wildcards", publisher="publisher", reader="subscriber")
def wildcards(pair: Pair) -> None:
    """Each of several patterns gets the topics that it matches and no others, and the counts say
    so."""
    reader, publisher = pair.reader(), pair.publisher()
    channels = {pattern: reader.open(pattern) for pattern in PATTERNS}
    faults = []
    for topic in TOPICS:
        count = publisher.publish(topic)
        right = sum(matches(pattern, topic) for pattern in PATTERNS)
        if count != right:
            faults.append(f"the publish to {topic} counted {count} channels; {right} match")
    for pattern, channel in channels.items():
        got = list(_fetched(reader, channel))
        right_ones = [topic for topic in TOPICS if matches(pattern, topic)]
        if got != right_ones:
            missing = Counter(right_ones) - Counter(got)
            besides = Counter(got) - Counter(right_ones)
            wrong = [f"does not get {' '.join(missing)}"] if missing else []
            wrong += [f"gets {' '.join(besides)}"] if besides else []
            faults.append(f"{pattern} {' and '.join(wrong) or 'gets topics in another order'}")
    expect(not faults, _told(faults))


@check("full", publisher="publisher", reader="subscriber")
def full(pair: Pair) -> None:
    """A queue that nobody reads gets full: what was counted is there, and nothing else; then there
    is room again, and who waits for room gets it."""
    reader, publisher = pair.reader(), pair.publisher()
    channel = reader.open("a")
    most = MOST_SMALL if _cut(channel.directory) else MOST
    taken = _fill(publisher, most)
    files = len(list(channel.directory.iterdir())) - 1  # the queue
    got = _consumed(reader, channel)
    expect(got == taken, f"{taken} messages were counted into the queue, {got} came out of it")
    expect(files == taken, f"{taken} messages were counted, but {files} files stood in the channel")
    again = _fill(publisher, most)
    waiting = publisher.produce("a", "w", 1, [0], timeout=TIMEOUT)
    got = _consumed(reader, channel)
    late = waiting.finish().taken
    expect(
        taken == most or late == 1,
        f"a publish that waits {TIMEOUT:g} s for room was not taken, though the queue was read",
    )
    again += late
    got += _consumed(reader, channel)
    expect(got == again, f"later {again} messages were counted into the queue, {got} came out")


@check("closing", publisher="publisher", reader="subscriber")
def closing(pair: Pair) -> None:
    """Channels open and close while messages are published, and one stays: it gets them all, the
    others what they must, and nothing is left of them."""
    log, rng = _Log(), pair.rng
    steady, visitor, publisher = pair.reader(), pair.reader(), pair.publisher()
    channel = log.open(steady, "+")
    for number in range(16):
        prefix, sizes = f"p{number}", [rng.randrange(3000)]
        stream = publisher.produce("a.b", prefix, 200, sizes, timeout=TIMEOUT)
        passing = log.open(visitor, rng.choice(("a.b", "+", "b")))
        few = visitor.consume(passing, count=rng.randint(1, 20), idle=0.02)
        log.consume(visitor, passing, few)
        if number % 4:
            log.close(visitor, passing)  # as messages come
        log.publish(publisher, "a.b", prefix, sizes, stream)
        if number % 4 == 0:
            log.drain(visitor, passing)
            log.close(visitor, passing)
        log.consume(steady, channel, steady.consume(channel, idle=0.02))
        log.drain(steady, channel)
    log.close(steady, channel)
    log.judge()
    left = pair.base.leftovers()
    expect(not left, f"in the base directory there are left {_told(left)}")


@check("dead", publisher="publisher", reader="subscriber")
def dead(pair: Pair) -> None:
    """One of two readers is killed, messages unread: it is not counted any more and gets no more
    files, the other one gets all; a publisher that can reap removes its channel."""
    victim, survivor, publisher = pair.reader(), pair.reader(), pair.publisher()
    lost, kept = victim.open("a.b"), survivor.open("+")
    count = publisher.publish("a.b", b"before")
    expect(count == 2, f"with both alive the publish counted {count} queues")
    victim.die()
    before = set(_names(lost.directory))
    count = publisher.publish("a.b", b"after")
    expect(count == 1, f"with one reader dead the publish counted {count} queues")
    more = sorted(set(_names(lost.directory)) - before)
    expect(not more, f"in the dead reader's channel there is {_told(more)}")
    got = [message.content for message in _fetches(survivor, kept)]
    expect(got == [b"before", b"after"], f"the reader that lives got {got}")
    if "reaper" in pair.publishing.hello.roles:
        publisher.reap()
        expect(not lost.directory.exists(), f"{publisher.name} did not reap the dead channel")
        expect(kept.directory.exists(), f"{publisher.name} reaped a channel that is alive")


@check("reaping", publisher="publisher", reader="subscriber reaper")
def reaping(pair: Pair) -> None:
    """A publisher is killed in its work, and a reader of the same implementation: the other one
    removes all that they left, and nothing of its own."""
    reader, publisher = pair.reader(), pair.publisher()
    kept = reader.open("a")
    if "subscriber" in pair.publishing.hello.roles:
        victim = pair.publisher()
        victim.open("b")
        victim.die()
    victim = pair.publisher()
    victim.begin("produce", topic="a", prefix="p", count=16, sizes=[8 * 2**20], report="totals")
    until(lambda: bool(_names(pair.base.tmp)), PATIENCE)  # it is staging; or has been
    victim.die()
    count = publisher.publish("a", b"after")
    expect(count == 1, f"after the deaths a publish to the one reader counted {count} queues")

    def left() -> list[str]:
        channels = [name for name in _names(pair.base.path) if name != "tmp"]
        staged = [f"tmp/{name}" for name in _names(pair.base.tmp)]
        return [name for name in channels + staged if name != kept.directory.name]

    def reaped() -> bool:
        reader.reap(0)
        return not left()

    expect(until(reaped, PATIENCE), f"{reader.name} did not reap {_told(left())}")
    got = [message.content for message in _fetches(reader, kept)]
    expect(got[-1:] == [b"after"], f"{reader.name} lost an unread message in reaping")


@check("stress", publisher="publisher", reader="subscriber")
def stress(pair: Pair) -> None:
    """Three publishers at once, one of them killed and replaced, and two readers, one that is
    always there and one that comes late, judged by the history checker: nothing lost, doubled,
    torn or out of order, and the counts right."""
    log, rng = _Log(), pair.rng
    publishers = [pair.publisher() for _ in range(3)]
    steady, late = pair.reader(), pair.reader()
    read, unread = log.open(steady, "+"), log.open(late, "+")
    reading = steady.consume(read, idle=4 * IDLE)
    for number in range(6):
        since = now()
        bursts = []
        for place, publisher in enumerate(publishers):
            prefix, topic = f"p{number}-{place}", rng.choice(("a.b", "a.c", "b.c"))
            sizes = [0, rng.randrange(100), rng.randrange(10_000), rng.randrange(100), 70_000]
            stream = publisher.produce(topic, prefix, 150, sizes, timeout=TIMEOUT)
            bursts.append((publisher, topic, prefix, sizes, stream))
        killed = publishers[0] if number == 1 else None
        if killed:
            until(lambda: bool(_names(pair.base.tmp)), PATIENCE)  # somebody is at work, or has been
            killed.kill()
            publishers[0] = pair.publisher()
        for publisher, topic, prefix, sizes, stream in bursts:
            log.publish(
                publisher, topic, prefix, sizes, stream, since if publisher is killed else None
            )
        log.consume(late, unread, late.consume(unread, idle=0.05))
    log.consume(steady, read, reading)
    log.drain(steady, read)
    log.drain(late, unread)
    log.judge()


# What the checks are made of.


def _messages() -> list[tuple[dict[str, Any], bytes]]:
    return [*((headers, b"content") for headers in HEADERS), *(({}, data) for data in CONTENTS)]


def _compare(got: Message, sent: Message) -> None:
    if got == sent:
        return
    faults = []
    for field in ("id", "timestamp", "topic"):
        was, came = getattr(sent, field), getattr(got, field)
        if was != came:
            faults.append(f"the {field} {was} came as {came}")
    if got.content != sent.content:
        was, came = zlib.crc32(sent.content), zlib.crc32(got.content)
        sizes = f"{len(sent.content)} octets came as {len(got.content)}"
        faults.append(f"a content of {sizes} (CRC-32 {was:08x}, {came:08x})")
    for key in [*sent.headers, *(key for key in got.headers if key not in sent.headers)]:
        both = [
            repr(headers[key]) if key in headers else "nothing"
            for headers in (sent.headers, got.headers)
        ]
        if both[0] != both[1]:
            faults.append(f"the header {key!r}: {both[0][:60]} came as {both[1][:60]}")
    raise Finding(_told(faults))


def _told(faults: Iterable[str]) -> str:
    told = list(faults)
    more = len(told) - FAULTS_TOLD
    return "; ".join([*told[:FAULTS_TOLD], *([f"and {more} more"] if more > 0 else [])])


def _names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory)) if directory.is_dir() else []


def _fetches(reader: Party, channel: OpenChannel) -> Iterator[Message]:
    while (message := reader.fetch(channel)) is not None:
        yield message


def _fetched(reader: Party, channel: OpenChannel) -> Iterator[str]:
    return (message.topic for message in _fetches(reader, channel))


def _cut(channel_dir: Path) -> bool:
    """Makes a queue small, where the system can."""
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return False
    queue = os.open(channel_dir / "queue", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        fcntl.fcntl(queue, fcntl.F_SETPIPE_SZ, SMALL_QUEUE * os.sysconf("SC_PAGESIZE"))
    except OSError:
        return False
    finally:
        os.close(queue)
    return True


def _fill(publisher: Party, most: int) -> int:
    """Publishes until the queue is full, or `most` were counted; how many were counted."""
    taken = 0
    while taken < most:
        more = publisher.produce("a", "f", CHUNK, [0], report="totals").finish().taken
        taken += more
        if more == 0:
            break
    return taken


def _consumed(reader: Party, channel: OpenChannel) -> int:
    return reader.consume(channel, idle=IDLE, report="totals").finish().messages


class _Log:
    """What happened in a check, for the history checker."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def open(self, reader: Party, pattern: str) -> OpenChannel:
        start = now()
        channel = reader.open(pattern)
        self.events.append(Open(_shown(reader, channel), pattern, start, now()))
        return channel

    def close(self, reader: Party, channel: OpenChannel) -> None:
        start = now()
        reader.close_channel(channel)
        self.events.append(Close(_shown(reader, channel), start, now()))

    def publish(
        self,
        publisher: Party,
        topic: str,
        prefix: str,
        sizes: Sequence[int],
        stream: Iterable[Published],
        since: int | None = None,
    ) -> None:
        """Takes the lines of a `produce`; of a killed one, which began after `since`, those that
        there were."""
        n, last = 0, since
        try:
            for event in stream:
                if event.error:
                    raise Finding(f"a publish of {publisher.name} met with {event.error}")
                self.events.append(
                    _publish(prefix, n, topic, sizes, event.start, event.end, event.taken)
                )
                n, last = event.n + 1, event.end
        except DriverError:
            if since is None or last is None:
                raise
            # It died in this one, or just before or after.
            self.events.append(_publish(prefix, n, topic, sizes, last, now(), None))

    def consume(self, reader: Party, channel: OpenChannel, stream: Iterable[Fetched]) -> None:
        name = _shown(reader, channel)
        for start, end, topic, headers, size, crc, error in stream:
            if error:
                self.events.append(Broken(name, error.code, start, end))
            else:
                publisher, n = identity_of(headers)
                self.events.append(Receive(name, publisher, n, topic, size, crc, start, end))

    def drain(self, reader: Party, channel: OpenChannel) -> None:
        """Fetches until the channel is found empty: what is missing then is lost."""
        while True:
            start = now()
            message = reader.fetch(channel)
            if message is None:
                self.events.append(Drained(_shown(reader, channel), start, now()))
                return
            publisher, n = identity_of(message.headers)
            size, crc = len(message.content), zlib.crc32(message.content)
            name = _shown(reader, channel)
            self.events.append(Receive(name, publisher, n, message.topic, size, crc, start, now()))

    def judge(self) -> None:
        verdict = check_history(self.events)
        for text in verdict.contradictions[:1]:
            raise DriverError(f"what the drivers reported contradicts itself: {text}")
        found = Counter(violation.kind for violation in verdict.violations)
        told = ", ".join(f"{number} {kind}" for kind, number in found.items())
        summary = f"of {verdict.due} deliveries that were due: {told}"
        expect(not found, f"{summary}\n{render(verdict.violations, most=1)}")
        expect(verdict.due > 0, "no message was due anywhere")


def _shown(reader: Party, channel: OpenChannel) -> str:
    return f"{reader.name}:{channel.directory.name}"


def _publish(
    prefix: str,
    n: int,
    topic: str,
    sizes: Sequence[int],
    start: int,
    end: int,
    count: int | None,
) -> Publish:
    data = content_of(prefix, n, sizes)
    crc = zlib.crc32(data)
    return Publish(prefix, n, topic, len(data), crc, start, end, count, timeout=TIMEOUT)


# The run.


@dataclass(frozen=True)
class Result:
    """What a check came to in one cell."""

    check: str
    outcome: Outcome
    seconds: float = 0.0
    reason: str = ""
    expected: str = ""
    """The reason why a failure was expected."""
    done: str = ""
    """What was said, where it did not pass."""


@dataclass
class Cell:
    publisher: str
    reader: str
    results: list[Result]

    @property
    def outcome(self) -> Outcome:
        return max((result.outcome for result in self.results), key=RANK.__getitem__)

    @property
    def to_act_on(self) -> list[Result]:
        """What is not as it should be, or as it was expected."""
        return [result for result in self.results if RANK[result.outcome] > RANK[Outcome.PASS]]


@dataclass
class Run:
    implementations: list[Implementation]
    seed: int
    home: str | None
    file_system: str
    cells: list[Cell]
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 all pass or fail as expected, 1 not, 2 could not judge."""
        outcomes = {result.outcome for cell in self.cells for result in cell.results}
        if self.interrupted:
            return 2
        if outcomes & {Outcome.FAIL, Outcome.UNEXPECTED_PASS}:
            return 1
        unjudged = {Outcome.DRIVER_ERROR, Outcome.NOT_RUN}
        return 2 if outcomes & unjudged or not outcomes & JUDGED else 0


def run(
    commands: Mapping[str, Sequence[str]],
    *,
    expected: Path | None = None,
    home: str | None = None,
    seed: int | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Run:
    """Has every implementation publish to every other.

    Raises Unusable, ExpectedError, OSError (`home`).
    """
    known = {"publisher": commands, "reader": commands, "check": CHECKS}
    reasons = load(expected, known) if expected else {}
    if seed is None:
        seed = random.SystemRandom().getrandbits(32)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pubsub-", dir=home) as directory:
        system = file_system_of(Path(directory))
        met = [
            Implementation.greet(name, command, Path(directory, "base"))
            for name, command in commands.items()
        ]
        for who in met:
            if who.hello.spec != SPEC_VERSION:
                raise Unusable(
                    f"{who.name} implements specification {who.hello.spec},"
                    f" this kit judges by {SPEC_VERSION}"
                )
        this = Run(met, seed, home, system, [])
        try:
            for publishing in met:
                for reading in met:
                    cell = Cell(publishing.name, reading.name, [])
                    this.cells.append(cell)
                    for one in CHECKS.values():
                        tell(f"{publishing.name} to {reading.name}: {one.name}")
                        result = _judge(one, publishing, reading, Path(directory), seed)
                        place = publishing.name, reading.name, one.name
                        cell.results.append(_against(result, reasons.get(place)))
        except KeyboardInterrupt:
            this.interrupted = True
            this.cells = [cell for cell in this.cells if cell.results]
        this.seconds = time.monotonic() - began
        return this


def _judge(
    one: Check, publishing: Implementation, reading: Implementation, directory: Path, seed: int
) -> Result:
    if missing := one.missing(publishing, reading):
        return Result(one.name, Outcome.NOT_APPLICABLE, reason=missing)
    began = time.monotonic()
    parent = Path(tempfile.mkdtemp(dir=directory))
    started: list[Party] = []
    outcome, reason = Outcome.PASS, ""
    try:
        with contextlib.ExitStack() as closing:
            # The same work in every cell.
            rng = random.Random(f"{seed} {one.name}")
            pair = Pair(publishing, reading, parent / "base", rng, closing)
            started = pair.started
            one.story(pair)
    except Finding as error:
        outcome, reason = Outcome.FAIL, str(error)
    except DriverError as error:
        outcome, reason = Outcome.DRIVER_ERROR, str(error)
    except OSError as error:
        if error.errno != errno.ENOENT:
            outcome, reason = Outcome.NOT_RUN, f"the machine refused: {error}"
        else:  # what should be there has gone
            outcome, reason = Outcome.FAIL, str(error)
    finally:
        shutil.rmtree(parent, ignore_errors=True)
    done = ""
    if outcome is not Outcome.PASS:
        done = "\n".join(f"{party.name}, process {party.pid}:\n{_said(party)}" for party in started)
    return Result(one.name, outcome, time.monotonic() - began, reason, done=done)


def _said(party: Party) -> str:
    """The last of what was said, for the JSON report."""
    errors = f"\nits stderr:\n{party.stderr[-2000:]}" if party.stderr.strip() else ""
    return party.transcript[-4000:] + errors


def _against(result: Result, expected: Expected | None) -> Result:
    if expected is None or (expected.sometimes and result.outcome is Outcome.PASS):
        return result
    outcome = {
        Outcome.FAIL: Outcome.EXPECTED_FAILURE,
        Outcome.PASS: Outcome.UNEXPECTED_PASS,
        Outcome.NOT_APPLICABLE: Outcome.UNEXPECTED_PASS,  # nothing is there to be expected
    }.get(result.outcome, result.outcome)
    return replace(result, outcome=outcome, expected=expected.reason)


# The reports.


def show(run: Run, file: Any = None) -> None:
    """The table, and what failed in words."""
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = max(PIPED_COLUMNS, 16 + 22 * len(run.implementations))
    for who in run.implementations:
        console.print(str(who), soft_wrap=True)
    table = Table("publishes \\ reads", box=box.SIMPLE_HEAD, show_lines=True)
    for who in run.implementations:
        table.add_column(who.name, overflow="fold")
    for publishing in run.implementations:
        row = [cell for cell in run.cells if cell.publisher == publishing.name]
        table.add_row(publishing.name, *map(_cell, row))
    console.print(table)
    for cell in run.cells:
        for result in cell.to_act_on:
            console.print(_line(cell, result), soft_wrap=True)
    counted = Counter(result.outcome for cell in run.cells for result in cell.results)
    told = ", ".join(f"{counted[o]} {o.value}" for o in reversed(Outcome) if counted[o])
    console.print(f"\n{told or 'no checks'}; {run.seconds:.0f} s, seed {run.seed}", soft_wrap=True)
    console.print(Text(*_VERDICT[2 if run.interrupted else run.exit_code]), soft_wrap=True)


_VERDICT = {
    0: ("all cells pass, or fail as expected", "bold green"),
    1: ("not all cells pass", "bold red"),
    2: ("could not be judged", "bold magenta"),
}


def _cell(cell: Cell) -> Text:
    """How a cell looks: what does not pass, by name."""
    if not cell.to_act_on:
        named = "pass" if cell.outcome is Outcome.PASS else cell.outcome.value
        return Text(named, STYLE.get(cell.outcome, "dim"))
    text = Text()
    by_outcome: dict[Outcome, list[str]] = {}
    for result in cell.to_act_on:
        by_outcome.setdefault(result.outcome, []).append(result.check)
    for outcome, checks in sorted(by_outcome.items(), key=lambda item: -RANK[item[0]]):
        text.append("\n" if text else "")
        text.append(f"{_SHORT.get(outcome, outcome.value)}: ", STYLE.get(outcome, ""))
        text.append(", ".join(checks))
    return text


_SHORT = {Outcome.EXPECTED_FAILURE: "expected", Outcome.FAIL: "FAIL"}


def _line(cell: Cell, result: Result) -> Text:
    text = Text(f"\n{cell.publisher} to {cell.reader}, {result.check}: ")
    text.append(result.outcome.value, STYLE.get(result.outcome, ""))
    if result.outcome is Outcome.UNEXPECTED_PASS:
        text.append(f"\n  listed as an expected failure ({result.expected}); strike it out")
    elif result.outcome is Outcome.EXPECTED_FAILURE:
        text.append(f"\n  {result.expected}")
    if result.reason:
        lines = result.reason.splitlines()
        if result.outcome is Outcome.EXPECTED_FAILURE:
            del lines[1:]
        text.append("".join(f"\n  {line}" for line in lines))
    return text


def as_dict(run: Run) -> dict[str, Any]:
    return {
        "report": REPORT_VERSION,
        "kit": __version__,
        "spec": SPEC_VERSION,
        "implementations": {who.name: who.as_dict() for who in run.implementations},
        "checks": {one.name: one.text for one in CHECKS.values()},
        "platform": platform_on(run.file_system),
        "seed": run.seed,
        "seconds": round(run.seconds, 3),
        "exit": run.exit_code,
        "interrupted": run.interrupted,
        "cells": [
            {
                "publisher": cell.publisher,
                "reader": cell.reader,
                "outcome": cell.outcome.value,
                "checks": [_result_as_dict(result) for result in cell.results],
            }
            for cell in run.cells
        ],
    }


def _result_as_dict(result: Result) -> dict[str, Any]:
    entry = {
        "check": result.check,
        "outcome": result.outcome.value,
        "seconds": round(result.seconds, 3),
    }
    told = {"reason": result.reason, "expected": result.expected, "done": result.done}
    return entry | {name: text for name, text in told.items() if text}
