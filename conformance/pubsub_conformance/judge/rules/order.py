"""The rule for the order of one publisher's messages in one channel."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

from ..events import Publish, Receive
from ..history import Channel, History, or_never
from ..violations import Violation


def reversed_order(history: History, channel: Channel) -> Iterator[Violation]:
    """*order*: of one publisher, a message published before is not yielded after."""
    for publisher, yielded in channel.yielded.items():
        publishes = history.publishes[publisher]
        ended = sorted(yielded.values(), key=attrgetter("end"))
        i = 0
        latest: tuple[Publish, Receive] | None = None
        for receive in yielded.values():  # by start, as they were put in
            while ended[i].end < receive.start:
                publish = publishes[ended[i].n]
                if latest is None or publish.start > latest[0].start:
                    latest = publish, ended[i]
                i += 1
            publish = publishes[receive.n]
            if latest and or_never(publish.end) < latest[0].start:
                after, overtaker = latest
                text = (
                    f"{receive.channel} yielded {overtaker.name} before {receive.name}, though"
                    f" the publish of {receive.n} had ended at"
                    f" {history.at(or_never(publish.end))}, before that of {overtaker.n} began at"
                    f" {history.at(after.start)}."
                )
                yield Violation.of(
                    history.origin, "order", text, publish, after, overtaker, receive
                )
