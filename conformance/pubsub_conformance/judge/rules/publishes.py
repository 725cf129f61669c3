"""Rules for a publish: which channels it must have reached, and how many it counted."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import NamedTuple

from pubsub_conformance.oracle.topics import matches

from ..events import Drained, Publish, Receive
from ..history import Channel, History, or_never
from ..violations import Violation


class Place(NamedTuple):
    """A channel that a message may have reached, and what became of the message there."""

    channel: Channel
    must: bool
    """The channel had to take it."""
    full: bool
    """The channel had to take it, but for its queue, which may have been full."""
    yielded: Receive | None
    empty: Drained | None
    """A later fetch that found nothing: the channel does not hold the message any more."""
    proof: Drained | Receive | None
    """It is not there and was not yielded."""


class Reach(NamedTuple):
    """A publish and the places that its message may have reached."""

    publish: Publish
    places: list[Place]

    @property
    def due(self) -> int:
        """The number of deliveries that had to happen, and did or are known to be lost."""
        return sum(place.must and bool(place.yielded or place.proof) for place in self.places)

    @property
    def prevented(self) -> int:
        """The number of deliveries that did not happen, and only a full queue explains it."""
        return sum(place.full and bool(place.proof) for place in self.places)


def reaches(history: History) -> Iterator[Reach]:
    """Every publish, by start."""
    # Beside each topic are the channels that match it: still to come (the next one last) and those
    # not yet known to be closed. So each publish looks only at the channels that could have got it.
    by_start = sorted(
        (publish for numbered in history.publishes.values() for publish in numbered.values()),
        key=attrgetter("start"),
    )
    opened = sorted(history.channels, key=lambda channel: channel.life.visible, reverse=True)
    around: dict[str, tuple[list[Channel], list[Channel]]] = {}
    for publish in by_start:
        if publish.topic not in around:
            fitting = [c for c in opened if matches(c.opened.pattern, publish.topic)]
            around[publish.topic] = fitting, []
        coming, present = around[publish.topic]
        start, end = publish.start, or_never(publish.end)
        while coming and coming[-1].life.visible <= end:
            present.append(coming.pop())
        if any(channel.life.closed < start for channel in present):
            present[:] = [channel for channel in present if channel.life.closed >= start]
        places = [_place(publish, c) for c in present if c.life.visible <= end]
        yield Reach(publish, places)


def _place(publish: Publish, channel: Channel) -> Place:
    start, end, life = publish.start, or_never(publish.end), channel.life
    must = publish.outcome == "ok" and life.ready < start and life.closing > end
    full = must and channel.may_be_full(start, end)
    must = must and not full
    yielded = channel.yielded.get(publish.publisher, {}).get(publish.n)
    if yielded:
        return Place(channel, must, full, yielded, None, None)
    empty = channel.drained_after(end)
    return Place(channel, must, full, None, empty, empty or channel.overtaker(publish))


def never_yielded(history: History, reach: Reach) -> Iterator[Violation]:
    """*lost*: an open channel with room yields what is published to it."""
    publish, at = reach.publish, history.at
    for channel, must, _, _, _, proof in reach.places:
        if must and proof:
            seen = (
                f"was found empty at {at(proof.start)}"
                if isinstance(proof, Drained)
                else f"had yielded {proof.name}, published afterwards, by {at(proof.end)}"
            )
            opened = channel.opened
            text = (
                f"{opened.channel} never yielded {publish.name}. It was open with the pattern"
                f" {opened.pattern} from {at(channel.life.ready)} and had room when the message was"
                f" published to {publish.topic} between {at(publish.start)} and"
                f" {at(or_never(publish.end))}, and {seen}. The publish counted {publish.counted}."
            )
            yield Violation.of(history.origin, "lost", text, opened, publish, proof)


def miscounted(history: History, reach: Reach) -> Iterator[Violation]:
    """*count*: the count of a publish is the number of queues that took the message."""
    publish = reach.publish
    if publish.counted is None or (publish.code and not publish.counted):
        return
    yielded = [place.yielded for place in reach.places if place.yielded]
    missing = [place for place in reach.places if not place.yielded]
    least = len(yielded) + sum(place.must and not place.proof for place in missing)
    # A lost message may have been counted or not; `never_yielded` reports it.
    most = least + sum(bool(place.proof) if place.must else not place.empty for place in missing)
    if history.strays:
        most += history.strays[publish.publisher, publish.n]
    if not least <= publish.counted <= most:
        bounds = f"{least}" if least == most else f"{least} to {most}"
        text = (
            f"The publish of {publish.name} reported that {publish.counted} queues took it; by what"
            f" the channels yielded, and what else they may have held, it was {bounds}."
        )
        opened = [place.channel.opened for place in reach.places]
        yield Violation.of(history.origin, "count", text, publish, *opened, *yielded)
