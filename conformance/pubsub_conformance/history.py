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

from pubsub_conformance.oracle.topics import matches


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


class Removed(NamedTuple):
    """The base was removed, or moved away, with all that stood in it."""

    start: int
    end: int


class Lost(NamedTuple):
    """An operation reported the channel lost."""

    channel: str
    start: int
    end: int


class Waited(NamedTuple):
    """A wait for the channel said that the time was over."""

    channel: str
    start: int
    end: int


Event = Open | Close | Publish | Receive | Drained | Broken | Full | Removed | Lost | Waited

_TYPES: Final[dict[str, Callable[..., Event]]] = {
    "open": Open,
    "close": Close,
    "publish": Publish,
    "receive": Receive,
    "drained": Drained,
    "broken": Broken,
    "full": Full,
    "removed": Removed,
    "lost": Lost,
    "waited": Waited,
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


Kind = Literal["lost", "unexpected", "duplicated", "torn", "order", "count", "channel"]


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
    if isinstance(event, Removed):
        return "the base is removed"
    if isinstance(event, Lost):
        return f"{event.channel} is reported lost"
    if isinstance(event, Waited):
        return f"{event.channel} is waited for until the time is over"
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
        """It may take no more from then on: it is being closed, or the base removed."""
        self.closed = _FOREVER
        """It takes no more after that."""
        self.removal: Removed | None = None
        """The first that may have taken it: what it had not yielded by then may be gone."""
        self.gone: Removed | None = None
        """The first that took it for certain. It may yield what it had, but gets no more."""
        self.lost: list[Lost] = []
        self.waited: list[Waited] = []
        self.receives: list[Receive] = []
        self.drained: list[Drained] = []
        self.broken: list[Broken] = []
        self.full: list[Full] = []
        self.got: dict[str, dict[int, Receive]] = defaultdict(dict)
        self.latest: dict[str, tuple[int, Receive]] = {}
        """Of each publisher: of what was yielded, and not after a removal, the message whose
        publish began last; and when."""

    def shut(self, close: Close) -> None:
        self.close = close
        self.closing = close.start
        self.closed = _never(close.end)

    def remove(self, removals: Iterable[Removed]) -> None:
        """Those of all times, in their order; the channel is opened and, if at all, shut."""
        for removed in removals:
            if self.visible > removed.end or self.closed < removed.start:
                continue
            if self.removal is None:
                self.removal = removed
                self.closing = min(self.closing, removed.start)
            sure = self.ready < removed.start
            if sure and (self.gone is None or removed.end < self.gone.end):
                self.gone = removed
        if self.gone:
            self.closed = min(self.closed, self.gone.end)

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

    def note(self, publish: Publish, receive: Receive) -> None:
        """That it was rightly yielded."""
        if self.removal and receive.end >= self.removal.start:
            return  # some files may have gone before others
        latest = self.latest.get(publish.publisher)
        if latest is None or publish.start > latest[0]:
            self.latest[publish.publisher] = publish.start, receive

    def overtaker(self, publish: Publish) -> Receive | None:
        """A message of the same publisher that stood behind this one in the queue and came."""
        start, receive = self.latest.get(publish.publisher, (0, None))
        return receive if start > _never(publish.end) else None

    def drained_after(self, time: int) -> Drained | None:
        """The first fetch that began after `time` and found nothing, though nobody else can have
        taken what was there."""
        if not self.drained or self.drained[-1].start <= time:
            return None
        drained = self.drained[bisect_right(self.drained, time, key=attrgetter("start"))]
        return None if self.removal and drained.end >= self.removal.start else drained


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
        later: list[Close | Receive | Drained | Broken | Full | Lost | Waited] = []
        removals: list[Removed] = []
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
            elif isinstance(event, Removed):
                removals.append(event)
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
            elif isinstance(event, Lost):
                channel.lost.append(event)
            elif isinstance(event, Waited):
                channel.waited.append(event)
            elif channel.close is None:
                channel.shut(event)
            else:
                raise BadHistory(f"closed before: {dumps(event)}")
        removals.sort(key=attrgetter("start"))
        for channel in self.channels.values():
            channel.sort()
            channel.remove(removals)

    # Reporting

    def blame(self, kind: Kind, text: str, *events: Event | None) -> None:
        shown = sorted((event for event in events if event), key=attrgetter("start"))
        self.violations.append(Violation(kind, text, tuple(shown), self.origin))

    def at(self, time: int) -> str:
        return f"{_milliseconds(time - self.origin)} ms"

    @staticmethod
    def name(message: Publish | Receive) -> str:
        return f"message {message.publisher}/{message.n}"

    def seen(self, proof: Drained | Receive) -> str:
        if isinstance(proof, Drained):
            return f"was found empty at {self.at(proof.start)}"
        return f"had yielded {self.name(proof)}, published afterwards, by {self.at(proof.end)}"

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
                    channel.gone,
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
                channel.note(publish, receive)
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
        if channel.close and _never(channel.close.end) < receive.start:
            return f"the channel was closed by {self.at(_never(channel.close.end))}"
        if channel.gone and channel.gone.end < publish.start:
            return (
                f"its publish began only at {self.at(publish.start)}, and the channel had gone with"
                f" the base by {self.at(channel.gone.end)}"
            )
        if publish.code is not None and not publish.counted:
            return f"its publish failed ({publish.code}) and said that no queue had taken it"
        return None

    def judge_reports(self, channel: _Channel) -> None:
        """Whether the owner was told that its channel was lost, and only then."""
        for lost in channel.lost:
            if not channel.removal or channel.removal.start > lost.end:
                self.blame(
                    "channel",
                    f"{lost.channel} was reported lost at {self.at(lost.end)}, though nobody had"
                    " removed the base since it was opened.",
                    channel.opened,
                    lost,
                )
        for waited in channel.waited:
            if channel.gone and channel.gone.end < waited.start:
                self.blame(
                    "channel",
                    f"A wait for {waited.channel} said that the time was over, at"
                    f" {self.at(waited.end)}, and not that the channel was lost, though the base"
                    f" had been removed by {self.at(channel.gone.end)}, before the wait began.",
                    channel.opened,
                    channel.gone,
                    waited,
                )

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
            proof = empty or channel.overtaker(publish)
            if must and proof:
                self.due += 1
                lost += 1
                self.blame(
                    "lost",
                    f"{channel.opened.channel} never yielded {self.name(publish)}. It was open"
                    f" with the pattern {channel.opened.pattern} from {self.at(channel.ready)}"
                    f" and had room when the message was published to {publish.topic} between"
                    f" {self.at(start)} and {self.at(end)}, and {self.seen(proof)}."
                    f" The publish counted {publish.counted}.",
                    channel.opened,
                    publish,
                    proof,
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
      ended, and with room in its queue, was found empty without having yielded the message,
      or yielded one that its publisher published afterwards and never this one.
    - *unexpected*: a message that nobody published, whose topic does not match, or that
      came to a channel before it was published, after the channel was closed, or to a
      channel opened after the publish ended.
    - *duplicated*: twice in one channel.
    - *torn*: topic, size or CRC-32 are not as they were sent, or not even readable.
    - *order*: a channel yielded two messages of one publisher in the reverse order of
      their publishes, which did not overlap.
    - *count*: more queues, or fewer, than can have taken the message.
    - *channel*: a channel was reported lost without a cause; or a wait that began after the
      base had been removed did not say so.

    A publish whose outcome is unknown may have reached each channel once or not at all.
    What a channel had not yielded yet when it was closed, or when the base was removed, is
    nobody's fault.
    """
    judge = _Judge(events)
    for channel in judge.channels.values():
        judge.judge_receives(channel)
        judge.judge_reports(channel)
        judge.judge_order(channel)
    judge.judge_publishes()
    return Verdict(
        tuple(sorted(judge.violations, key=lambda violation: violation.events[0].start)),
        sum(map(len, judge.publishes.values())),
        sum(len(channel.receives) for channel in judge.channels.values()),
        judge.due,
    )
