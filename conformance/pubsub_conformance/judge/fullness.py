"""When queues may have been full. A run does not see it, so it is computed from the history."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Final

from pubsub_conformance.oracle.topics import matches

from .events import Close, Event, Full, Open, Publish, Receive

SMALLEST_QUEUE: Final = 64
"""Ids that any FIFO holds: POSIX's least PIPE_BUF is 512 octets."""


def full_spans(events: Sequence[Event], rooms: Mapping[str, int]) -> Iterator[Full]:
    """When the queues of these channels may have been full.

    `rooms` is the number of ids that each channel certainly holds. At no time during a publish can
    a queue have held more than what began to be published before its end and had not been yielded
    by its start. A publish that waits meets a full queue only if it waited: half its timeout at
    least, for clocks are rounded.
    """
    by_topic: dict[str, list[Publish]] = {}
    yielded: dict[str, list[int]] = {}
    closed: dict[str, float] = {}
    longest = 0
    for event in events:
        if isinstance(event, Publish):
            by_topic.setdefault(event.topic, []).append(event)
            longest = max(longest, _end(event) - event.start)
        elif isinstance(event, Receive):
            yielded.setdefault(event.channel, []).append(event.end)
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
        if len(fitting) > room:
            fitting.sort(key=attrgetter("start"))
            ends = sorted(yielded.get(opened.channel, []))
            yield from _spans(opened.channel, fitting, ends, room)


def _spans(
    channel: str, publishes: Sequence[Publish], ends: Sequence[int], room: int
) -> Iterator[Full]:
    """The publishes match the channel, by start; `ends` are those of what it yielded, sorted."""
    began = [publish.start for publish in publishes]
    begin, until = 0, -1  # of the span that is open; none at first
    for publish in publishes:
        start, end = publish.start, _end(publish)
        if publish.timeout and end - start < publish.timeout * 1e9 / 2:
            continue
        if bisect_right(began, end) - bisect_left(ends, start) <= room:
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
