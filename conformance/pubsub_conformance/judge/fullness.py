"""When queues may have been full. A run does not see it, so it is computed from the history."""

from __future__ import annotations

import functools
import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Final

from pubsub_conformance.oracle.topics import matches

from .events import Close, Event, Full, Open, Publish, Receive
from .lanes import octets

SMALLEST_QUEUE: Final = 512
"""Octets that any FIFO takes: the least PIPE_BUF of POSIX."""


def full_spans(events: Sequence[Event], rooms: Mapping[str, int]) -> Iterator[Full]:
    """When the queues of these channels may have been full.

    `rooms` is the number of octets that the queue of each channel certainly takes. At no time
    during a publish can a queue have held more than what began to be published before its end and
    had not been yielded by its start. A publish that waits meets a full queue only if it waited:
    half its timeout at least, for clocks are rounded.
    """
    by_topic: dict[str, list[Publish]] = {}
    yielded: dict[str, list[Receive]] = {}
    closed: dict[str, float] = {}
    longest = 0
    for event in events:
        if isinstance(event, Publish):
            by_topic.setdefault(event.topic, []).append(event)
            longest = max(longest, _end(event) - event.start)
        elif isinstance(event, Receive):
            yielded.setdefault(event.channel, []).append(event)
        elif isinstance(event, Close) and event.end is not None:
            closed[event.channel] = event.end
    starts: dict[str, list[int]] = {}
    for topic, publishes in by_topic.items():
        publishes.sort(key=attrgetter("start"))
        starts[topic] = [publish.start for publish in publishes]
    for opened in events:
        if not isinstance(opened, Open):
            continue
        fitting: list[Publish] = []
        for topic, publishes in by_topic.items():
            if matches(opened.pattern, topic):
                first = bisect_left(starts[topic], opened.start - longest)
                last = bisect_right(starts[topic], closed.get(opened.channel, math.inf))
                fitting += publishes[first:last]
        room = rooms.get(opened.channel, SMALLEST_QUEUE)
        takes = functools.partial(octets, marked=opened.marked)
        if sum(map(takes, fitting)) > room:
            fitting.sort(key=attrgetter("start"))
            receives = sorted(yielded.get(opened.channel, []), key=attrgetter("end"))
            yield from _spans(opened.channel, fitting, receives, room, takes)


def _spans(
    channel: str,
    publishes: Sequence[Publish],
    receives: Sequence[Receive],
    room: int,
    takes: Callable[[Publish | Receive], int],
) -> Iterator[Full]:
    """The publishes match the channel, by start; `receives` are what it yielded, by end.

    `takes` says how many octets a message takes in the queue at most.
    """
    began = [publish.start for publish in publishes]
    ends = [receive.end for receive in receives]
    put = [0, *itertools.accumulate(map(takes, publishes))]
    taken = [0, *itertools.accumulate(map(takes, receives))]
    begin, until = 0, -1  # of the span that is open; none at first
    for publish in publishes:
        start, end = publish.start, _end(publish)
        if publish.timeout and end - start < publish.timeout * 1e9 / 2:
            continue
        if put[bisect_right(began, end)] - taken[bisect_left(ends, start)] <= room:
            continue
        if start <= until:
            until = max(until, end)
            continue
        if until >= 0:
            yield Full(channel, begin, until)
        begin, until = start, end
    if until >= 0:
        yield Full(channel, begin, until)


def _end(publish: Publish) -> int:
    return publish.start if publish.end is None else publish.end
