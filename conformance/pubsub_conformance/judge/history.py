"""A history sorted out for the rules: what each channel could take, had to take, and yielded."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from pubsub_conformance.oracle.topics import matches

from .events import (
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
)
from .violations import milliseconds

FOREVER: Final = 1 << 63

_start = attrgetter("start")


def or_never(time: int | None) -> int:
    return FOREVER if time is None else time


class Life(NamedTuple):
    """When a channel could take messages, in nanoseconds."""

    visible: int
    """It took none before."""
    ready: int
    """From then on it had to take what matched."""
    closing: int
    """From then on it need not take any more: it is being closed, or the base is being removed."""
    closed: int
    """It took none afterwards."""
    removal: Removed | None
    """The first removal that may have taken it. What it had not yielded by then may be gone."""
    gone: Removed | None
    """The first removal that certainly took it. It may still yield what it had."""

    @classmethod
    def of(cls, opened: Open, close: Close | None, removals: Iterable[Removed]) -> Life:
        """The removals are those of the whole history, by their start."""
        visible, ready = opened.start, or_never(opened.end)
        closing = close.start if close else FOREVER
        closed = or_never(close.end) if close else FOREVER
        may = [r for r in removals if visible <= r.end and closed >= r.start]
        sure = [removed for removed in may if ready < removed.start]
        removal = may[0] if may else None
        gone = min(sure, key=attrgetter("end"), default=None)
        if removal:
            closing = min(closing, removal.start)
        if gone:
            closed = min(closed, gone.end)
        return cls(visible, ready, closing, closed, removal, gone)


class Delivery(NamedTuple):
    """A message that a channel yielded, and what the history says about it."""

    receive: Receive
    publish: Publish | None
    """None: nobody published it."""
    first: Receive | None
    """The same message, yielded by the channel before."""
    impossible: str | None
    """Why the channel cannot have got it."""

    @property
    def altered(self) -> bool:
        """Whether it arrived other than it was published."""
        sent, got = self.publish, self.receive
        return sent is not None and (got.topic, got.size, got.crc) != (
            sent.topic,
            sent.size,
            sent.crc,
        )

    @property
    def right(self) -> Publish | None:
        """Its publish, if the channel rightly yielded it."""
        return None if self.first or self.impossible or self.altered else self.publish


class Channel:
    """One channel, its events by kind and in the order of their start, and its deliveries."""

    def __init__(self, opened: Open, events: Iterable[Event], removals: Sequence[Removed]) -> None:
        ordered = sorted(events, key=_start)
        self.opened = opened
        self.close = next((event for event in ordered if isinstance(event, Close)), None)
        self.life = Life.of(opened, self.close, removals)
        self.drained = [event for event in ordered if isinstance(event, Drained)]
        self.full = _merged(event for event in ordered if isinstance(event, Full))
        self.reports = [event for event in ordered if isinstance(event, Broken | Lost | Waited)]
        self.deliveries: list[Delivery] = []
        self.yielded: dict[str, dict[int, Receive]] = defaultdict(dict)
        """What it yielded first, by publisher and number, of all that was published."""
        self._latest: dict[str, tuple[int, Receive]] = {}
        """For each publisher, among the messages that were rightly yielded before any removal: the
        one whose publish began last, with that time."""
        self._receives = [event for event in ordered if isinstance(event, Receive)]

    def deliver(self, history: History) -> None:
        """Fill in the deliveries, by the publishes of the whole history."""
        fits: dict[str, bool] = {}
        for receive in self._receives:
            publish = history.publishes.get(receive.publisher, {}).get(receive.n)
            if publish is None:
                self.deliveries.append(Delivery(receive, None, None, None))
                continue
            first = self.yielded[receive.publisher].setdefault(receive.n, receive)
            if first is not receive:
                self.deliveries.append(Delivery(receive, publish, first, None))
                continue
            if publish.topic not in fits:
                fits[publish.topic] = matches(self.opened.pattern, publish.topic)
            life, end = self.life, or_never(publish.end)
            if not fits[publish.topic] or life.visible > end or life.closed < publish.start:
                history.strays[receive.publisher, receive.n] += 1
            impossible = self._impossible(history, publish, receive, fits[publish.topic])
            delivery = Delivery(receive, publish, None, impossible)
            self.deliveries.append(delivery)
            if delivery.right and not (life.removal and receive.end >= life.removal.start):
                latest = self._latest.get(receive.publisher)
                if latest is None or publish.start > latest[0]:
                    self._latest[receive.publisher] = publish.start, receive

    def _impossible(
        self, history: History, publish: Publish, receive: Receive, fits: bool
    ) -> str | None:
        at, life, end = history.at, self.life, or_never(publish.end)
        if not fits:
            return f"its topic {publish.topic} does not match the pattern {self.opened.pattern}"
        if life.visible > end:
            return (
                f"the channel was opened at {at(life.visible)}, after the publish had ended at"
                f" {at(end)}"
            )
        if receive.end < publish.start:
            return f"its publish began only at {at(publish.start)}"
        if self.close and or_never(self.close.end) < receive.start:
            return f"the channel was closed by {at(or_never(self.close.end))}"
        if life.gone and life.gone.end < publish.start:
            return (
                f"its publish began only at {at(publish.start)}, and the channel had gone with"
                f" the base by {at(life.gone.end)}"
            )
        if publish.code is not None and not publish.counted:
            return f"its publish failed ({publish.code}) and reported that no queue had taken it"
        return None

    def may_be_full(self, start: int, end: int) -> bool:
        if not self.full:
            return False
        i = bisect_right(self.full, end, key=_start)
        return i > 0 and self.full[i - 1].end >= start

    def overtaker(self, publish: Publish) -> Receive | None:
        """A message of the same publisher that was behind this one in the queue and arrived."""
        start, receive = self._latest.get(publish.publisher, (0, None))
        return receive if start > or_never(publish.end) else None

    def drained_after(self, time: int) -> Drained | None:
        """The first fetch that began after `time` and found nothing.

        None if a removal of the base may have taken what was there.
        """
        if not self.drained or self.drained[-1].start <= time:
            return None
        drained = self.drained[bisect_right(self.drained, time, key=_start)]
        removal = self.life.removal
        return None if removal and drained.end >= removal.start else drained


def _merged(spans: Iterable[Full]) -> list[Full]:
    """Disjoint spans, so that the last one to start before a time decides."""
    merged: list[Full] = []
    for full in spans:
        if merged and full.start <= merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(merged[-1].end, full.end))
        else:
            merged.append(full)
    return merged


class History:
    """The publishes and channels of a history that does not contradict itself."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.origin = min((event.start for event in events), default=0)
        self.strays: Counter[tuple[str, int]] = Counter()
        """Deliveries to channels that cannot have got the message, by publisher and number."""
        self.publishes: dict[str, dict[int, Publish]] = defaultdict(dict)
        opened: list[Open] = []
        removals: list[Removed] = []
        of_channel: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            if isinstance(event, Publish):
                self.publishes[event.publisher][event.n] = event
            elif isinstance(event, Open):
                opened.append(event)
            elif isinstance(event, Removed):
                removals.append(event)
            else:
                of_channel[event.channel].append(event)
        removals.sort(key=_start)
        self.channels = [Channel(o, of_channel[o.channel], removals) for o in opened]
        for channel in self.channels:
            channel.deliver(self)

    def at(self, time: int) -> str:
        """A time in words: since the first event."""
        return f"{milliseconds(time - self.origin)} ms"
