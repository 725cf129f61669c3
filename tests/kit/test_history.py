"""The history checker, by histories made by hand and by a simulated correct system."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pubsub_conformance.judge.check import check
from pubsub_conformance.judge.events import (
    BadHistory,
    Broken,
    Close,
    Drained,
    Event,
    Full,
    Lost,
    Open,
    Publish,
    Receive,
    Removed,
    Waited,
    dumps,
    load,
    loads,
    save,
)
from pubsub_conformance.judge.verdict import Verdict
from pubsub_conformance.judge.violations import Kind, render
from pubsub_conformance.oracle.topics import matches


def published(
    n: int,
    start: int,
    end: int | None,
    count: int | None = 1,
    topic: str = "a.b",
    code: str | None = None,
    publisher: str = "p",
) -> Publish:
    return Publish(publisher, n, topic, 100 + n, 7 + n, start, end, count, code)


def received(
    n: int, start: int, end: int, channel: str = "c", topic: str = "a.b", publisher: str = "p"
) -> Receive:
    return Receive(channel, publisher, n, topic, 100 + n, 7 + n, start, end)


C = Open("c", "a.=", 0, 10)
D = Open("d", "+", 0, 10)
EMPTY = Drained("c", 90, 91)
GONE = Removed(30, 40)

GOOD: dict[str, list[Event]] = {
    "nothing": [],
    "delivered": [C, published(0, 20, 30), received(0, 40, 50), EMPTY],
    "delivered before publish returned": [C, published(0, 20, 60), received(0, 30, 40), EMPTY],
    "delivered to both": [
        C,
        D,
        published(0, 20, 30, count=2),
        received(0, 40, 50),
        received(0, 40, 50, "d"),
        EMPTY,
        Drained("d", 90, 91),
    ],
    "not matching": [C, published(0, 20, 30, count=0, topic="b.a"), EMPTY],
    "not yet open": [Open("c", "+", 25, 26), published(0, 20, 30, count=0), EMPTY],
    "just opening": [Open("c", "+", 25, 26), published(0, 20, 30), received(0, 40, 50), EMPTY],
    "open never returned": [Open("c", "+", 0, None), published(0, 20, 30, count=0), EMPTY],
    "never looked again": [C, published(0, 20, 30)],
    "looked too early": [C, Drained("c", 29, 35), published(0, 20, 30)],
    "closed unread": [C, published(0, 20, 30), Close("c", 40, 50)],
    "closing": [C, published(0, 20, 30, count=0), Close("c", 25, 35)],
    "closing, counted, unread": [C, published(0, 20, 30), Close("c", 25, 35)],
    "drained while closing": [C, published(0, 20, 30), received(0, 34, 38), Close("c", 36, 50)],
    "closed before": [C, Close("c", 11, 12), published(0, 20, 30, count=0)],
    "close never returned": [C, Close("c", 11, None), published(0, 20, 30)],
    "full": [C, Full("c", 25, 26), published(0, 20, 30, count=0), EMPTY],
    "perhaps full": [C, Full("c", 25, 26), published(0, 20, 30), received(0, 40, 50), EMPTY],
    "one of two full": [
        C,
        D,
        Full("c", 0, 99),
        published(0, 20, 30, count=1),
        received(0, 40, 50, "d"),
        EMPTY,
        Drained("d", 90, 91),
    ],
    "refused": [C, published(0, 20, 30, count=None, code="io-error"), EMPTY],
    "failed in one of two": [
        C,
        D,
        published(0, 20, 30, count=1, code="io-error"),
        received(0, 40, 50, "d"),
        EMPTY,
        Drained("d", 90, 91),
    ],
    "killed, not delivered": [C, published(0, 20, None, count=None), EMPTY],
    "killed, delivered": [C, published(0, 20, 30, count=None), received(0, 40, 50), EMPTY],
    "in order": [
        C,
        published(0, 20, 30),
        published(1, 31, 40),
        received(0, 50, 60),
        received(1, 61, 70),
        EMPTY,
    ],
    "two threads publish at a time": [
        C,
        published(0, 20, 30),
        published(1, 25, 40),
        received(1, 50, 60),
        received(0, 61, 70),
        EMPTY,
    ],
    "two threads fetch at a time": [
        C,
        published(0, 20, 30),
        published(1, 31, 40),
        received(1, 50, 60),
        received(0, 55, 70),
        EMPTY,
    ],
    "empty to one thread, in the hand of another": [
        C,
        published(0, 20, 30),
        received(0, 40, 60),
        Drained("c", 45, 50),
    ],
    "two publishers have no order": [
        C,
        published(0, 20, 30),
        published(0, 31, 40, publisher="q"),
        received(0, 50, 60, publisher="q"),
        received(0, 61, 70),
        EMPTY,
    ],
    "never looked, but nothing came afterwards": [
        C,
        published(0, 20, 30),
        published(1, 31, 40),
        received(0, 50, 60),
    ],
    "removed unread": [C, published(0, 20, 25), GONE, EMPTY],
    "found empty during the removal": [C, published(0, 20, 25), GONE, Drained("c", 28, 35)],
    "yielded after the removal": [C, published(0, 20, 25), GONE, received(0, 50, 60), EMPTY],
    "removed in another order than published": [
        C,
        published(0, 20, 25),
        published(1, 26, 29),
        GONE,
        received(1, 38, 50),
        EMPTY,
    ],
    "published during the removal": [C, GONE, published(0, 35, 60, count=0), EMPTY],
    "published during the removal, delivered": [
        C,
        GONE,
        published(0, 35, 60),
        received(0, 50, 70),
        EMPTY,
    ],
    "published after the removal": [C, GONE, published(0, 50, 60, count=0), EMPTY],
    "published to a channel of the new base": [
        C,
        GONE,
        Open("n", "+", 45, 46),
        published(0, 50, 60),
        received(0, 65, 70, "n"),
        Drained("n", 90, 91),
    ],
    "opened during the removal, in the new base": [
        Open("c", "+", 25, 35),
        GONE,
        published(0, 50, 60),
        received(0, 65, 70),
        Waited("c", 71, 80),
        EMPTY,
    ],
    "opened during the removal, in the old base": [
        Open("c", "+", 25, 35),
        GONE,
        published(0, 50, 60, count=0),
        Lost("c", 65, 80),
    ],
    "opened during the first removal, lost by the second": [
        Open("c", "+", 25, 35),
        GONE,
        Removed(50, 60),
        published(0, 65, 70, count=0),
        Lost("c", 75, 80),
    ],
    "closed before the removal": [C, Close("c", 11, 12), GONE, published(0, 50, 60, count=0)],
    "closing during the removal": [C, published(0, 20, 25), GONE, Close("c", 35, 60)],
    "reported lost": [C, GONE, Lost("c", 50, 60), Close("c", 61, 62)],
    "reported lost during the removal": [C, GONE, Lost("c", 28, 35)],
    "waited before and during the removal": [C, Waited("c", 15, 20), GONE, Waited("c", 25, 50)],
    "waited in the end": [C, published(0, 20, 30), received(0, 40, 50), Waited("c", 60, 70)],
}

BAD: dict[str, tuple[Kind, list[Event], str]] = {
    "never delivered": ("lost", [C, published(0, 20, 30), EMPTY], "c never yielded message p/0"),
    "not delivered and not counted": (
        "lost",
        [C, published(0, 20, 30, count=0), EMPTY],
        "The publish counted 0",
    ),
    "delivered to one of two": (
        "lost",
        [C, D, published(0, 20, 30, 2), received(0, 40, 50, "d"), EMPTY],
        "c never yielded",
    ),
    "drained, then closed": ("lost", [C, published(0, 20, 30), EMPTY, Close("c", 95, 96)], "never"),
    "full only before": ("lost", [C, Full("c", 15, 19), published(0, 20, 30), EMPTY], "had room"),
    "full only after": ("lost", [C, Full("c", 31, 35), published(0, 20, 30), EMPTY], "had room"),
    "full before and after": (
        "lost",
        [C, Full("c", 31, 35), Full("c", 11, 15), Full("c", 14, 16), published(0, 20, 30), EMPTY],
        "had room",
    ),
    "after it was found empty": (
        "lost",
        [C, published(0, 20, 30), Drained("c", 40, 45), received(0, 50, 60)],
        "it came only at",
    ),
    "nobody published it": ("unexpected", [C, received(0, 40, 50)], "nobody published"),
    "another number": (
        "unexpected",
        [C, published(0, 20, 30), received(0, 40, 50), received(1, 51, 60), EMPTY],
        "p/1, which nobody published",
    ),
    "topic does not match": (
        "unexpected",
        [C, published(0, 20, 30, 0, "b.a"), received(0, 40, 50, topic="b.a"), EMPTY],
        "b.a does not match the pattern a.=",
    ),
    "topic does not match, though counted": (
        "unexpected",
        [C, published(0, 20, 30, 1, "b.a"), received(0, 40, 50, topic="b.a"), EMPTY],
        "b.a does not match the pattern a.=",
    ),
    "opened afterwards": (
        "unexpected",
        [Open("c", "+", 31, 32), published(0, 20, 30), received(0, 40, 50), EMPTY],
        "after the publish had ended",
    ),
    "before it was published": (
        "unexpected",
        [C, published(0, 20, 30), received(0, 11, 12), EMPTY],
        "its publish began only at",
    ),
    "after closing": (
        "unexpected",
        [C, published(0, 20, 30), Close("c", 35, 40), received(0, 45, 50)],
        "was closed by",
    ),
    "after a publish that failed": (
        "unexpected",
        [C, published(0, 20, 30, None, code="too-large"), received(0, 40, 50), EMPTY],
        "too-large",
    ),
    "twice": (
        "duplicated",
        [C, published(0, 20, 30), received(0, 40, 50), received(0, 51, 60), EMPTY],
        "more than once",
    ),
    "twice, its publisher was killed": (
        "duplicated",
        [C, published(0, 20, None, None), received(0, 40, 50), received(0, 51, 60), EMPTY],
        "more than once",
    ),
    "other size": (
        "torn",
        [C, published(0, 20, 30), received(0, 40, 50)._replace(size=99), EMPTY],
        "99 octets",
    ),
    "other content": (
        "torn",
        [C, published(0, 20, 30), received(0, 40, 50)._replace(crc=8), EMPTY],
        "CRC-32 00000008",
    ),
    "other topic": (
        "torn",
        [C, published(0, 20, 30), received(0, 40, 50, topic="a.c"), EMPTY],
        "topic a.c",
    ),
    "unreadable": ("torn", [C, Broken("c", "invalid-message", 40, 50)], "invalid-message"),
    "overtaken": (
        "order",
        [
            C,
            published(0, 20, 30),
            published(1, 31, 40),
            received(1, 50, 60),
            received(0, 61, 70),
            EMPTY,
        ],
        "p/1 before message p/0",
    ),
    "counted what did not match": (
        "count",
        [C, published(0, 20, 30, 1, "b.a"), EMPTY],
        "reported that 1 queues took it",
    ),
    "counted too much": (
        "count",
        [C, published(0, 20, 30, 2), received(0, 40, 50), EMPTY],
        "it was 1",
    ),
    "counted too little": (
        "count",
        [C, published(0, 20, 30, 0), received(0, 40, 50), EMPTY],
        "it was 1",
    ),
    "open, unread, not counted": ("count", [C, published(0, 20, 30, 0)], "it was 1"),
    "closing, counted twice": (
        "count",
        [C, published(0, 20, 30, 2), Close("c", 25, 35)],
        "it was 0 to 1",
    ),
    "past a full queue, counted": (
        "count",
        [C, Full("c", 20, 30), published(0, 20, 30, 1), EMPTY],
        "it was 0",
    ),
    "failed, counted too much": (
        "count",
        [
            C,
            D,
            published(0, 20, 30, 2, code="io-error"),
            received(0, 40, 50),
            EMPTY,
            Drained("d", 90, 91),
        ],
        "it was 1",
    ),
}

BAD |= {
    "passed over, and never found empty": (
        "lost",
        [C, published(0, 20, 30), published(1, 31, 40), received(1, 50, 60)],
        "had yielded message p/1, published afterwards",
    ),
    "passed over, then lost with the base": (
        "lost",
        [
            C,
            published(0, 11, 12),
            published(1, 13, 14),
            received(1, 15, 16),
            GONE,
            Lost("c", 50, 60),
        ],
        "had yielded message p/1",
    ),
    "found empty before the removal": (
        "lost",
        [C, published(0, 11, 12), Drained("c", 20, 25), GONE],
        "was found empty",
    ),
    "published to a channel of the old base": (
        "unexpected",
        [C, GONE, published(0, 50, 60), received(0, 65, 70), EMPTY],
        "had gone with the base by",
    ),
    "counted in the old base": (
        "count",
        [C, GONE, published(0, 50, 60), EMPTY],
        "it was 0",
    ),
    "taken before the removal, not counted": (
        "count",
        [C, published(0, 20, 25, 0), GONE, EMPTY],
        "it was 1",
    ),
    "not delivered in the new base": (
        "lost",
        [C, GONE, Open("n", "+", 45, 46), published(0, 50, 60, 0), Drained("n", 90, 91)],
        "n never yielded",
    ),
    "lost, and nobody says so": ("channel", [C, GONE, Waited("c", 50, 60)], "had been removed by"),
    "reported lost without a cause": ("channel", [C, Lost("c", 50, 60)], "nobody had removed"),
    "reported lost too early": ("channel", [C, Lost("c", 20, 29), GONE], "nobody had removed"),
    "opened after the removal, reported lost": (
        "channel",
        [GONE, Open("c", "+", 45, 46), Lost("c", 50, 60)],
        "nobody had removed",
    ),
}

MALFORMED: dict[str, list[Event]] = {
    "ends before it begins": [published(0, 30, 20)],
    "published twice under one number": [published(0, 20, 30), published(0, 40, 50)],
    "succeeded without an end": [published(0, 20, None)],
    "opened twice": [C, C],
    "closed twice": [C, Close("c", 20, 30), Close("c", 20, 30)],
    "yielded by no channel": [published(0, 20, 30), received(0, 40, 50)],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_history_passes(name: str) -> None:
    assert check(GOOD[name]).violations == ()


@pytest.mark.parametrize("name", BAD)
def test_bad_history_breaks_one_rule(name: str) -> None:
    kind, events, words = BAD[name]
    (violation,) = check(events).violations
    assert violation.kind == kind
    assert words in violation.text
    assert [event.start for event in violation.events] == sorted(
        event.start for event in violation.events
    )


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_history_is_not_judged(name: str) -> None:
    judgement = check(MALFORMED[name])
    assert len(judgement.contradictions) == 1
    assert judgement.verdict is Verdict.UNJUDGED


def test_what_was_due_is_counted() -> None:
    both = check(GOOD["delivered to both"])
    assert (both.publishes, both.receives, both.due) == (1, 2, 2)
    assert check(GOOD["full"]).due == 0
    assert check(GOOD["killed, delivered"]).due == 0


def test_events_are_judged_in_any_order() -> None:
    for kind, events, _ in BAD.values():
        assert [v.kind for v in check(reversed(events)).violations] == [kind]


def test_violation_is_described_in_words_and_in_the_order_of_time() -> None:
    """In milliseconds since the first event of the history, which is not always one of these."""
    second = 10**9
    history: list[Event] = [
        published(0, second, second, 0, topic="z"),
        Open("c", "a.=", second + 1_000_000, second + 1_500_000),
        published(1, second + 2_000_000, second + 12_000_000)._replace(timeout=0.5),
        Drained("c", second + 20_000_000, second + 20_000_001),
    ]
    (violation,) = check(history).violations
    first, *events = str(violation).splitlines()
    assert first == (
        "lost: c never yielded message p/1. It was open with the pattern a.= from 1.500 ms and had"
        " room when the message was published to a.b between 2.000 ms and 12.000 ms, and was found"
        " empty at 20.000 ms. The publish counted 1."
    )
    assert events == [
        "    1.000 to 1.500 ms  c is opened with the pattern a.=",
        "   2.000 to 12.000 ms  p/1 is published: topic a.b, 101 octets, CRC-32 00000008,"
        " waiting up to 0.5 s: count 1",
        "  20.000 to 20.000 ms  c is found empty",
    ]


def test_only_the_first_violations_of_each_kind_are_shown() -> None:
    history: list[Event] = [C, *(published(n, 20 + n, 20 + n, 0, "b.a") for n in range(9))]
    history += [received(n, 40 + n, 40 + n, topic="b.a") for n in range(9)]
    text = render([*check(history).violations, *check(BAD["twice"][1]).violations], most=2)
    assert text.count("unexpected: c yielded message") == 2
    assert "unexpected: 7 more" in text
    assert text.count("duplicated: ") == 1


def test_publishes_are_described_with_their_outcome() -> None:
    outcomes = [
        (published(0, 20, 30, 1), "count 1"),
        (published(0, 20, 30, 1, code="io-error"), "io-error, count 1"),
        (published(0, 20, 30, None), "killed, the outcome is unknown"),
    ]
    for publish, outcome in outcomes:
        twice = [received(0, 40, 50), received(0, 60, 70)]
        (violation,) = check([C, publish, *twice]).violations
        assert str(violation).splitlines()[1].endswith(f": {outcome}")


def test_hundred_thousand_operations_take_no_hundred_thousand_squared() -> None:
    """What grows with more than the number of operations would not end within the time-out."""
    history: list[Event] = [C, D]
    for n in range(25_000):
        t = 100 + 100 * n
        history += [published(n, t, t + 9, 2), received(n, t + 10, t + 11)]
        history += [received(n, t + 10, t + 11, "d"), Drained("d", t + 12, t + 13)]
        if n % 10 == 0:
            visitor = f"v{n}"
            history += [Open(visitor, "b", t, t + 1), Close(visitor, t + 50, t + 51)]
            history.append(Full("c", t + 50, t + 51))
    judgement = check(history)
    assert judgement.violations == ()
    assert judgement.due == 50_000


def test_history_comes_back_from_its_file(tmp_path: Path) -> None:
    events: list[Event] = [event for history in GOOD.values() for event in history]
    save(tmp_path / "history.jsonl", events)
    assert load(tmp_path / "history.jsonl") == events


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        "null",
        "{",
        '{"type": "opened"}',
        dumps(C).replace("start", "begin"),
        dumps(C).replace("10", '"10"'),
        dumps(EMPTY).replace("91", "null"),
        dumps(published(0, 20, 30)).replace("20", "20.5"),
    ],
)
def test_line_that_is_no_event(line: str) -> None:
    with pytest.raises(BadHistory):
        loads(line)


# A correct system, simulated: actors that take turns as a drawn schedule says.

Actor = Generator[None, None, None]

TOPICS = ["a", "a.b", "a.b.c"]
PATTERNS = ["+", "a.+", "=.b", "a", "a.=.c"]


class System:
    """The queues of all visible channels, and the history so far."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.queues: dict[str, deque[Publish]] = {}
        self.patterns: dict[str, str] = {}
        self.history: list[Event] = []
        self.quiet = False  # all publishers have ended
        self.when_killed: dict[str, list[Event]] = {}
        self.removed: dict[str, deque[Publish]] = {}
        """The queues of channels that went with the base: their owners may still read them."""
        self.reading: set[str] = set()
        """Channels that are open: should they be killed, they took messages until then."""
        self._now = 0

    def now(self) -> int:
        self._now += 1
        return self._now

    def publisher(self, name: str, topics: Sequence[str]) -> Actor:
        for n, topic in enumerate(topics):
            message = Publish(name, n, topic, n * 10, n, self.now(), None)
            self.when_killed[name] = [message]
            yield
            count, full = 0, []
            for channel in [c for c in self.queues if matches(self.patterns[c], topic)]:
                yield
                if channel not in self.queues:
                    continue
                if len(self.queues[channel]) < self.capacity:
                    self.queues[channel].append(message)
                    count += 1
                else:
                    full.append(channel)
            yield
            end = self.now()
            self.history.append(message._replace(end=end, counted=count))
            self.history += [Full(channel, message.start, end) for channel in full]
            self.when_killed[name] = []
            yield

    def subscriber(self, name: str, pattern: str, fetches: int | None) -> Actor:
        """Opens, then fetches so many times and closes, or fetches to the end."""
        start = self.now()
        self.when_killed[name] = [Open(name, pattern, start, None), Close(name, start, None)]
        yield
        self.patterns[name] = pattern
        self.queues[name] = deque()
        yield
        end = self.now()
        self.history.append(Open(name, pattern, start, end))
        self.when_killed[name] = [Close(name, end, None)]
        self.reading.add(name)
        while fetches is None or fetches > 0:
            last = self.quiet
            start = self.now()
            yield
            queue = self.queues[name] if name in self.queues else self.removed[name]
            m = queue.popleft() if queue else None
            yield
            end = self.now()
            if m:
                yielded = Receive(name, m.publisher, m.n, m.topic, m.size, m.crc, start, end)
                self.history.append(yielded)
            else:
                self.history.append(Drained(name, start, end))
                if last:
                    yield from self.wait(name)
                    return
            if fetches is not None:
                fetches -= 1
        start = self.now()
        self.when_killed[name] = [Close(name, start, None)]
        self.reading.remove(name)
        yield
        self.queues.pop(name, None)
        yield
        self.history.append(Close(name, start, self.now()))
        self.when_killed[name] = []

    def wait(self, name: str) -> Actor:
        """It says that the channel is lost, or, where nothing comes, that the time is over."""
        start = self.now()
        yield
        lost = name in self.removed
        yield
        self.history.append((Lost if lost else Waited)(name, start, self.now()))

    def remover(self, leaves: bool) -> Actor:
        """Removes the base, channel by channel; what the queues hold goes, or is left in them."""
        start = self.now()
        yield
        while self.queues:
            name, queue = self.queues.popitem()
            self.removed[name] = queue if leaves else deque()
            yield
        self.history.append(Removed(start, self.now()))

    def kill(self, name: str, seen: bool) -> None:
        """Somebody saw the process dead, or nobody did."""
        time = self.now()
        self.queues.pop(name, None)
        end = self.now() if seen else None
        for event in self.when_killed.get(name, []):
            if isinstance(event, Close) and name in self.reading:
                self.history.append(Close(name, time, end))
            elif isinstance(event, Close | Publish):
                self.history.append(event._replace(end=end))
            else:
                self.history.append(event)


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    system = System(capacity=draw(st.sampled_from([1, 2, 100])))
    publishers: dict[str, Actor] = {
        f"p{i}": system.publisher(f"p{i}", topics)
        for i, topics in enumerate(
            draw(st.lists(st.lists(st.sampled_from(TOPICS), max_size=6), min_size=1, max_size=3))
        )
    }
    subscribers: dict[str, Actor] = {
        f"c{i}": system.subscriber(f"c{i}", pattern, fetches)
        for i, (pattern, fetches) in enumerate(
            draw(
                st.lists(
                    st.tuples(st.sampled_from(PATTERNS), st.none() | st.integers(0, 6)),
                    min_size=1,
                    max_size=4,
                )
            )
        )
    }
    removers: dict[str, Actor] = {
        f"r{i}": system.remover(leaves)
        for i, leaves in enumerate(draw(st.lists(st.booleans(), max_size=2)))
    }
    actors = publishers | subscribers | removers
    turns = st.tuples(st.sampled_from(sorted(actors)), st.integers(1, 12))
    mortals = sorted(publishers | subscribers)
    kills = st.lists(st.tuples(st.sampled_from(mortals), st.integers(0, 40)), max_size=1)
    killed = dict(draw(kills))
    for i, (name, steps) in enumerate(draw(st.lists(turns, min_size=10, max_size=40))):
        if killed.get(name, -1) == i:
            actors.pop(name, None)
            system.kill(name, seen=draw(st.booleans()))
        if name in actors:
            for _ in zip(range(steps), actors[name], strict=False):
                pass
    for name in publishers | removers:
        if name in actors:
            deque(actors[name], 0)
    system.quiet = True
    for name in subscribers:
        if name in actors:
            deque(actors[name], 0)
    draw(st.randoms(use_true_random=False)).shuffle(system.history)
    return system.history


@settings(deadline=None)
@given(histories())
def test_correct_system_passes(history: list[Event]) -> None:
    assert check(history).violations == ()


# Corruptions: each makes one change to a history, and says what it must be reported as.

T = TypeVar("T", bound=Event)


class Corruptible:
    """A history, and what the corruptions have to know about it: by brute force."""

    def __init__(self, history: list[Event]) -> None:
        self.events = history
        self.after = max((e.end or e.start for e in history), default=0) + 1

    def all(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    def opened(self, channel: str) -> Open:
        return next(e for e in self.all(Open) if e.channel == channel)

    def close(self, channel: str) -> Close | None:
        return next((e for e in self.all(Close) if e.channel == channel), None)

    def removals(self, channel: str) -> list[Removed]:
        """Those that may have taken it."""
        opened, close = self.opened(channel), self.close(channel)
        return [
            e
            for e in self.all(Removed)
            if e.end >= opened.start
            and (close is None or close.end is None or close.end >= e.start)
        ]

    def gone(self, channel: str) -> int | None:
        """When it had gone with the base for certain."""
        ready = self.opened(channel).end
        sure = [e.end for e in self.removals(channel) if ready is not None and ready < e.start]
        return min(sure, default=None)

    def publish_of(self, receive: Receive) -> Publish:
        return next(
            e for e in self.all(Publish) if (e.publisher, e.n) == (receive.publisher, receive.n)
        )

    def receives_of(self, publish: Publish) -> list[Receive]:
        return [
            e for e in self.all(Receive) if (e.publisher, e.n) == (publish.publisher, publish.n)
        ]

    def settled(self, channel: str, publish: Publish) -> bool:
        return publish.end is not None and any(
            e.channel == channel
            and e.start > publish.end
            and all(e.end < removed.start for removed in self.removals(channel))
            for e in self.all(Drained)
        )

    def certain(self, channel: str, publish: Publish) -> bool:
        opened, close = self.opened(channel), self.close(channel)
        return (
            publish.outcome == "ok"
            and publish.end is not None
            and opened.end is not None
            and opened.end < publish.start
            and (close is None or close.start > publish.end)
            and all(publish.end < removed.start for removed in self.removals(channel))
            and not any(
                e.channel == channel and e.end >= publish.start and e.start <= publish.end
                for e in self.all(Full)
            )
        )

    def due(self) -> list[Receive]:
        """What could not be missing."""
        return [
            r
            for r in self.all(Receive)
            if self.certain(r.channel, self.publish_of(r))
            and self.settled(r.channel, self.publish_of(r))
        ]

    def nothing_open(self, publish: Publish) -> bool:
        """Every channel but those that yielded the message is known not to have it."""
        yielded = {receive.channel for receive in self.receives_of(publish)}
        return all(
            self.settled(e.channel, publish)
            for e in self.all(Open)
            if matches(e.pattern, publish.topic) and e.channel not in yielded
        )

    def outermost(self, receive: Receive, pick: Callable[..., Receive]) -> bool:
        """It is the first or last of its publisher in its channel."""
        siblings = [
            e
            for e in self.all(Receive)
            if (e.channel, e.publisher) == (receive.channel, receive.publisher)
        ]
        return pick(siblings, key=lambda e: e.start) is receive

    def without(self, *gone: Event) -> list[Event]:
        return [event for event in self.events if all(event is not g for g in gone)]


def one_of(data: st.DataObject, candidates: Sequence[T]) -> T:
    assume(candidates)
    return data.draw(st.sampled_from(candidates))


def drop(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    return "lost", h.without(one_of(data, h.due()))


def drop_where_full(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    """The channel need not have got it, but was counted: then only the sum can tell."""
    receive = one_of(data, [r for r in h.due() if h.nothing_open(h.publish_of(r))])
    time = h.publish_of(receive).start
    return "count", [*h.without(receive), Full(receive.channel, time, time)]


def double(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    again = one_of(data, h.all(Receive))._replace(start=h.after, end=h.after)
    return "duplicated", [*h.events, again]


def swap(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    def swappable(a: Receive, b: Receive) -> bool:
        return (
            (a.channel, a.publisher) == (b.channel, b.publisher)
            and a.end < b.start
            and a.end >= h.publish_of(b).start
            and not any(
                e.channel == a.channel and a.start < e.start < b.start for e in h.all(Drained)
            )
            # Only neighbours: anything between them would be out of order as well.
            and not any(
                (e.channel, e.publisher) == (a.channel, a.publisher) and a.start < e.start < b.start
                for e in h.all(Receive)
            )
        )

    receives = h.all(Receive)
    pairs = [(a, b) for a in receives for b in receives if swappable(a, b)]
    assume(pairs)
    a, b = data.draw(st.sampled_from(pairs))
    swapped = [
        b._replace(start=a.start, end=a.end),
        a._replace(start=b.start, end=b.end),
    ]
    return "order", [*h.without(a, b), *swapped]


def alter(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    receive = one_of(data, h.all(Receive))
    other = data.draw(
        st.sampled_from(
            [
                receive._replace(size=receive.size + 1),
                receive._replace(crc=receive.crc ^ 1),
                receive._replace(topic="x" + receive.topic),
            ]
        )
    )
    return "torn", [*h.without(receive), other]


def late(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    receive = one_of(
        data,
        [
            r
            for r in h.all(Receive)
            if h.settled(r.channel, h.publish_of(r))
            and not h.close(r.channel)
            and h.outermost(r, max)
        ],
    )
    return "lost", [*h.without(receive), receive._replace(start=h.after, end=h.after)]


def after_close(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    receive = one_of(
        data,
        [r for r in h.all(Receive) if not h.close(r.channel) and h.outermost(r, max)],
    )
    close = Close(receive.channel, h.after, h.after)
    moved = receive._replace(start=h.after + 1, end=h.after + 1)
    return "unexpected", [*h.without(receive), close, moved]


def early(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    receive = one_of(data, [r for r in h.all(Receive) if h.outermost(r, min)])
    before = h.publish_of(receive).start - 1
    return "unexpected", [*h.without(receive), receive._replace(start=before, end=before)]


def invent(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    channel = one_of(data, h.all(Open)).channel
    return "unexpected", [*h.events, Receive(channel, "p9", 0, "a", 0, 0, h.after, h.after)]


def misroute(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    publish = one_of(data, h.all(Publish))
    stranger = Open("stranger", "x.=", 0, 0)
    return "unexpected", [*h.events, stranger, delivery(publish, "stranger", h.after)]


def latecomer(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    publish = one_of(data, [p for p in h.all(Publish) if p.end is not None])
    channel = Open("late", "+", h.after, h.after)
    return "unexpected", [*h.events, channel, delivery(publish, "late", h.after + 1)]


def beyond(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    """What is published in the new base comes to a channel of the old one."""

    def reached(publish: Publish) -> list[Open]:
        return [
            e
            for e in h.all(Open)
            if not h.close(e.channel)
            and matches(e.pattern, publish.topic)
            and (gone := h.gone(e.channel)) is not None
            and gone < publish.start
        ]

    publish = one_of(data, [p for p in h.all(Publish) if reached(p)])
    channel = one_of(data, reached(publish)).channel
    return "unexpected", [*h.events, delivery(publish, channel, h.after)]


def unnoticed(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    def due(lost: Lost) -> bool:
        gone = h.gone(lost.channel)
        return gone is not None and gone < lost.start

    lost = one_of(data, [e for e in h.all(Lost) if due(e)])
    return "channel", [*h.without(lost), Waited(*lost)]


def alarm(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    """A channel is lost, and why nobody knows."""
    opened = one_of(data, [e for e in h.all(Open) if not h.removals(e.channel)])
    return "channel", [*h.events, Lost(opened.channel, h.after, h.after)]


def delivery(p: Publish, channel: str, time: int) -> Receive:
    return Receive(channel, p.publisher, p.n, p.topic, p.size, p.crc, time, time)


def miscount(data: st.DataObject, h: Corruptible) -> tuple[Kind, list[Event]]:
    def wrong(publish: Publish) -> list[Publish]:
        if publish.counted is None:
            return []
        counts = [len(h.all(Open)) + 1]
        if h.nothing_open(publish):
            counts.append(publish.counted + 1)
        if publish.counted == len(h.receives_of(publish)) > 0:
            counts.append(publish.counted - 1)
        return [publish._replace(counted=count) for count in counts]

    publish = one_of(data, [p for p in h.all(Publish) if p.counted is not None])
    return "count", [*h.without(publish), data.draw(st.sampled_from(wrong(publish)))]


@pytest.mark.parametrize(
    "corrupt",
    [
        drop,
        drop_where_full,
        double,
        swap,
        alter,
        late,
        after_close,
        early,
        invent,
        misroute,
        latecomer,
        miscount,
        beyond,
        unnoticed,
        alarm,
    ],
)
# A history may well offer nothing to corrupt in this way.
@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data(), history=histories())
def test_corruption_is_reported(
    corrupt: Callable[[st.DataObject, Corruptible], tuple[Kind, list[Event]]],
    data: st.DataObject,
    history: list[Event],
) -> None:
    kind, corrupted = corrupt(data, Corruptible(history))
    assert [violation.kind for violation in check(corrupted).violations] == [kind]
