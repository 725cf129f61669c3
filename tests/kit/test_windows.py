"""A history that is judged window by window, as a stress run does, and as a whole.

A window ends when nobody publishes and every open channel was found empty. What is judged then is
forgotten, but for the openings of channels that stay open.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pubsub_conformance.judge.check import Judgement, check
from pubsub_conformance.judge.events import Close, Drained, Event, Open, Publish, Receive
from pubsub_conformance.judge.violations import Kind
from test_history import (
    PATTERNS,
    TOPICS,
    Actor,
    Corruptible,
    System,
    after_close,
    alarm,
    alter,
    delivery,
    double,
    drop,
    drop_where_full,
    early,
    invent,
    late,
    latecomer,
    miscount,
    misroute,
    swap,
)


class Windows(NamedTuple):
    """A history in two windows."""

    first: list[Event]
    second: list[Event]

    @property
    def carried(self) -> list[Event]:
        """The openings of the channels that are open from the first window to the second."""
        closed = {event.channel for event in self.first if isinstance(event, Close)}
        return [e for e in self.first if isinstance(e, Open) and e.channel not in closed]

    def judged(self) -> tuple[Judgement, Judgement]:
        return check(self.first), check([*self.carried, *self.second])


def reads(system: System, name: str) -> Actor:
    """The owner of a channel that is open goes on to fetch until all is quiet and it is empty."""
    while True:
        last, start = system.quiet, system.now()
        yield
        queue = system.queues[name]
        m = queue.popleft() if queue else None
        yield
        end = system.now()
        if m:
            yielded = Receive(name, m.publisher, m.n, m.topic, m.size, m.crc, start, end)
            system.history.append(yielded)
        else:
            system.history.append(Drained(name, start, end))
            if last:
                return


def play(
    draw: st.DrawFn,
    system: System,
    publishers: Mapping[str, Actor],
    subscribers: Mapping[str, Actor],
) -> list[Event]:
    """The events of one window."""
    system.quiet, system.history = False, []
    actors = {**publishers, **subscribers}
    turns = st.tuples(st.sampled_from(sorted(actors)), st.integers(1, 12))
    for name, steps in draw(st.lists(turns, max_size=30)):
        for _ in zip(range(steps), actors[name], strict=False):
            pass
    for name in publishers:
        deque(actors[name], 0)
    system.quiet = True
    for name in subscribers:
        deque(actors[name], 0)
    return system.history


@st.composite
def windows(draw: st.DrawFn) -> Windows:
    system = System(capacity=draw(st.sampled_from([1, 2, 100])))
    published = st.lists(st.lists(st.sampled_from(TOPICS), max_size=5), min_size=1, max_size=2)
    opened = st.lists(
        st.tuples(st.sampled_from(PATTERNS), st.none() | st.integers(0, 4)), max_size=3
    )
    found = []
    for window in "ab":
        publishers = {
            f"p{window}{i}": system.publisher(f"p{window}{i}", topics)
            for i, topics in enumerate(draw(published))
        }
        subscribers = {name: reads(system, name) for name in system.queues}
        for i, (pattern, fetches) in enumerate(draw(opened)):
            name = f"c{window}{i}"
            subscribers[name] = system.subscriber(name, pattern, fetches)
        found.append(play(draw, system, publishers, subscribers))
    return Windows(*found)


@settings(deadline=None)
@given(windows())
def test_correct_system_passes_and_as_much_is_due(history: Windows) -> None:
    whole, parts = check([*history.first, *history.second]), history.judged()
    for judgement in (whole, *parts):
        assert judgement.contradictions == ()
        assert judgement.violations == ()
    for number in ("publishes", "receives", "due", "full"):
        assert getattr(whole, number) == sum(getattr(part, number) for part in parts)


Corrupt = Callable[[st.DataObject, Corruptible], tuple[Kind, list[Event]]]


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
        alarm,
    ],
)
@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data(), history=windows())
def test_the_same_is_found_in_a_window_as_in_the_whole(
    corrupt: Corrupt, data: st.DataObject, history: Windows
) -> None:
    carried = history.carried
    _, corrupted = corrupt(data, Corruptible([*carried, *history.second]))
    broken = Windows(history.first, [e for e in corrupted if all(e is not o for o in carried)])
    whole = check([*broken.first, *broken.second])
    assert whole.violations
    assert kinds(whole) == kinds(*broken.judged())


def kinds(*judgements: Judgement) -> Counter[Kind]:
    return Counter(found.kind for judgement in judgements for found in judgement.violations)


@pytest.mark.parametrize("again", [True, False], ids=["twice", "too late"])
@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data(), history=windows())
def test_a_message_of_an_earlier_window_is_a_violation_in_both(
    again: bool, data: st.DataObject, history: Windows
) -> None:
    """Whatever channel yields it, and whether or not it is as it was sent."""
    first, second = history
    after = max((event.end or event.start for event in [*first, *second]), default=0)
    channels = [e for e in [*history.carried, *second] if isinstance(e, Open)]
    closed = {event.channel for event in second if isinstance(event, Close)}
    assume(publishes := [event for event in first if isinstance(event, Publish)])
    assume(open_ones := [e.channel for e in channels if e.channel not in closed])
    message = data.draw(st.sampled_from(publishes))
    channel = data.draw(st.sampled_from(open_ones))
    came = delivery(message, channel, after + 1)._replace(crc=data.draw(st.integers(0, 10)))
    mine = [
        e
        for e in first
        if isinstance(e, Receive)
        and (e.channel, e.publisher, e.n) == (channel, message.publisher, message.n)
    ]
    assume(bool(mine) == again)
    broken = Windows(first, [*second, came])
    assert check([*first, *second, came]).violations
    assert any(part.violations for part in broken.judged())
