"""Histories: what happened in a run, and whether a correct system could have done it.

A history is a set of events, in any order. Every event is an interval, in nanoseconds of
the one monotonic clock that all processes of a machine share, in which something took
effect at a moment unknown. Two events whose intervals overlap may have happened either way
round, and `check` blames nobody for what depends on it: one event is *before* another only
if it ended before the other began.

On disk a history is JSON Lines: one event a line, its type in the field "type".
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from operator import attrgetter
from sys import intern
from typing import Final, Literal, NamedTuple, get_args, get_type_hints

from .layout import matches


class Open(NamedTuple):
    """A channel was opened; `end` is None if its process died before it could say so."""

    channel: str
    pattern: str
    start: int
    end: int | None


class Close(NamedTuple):
    """A channel was closed, or its process died: it took messages until `start` at least,
    and none after `end` (None: nobody saw the end)."""

    channel: str
    start: int
    end: int | None


class Publish(NamedTuple):
    """Message `n` of `publisher`, and what its publish said.

    It succeeded (`counted`: how many queues took it), failed (`code`; and `counted` if
    some queues took it all the same), or is unknown, because its process died (neither;
    `end` is then the time when it was known to be dead, or None).
    """

    publisher: str
    n: int
    topic: str
    size: int
    crc: int
    start: int
    end: int | None
    counted: int | None = None
    code: str | None = None
    timeout: float | None = None
    """Seconds that it would have waited for full queues."""

    @property
    def outcome(self) -> Literal["ok", "fail", "unknown"]:
        if self.code is not None:
            return "fail"
        return "unknown" if self.counted is None else "ok"


class Receive(NamedTuple):
    """A channel yielded a message; publisher and n are what its headers say."""

    channel: str
    publisher: str
    n: int
    topic: str
    size: int
    crc: int
    start: int
    end: int


class Drained(NamedTuple):
    """A fetch found the channel empty."""

    channel: str
    start: int
    end: int


class Broken(NamedTuple):
    """A fetch found octets that are no message, or no id: the error code says which."""

    channel: str
    code: str
    start: int
    end: int


class Full(NamedTuple):
    """At some time between `start` and `end` the channel's queue may have been full."""

    channel: str
    start: int
    end: int


Event = Open | Close | Publish | Receive | Drained | Broken | Full

_TYPES: Final[dict[str, Callable[..., Event]]] = {
    "open": Open,
    "close": Close,
    "publish": Publish,
    "receive": Receive,
    "drained": Drained,
    "broken": Broken,
    "full": Full,
}


# What may stand in each field of each type of event.
_FIELDS: Final[dict[str, dict[str, tuple[type, ...]]]] = {
    name: {field: get_args(hint) or (hint,) for field, hint in get_type_hints(kind).items()}
    for name, kind in _TYPES.items()
}


class BadHistory(Exception):
    """This is no history: it contradicts itself, so that nothing can be judged by it."""


def dumps(event: Event) -> str:
    """One line of JSON, without the line end."""
    return json.dumps({"type": type(event).__name__.lower(), **event._asdict()})


def loads(line: str) -> Event:
    """The reverse of `dumps`; raises BadHistory."""
    try:
        # Names recur in every event: keep each once.
        fields = {
            key: intern(value) if isinstance(value, str) else value
            for key, value in json.loads(line).items()
        }
        name = fields.pop("type")
        known = _FIELDS[name]
        for key, value in fields.items():
            if not isinstance(value, known[key]):
                raise TypeError(key)
        return _TYPES[name](**fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadHistory(f"not an event: {line.strip()[:200]}") from error


def save(path: str | os.PathLike[str], events: Iterable[Event]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{dumps(event)}\n" for event in events)


def load(path: str | os.PathLike[str]) -> list[Event]:
    """Raises BadHistory, OSError."""
    try:
        with open(path, encoding="utf-8") as file:
            return [loads(line) for line in file]
    except UnicodeDecodeError as error:
        raise BadHistory(f"{path} is not UTF-8") from error


Kind = Literal["lost", "unexpected", "duplicated", "torn", "order", "count"]


class Violation(NamedTuple):
    """A rule that was broken, in plain words, and the events that show it, in time order.

    Times, in words, are milliseconds since the first event of the history (`origin`).
    """

    kind: Kind
    text: str
    events: tuple[Event, ...]
    origin: int = 0

    def __str__(self) -> str:
        told = []
        for event in self.events:
            end = "?" if event.end is None else _milliseconds(event.end - self.origin)
            span = f"{_milliseconds(event.start - self.origin)} to {end} ms"
            told.append((span, _told(event)))
        width = max((len(span) for span, _ in told), default=0)
        lines = (f"  {span:>{width}}  {what}" for span, what in told)
        return "\n".join([f"{self.kind}: {self.text}", *lines])


def _milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.3f}"


def _told(event: Event) -> str:
    """What happened, in the words of somebody who watched."""
    if isinstance(event, Open):
        return f"{event.channel} is opened with the pattern {event.pattern}"
    if isinstance(event, Close):
        return f"{event.channel} is closed, or its process dies"
    if isinstance(event, Drained):
        return f"{event.channel} is found empty"
    if isinstance(event, Broken):
        return f"{event.channel} yields {event.code}"
    if isinstance(event, Full):
        return f"{event.channel} may be full"
    what = f"{event.publisher}/{event.n}"
    whole = f"topic {event.topic}, {event.size} octets, CRC-32 {event.crc:08x}"
    if isinstance(event, Receive):
        return f"{event.channel} yields {what}: {whole}"
    patience = "" if event.timeout is None else f", waiting up to {event.timeout:g} s"
    if event.outcome == "unknown":
        result = "killed, the outcome is unknown"
    else:
        failed = f"{event.code}, " if event.code else ""
        result = f"{failed}count {event.counted}" if event.counted is not None else failed[:-2]
    return f"{what} is published: {whole}{patience}: {result}"


def explain(violations: Iterable[Violation], most: int = 5) -> str:
    """The first few violations of each kind in full, and how many more there are."""
    told: list[str] = []
    by_kind: dict[Kind, list[Violation]] = defaultdict(list)
    for violation in violations:
        by_kind[violation.kind].append(violation)
    for kind, found in by_kind.items():
        told += map(str, found[:most])
        if len(found) > most:
            told.append(f"{kind}: {len(found) - most} more")
    return "\n".join(told)


class Verdict(NamedTuple):
    """What `check` found. A history in which nothing was due proves nothing."""

    violations: tuple[Violation, ...]
    publishes: int
    receives: int
    due: int
    """Deliveries that had to come, and came or are among the violations as lost."""


_FOREVER: Final = 1 << 63


def _never(time: int | None) -> int:
    return _FOREVER if time is None else time


class _Channel:
    """One channel: when it may and when it must take messages, and what it yielded."""

    def __init__(self, opened: Open) -> None:
        self.opened = opened
        self.visible = opened.start
        self.ready = _never(opened.end)
        self.close: Close | None = None
        self.closing = _FOREVER
        self.closed = _FOREVER
        self.receives: list[Receive] = []
        self.drained: list[Drained] = []
        self.broken: list[Broken] = []
        self.full: list[Full] = []
        self.got: dict[str, dict[int, Receive]] = defaultdict(dict)

    def shut(self, close: Close) -> None:
        self.close = close
        self.closing = close.start
        self.closed = _never(close.end)

    def sort(self) -> None:
        self.receives.sort(key=attrgetter("start"))
        self.drained.sort(key=attrgetter("start"))
        self.full.sort(key=attrgetter("start"))
        # Disjoint spans, so that the last one to start before a time decides.
        spans: list[Full] = []
        for full in self.full:
            if spans and full.start <= spans[-1].end:
                spans[-1] = spans[-1]._replace(end=max(spans[-1].end, full.end))
            else:
                spans.append(full)
        self.full = spans

    def may_be_full(self, start: int, end: int) -> bool:
        if not self.full:
            return False
        i = bisect_right(self.full, end, key=attrgetter("start"))
        return i > 0 and self.full[i - 1].end >= start

    def drained_after(self, time: int) -> Drained | None:
        """The first fetch that began after `time` and found nothing."""
        if not self.drained or self.drained[-1].start <= time:
            return None
        return self.drained[bisect_right(self.drained, time, key=attrgetter("start"))]


class _Judge:
    def __init__(self, events: Iterable[Event]) -> None:
        self.channels: dict[str, _Channel] = {}
        self.publishes: dict[str, dict[int, Publish]] = defaultdict(dict)
        self.violations: list[Violation] = []
        self.strays: Counter[tuple[str, int]] = Counter()
        """Deliveries to channels that could not have got the message."""
        self.due = 0
        self.origin = _FOREVER
        self._sort_out(events)

    def _sort_out(self, events: Iterable[Event]) -> None:
        later: list[Close | Receive | Drained | Broken | Full] = []
        for event in events:
            self.origin = min(self.origin, event.start)
            if event.end is not None and event.end < event.start:
                raise BadHistory(f"ends before it begins: {dumps(event)}")
            if isinstance(event, Publish):
                if event.end is None and event.outcome != "unknown":
                    raise BadHistory(f"has an outcome and no end: {dumps(event)}")
                if event.n in self.publishes[event.publisher]:
                    raise BadHistory(f"published before under the same number: {dumps(event)}")
                self.publishes[event.publisher][event.n] = event
            elif isinstance(event, Open):
                if event.channel in self.channels:
                    raise BadHistory(f"opened before: {dumps(event)}")
                self.channels[event.channel] = _Channel(event)
            else:
                later.append(event)
        for event in later:
            channel = self.channels.get(event.channel)
            if channel is None:
                raise BadHistory(f"the channel was never opened: {dumps(event)}")
            if isinstance(event, Receive):
                channel.receives.append(event)
            elif isinstance(event, Drained):
                channel.drained.append(event)
            elif isinstance(event, Broken):
                channel.broken.append(event)
            elif isinstance(event, Full):
                channel.full.append(event)
            elif channel.close is None:
                channel.shut(event)
            else:
                raise BadHistory(f"closed before: {dumps(event)}")
        for channel in self.channels.values():
            channel.sort()

    # Reporting

    def blame(self, kind: Kind, text: str, *events: Event | None) -> None:
        shown = sorted((event for event in events if event), key=attrgetter("start"))
        self.violations.append(Violation(kind, text, tuple(shown), self.origin))

    def at(self, time: int) -> str:
        return f"{_milliseconds(time - self.origin)} ms"

    @staticmethod
    def name(message: Publish | Receive) -> str:
        return f"message {message.publisher}/{message.n}"

    # Rules

    def judge_receives(self, channel: _Channel) -> None:
        """Unexpected, duplicated, torn, and what came after the channel was seen empty."""
        for broken in channel.broken:
            self.blame(
                "torn",
                f"A fetch from {broken.channel} met with {broken.code}"
                f" at {self.at(broken.end)}: somebody put there what is not whole.",
                broken,
            )
        pattern = channel.opened.pattern
        matching: dict[str, bool] = {}
        for receive in channel.receives:
            publish = self.publishes.get(receive.publisher, {}).get(receive.n)
            if publish is None:
                self.blame(
                    "unexpected",
                    f"{receive.channel} yielded {self.name(receive)}, which nobody published.",
                    receive,
                )
                continue
            got = channel.got[receive.publisher]
            first = got.setdefault(receive.n, receive)
            if first is not receive:
                self.blame(
                    "duplicated",
                    f"{receive.channel} yielded {self.name(receive)} more than once:"
                    f" by {self.at(first.end)} and by {self.at(receive.end)}.",
                    publish,
                    first,
                    receive,
                )
                continue
            topic = publish.topic
            if topic not in matching:
                matching[topic] = matches(pattern, topic)
            end = _never(publish.end)
            if not matching[topic] or channel.visible > end or channel.closed < publish.start:
                self.strays[receive.publisher, receive.n] += 1
            why = self._why_impossible(channel, publish, receive, matching[topic])
            if why:
                self.blame(
                    "unexpected",
                    f"{receive.channel} yielded {self.name(receive)}, though {why}.",
                    channel.opened,
                    publish,
                    receive,
                    channel.close,
                )
            elif (receive.topic, receive.size, receive.crc) != (topic, publish.size, publish.crc):
                self.blame(
                    "torn",
                    f"{receive.channel} yielded {self.name(receive)} other than it was"
                    f" published: topic {receive.topic}, {receive.size} octets, CRC-32"
                    f" {receive.crc:08x}; sent were topic {topic}, {publish.size} octets,"
                    f" CRC-32 {publish.crc:08x}.",
                    publish,
                    receive,
                )
            else:
                empty = channel.drained_after(end)
                if empty and empty.end < receive.start:
                    self.blame(
                        "lost",
                        f"{receive.channel} was found empty at {self.at(empty.start)}, though"
                        f" {self.name(receive)} had been published to it by {self.at(end)}"
                        f" and was not yet yielded; it came only at {self.at(receive.end)}.",
                        publish,
                        empty,
                        receive,
                    )

    def _why_impossible(
        self, channel: _Channel, publish: Publish, receive: Receive, fits: bool
    ) -> str | None:
        end = _never(publish.end)
        if not fits:
            pattern = channel.opened.pattern
            return f"its topic {publish.topic} does not match the pattern {pattern}"
        if channel.visible > end:
            return (
                f"the channel was opened at {self.at(channel.visible)}, after the publish had"
                f" ended at {self.at(end)}"
            )
        if receive.end < publish.start:
            return f"its publish began only at {self.at(publish.start)}"
        if channel.closed < receive.start:
            return f"the channel was closed by {self.at(channel.closed)}"
        if publish.code is not None and not publish.counted:
            return f"its publish failed ({publish.code}) and said that no queue had taken it"
        return None

    def judge_order(self, channel: _Channel) -> None:
        """Of one publisher, what was published before must not be yielded after."""
        for publisher, got in channel.got.items():
            publishes = self.publishes[publisher]
            ended = sorted(got.values(), key=attrgetter("end"))
            i = 0
            latest: tuple[Publish, Receive] | None = None
            for receive in got.values():  # by start, as they were put in
                while ended[i].end < receive.start:
                    publish = publishes[ended[i].n]
                    if latest is None or publish.start > latest[0].start:
                        latest = publish, ended[i]
                    i += 1
                publish = publishes[receive.n]
                if latest and _never(publish.end) < latest[0].start:
                    after, overtaker = latest
                    self.blame(
                        "order",
                        f"{receive.channel} yielded {self.name(overtaker)} before"
                        f" {self.name(receive)}, though the publish of {receive.n} had ended"
                        f" at {self.at(_never(publish.end))}, before that of {overtaker.n}"
                        f" began at {self.at(after.start)}.",
                        publish,
                        after,
                        overtaker,
                        receive,
                    )

    def judge_publishes(self) -> None:
        """Lost, and counts."""
        # Publishes by their start, and beside each topic the channels that match it: still
        # to come (the next one last) and those not yet known to be closed. So each publish
        # looks only at the channels that could have got it.
        by_start = sorted(
            (publish for some in self.publishes.values() for publish in some.values()),
            key=attrgetter("start"),
        )
        opened = sorted(self.channels.values(), key=attrgetter("visible"), reverse=True)
        around: dict[str, tuple[list[_Channel], list[_Channel]]] = {}
        for publish in by_start:
            if publish.topic not in around:
                pattern_fits = [c for c in opened if matches(c.opened.pattern, publish.topic)]
                around[publish.topic] = pattern_fits, []
            coming, present = around[publish.topic]
            start, end = publish.start, _never(publish.end)
            while coming and coming[-1].visible <= end:
                present.append(coming.pop())
            if any(channel.closed < start for channel in present):
                present[:] = [channel for channel in present if channel.closed >= start]
            self._judge_publish(publish, [c for c in present if c.visible <= end])

    def _judge_publish(self, publish: Publish, possible: list[_Channel]) -> None:
        start, end, ok = publish.start, _never(publish.end), publish.outcome == "ok"
        yielded: list[Receive] = []
        lost = unread = open_question = 0
        for channel in possible:
            must = (
                ok
                and channel.ready < start
                and channel.closing > end
                and not channel.may_be_full(start, end)
            )
            receive = channel.got.get(publish.publisher, {}).get(publish.n)
            if receive is not None:
                self.due += must
                yielded.append(receive)
                continue
            empty = channel.drained_after(end)
            if must and empty:
                self.due += 1
                lost += 1
                self.blame(
                    "lost",
                    f"{channel.opened.channel} never yielded {self.name(publish)}. It was open"
                    f" with the pattern {channel.opened.pattern} from {self.at(channel.ready)}"
                    f" and had room when the message was published to {publish.topic} between"
                    f" {self.at(start)} and {self.at(end)}, and was found empty at"
                    f" {self.at(empty.start)}. The publish counted {publish.counted}.",
                    channel.opened,
                    publish,
                    empty,
                )
            elif must:
                unread += 1
            elif not empty:
                open_question += 1
        if publish.counted is None or (publish.code and not publish.counted):
            return
        # A lost message may have been counted or not; it is blamed once, above.
        least = len(yielded) + unread
        most = least + lost + open_question
        if self.strays:
            most += self.strays[publish.publisher, publish.n]
        if not least <= publish.counted <= most:
            bounds = f"{least}" if least == most else f"{least} to {most}"
            self.blame(
                "count",
                f"The publish of {self.name(publish)} said that {publish.counted} queues took it;"
                f" by what the channels yielded, and what else they may have held, it was"
                f" {bounds}.",
                publish,
                *(channel.opened for channel in possible),
                *yielded,
            )


def check(events: Iterable[Event]) -> Verdict:
    """Judge a history. Raises BadHistory if it is none.

    - *lost*: a channel that was open before the publish began, not closed before it
      ended, and with room in its queue, was found empty without having yielded the message.
    - *unexpected*: a message that nobody published, whose topic does not match, or that
      came to a channel before it was published, after the channel was closed, or to a
      channel opened after the publish ended.
    - *duplicated*: twice in one channel.
    - *torn*: topic, size or CRC-32 are not as they were sent, or not even readable.
    - *order*: a channel yielded two messages of one publisher in the reverse order of
      their publishes, which did not overlap.
    - *count*: more queues, or fewer, than can have taken the message.

    A publish whose outcome is unknown may have reached each channel once or not at all.
    What a closed channel had not yielded yet is nobody's fault.
    """
    judge = _Judge(events)
    for channel in judge.channels.values():
        judge.judge_receives(channel)
        judge.judge_order(channel)
    judge.judge_publishes()
    return Verdict(
        tuple(sorted(judge.violations, key=lambda violation: violation.events[0].start)),
        sum(map(len, judge.publishes.values())),
        sum(len(channel.receives) for channel in judge.channels.values()),
        judge.due,
    )
