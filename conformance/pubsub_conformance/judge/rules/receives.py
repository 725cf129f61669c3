"""Rules for what a channel yields, message by message."""

from __future__ import annotations

from collections.abc import Iterator

from ..events import Broken
from ..history import Channel, History, or_never
from ..violations import Violation


def unreadable(history: History, channel: Channel) -> Iterator[Violation]:
    """*torn*: no fetch meets anything that is not a message."""
    for broken in channel.reports:
        if isinstance(broken, Broken):
            text = (
                f"A fetch from {broken.channel} met with {broken.code} at"
                f" {history.at(broken.end)}: something put there is not whole."
            )
            yield Violation.of(history.origin, "torn", text, broken)


def unpublished(history: History, channel: Channel) -> Iterator[Violation]:
    """*unexpected*: a channel yields nothing that nobody published."""
    for receive, publish, _, _ in channel.deliveries:
        if publish is None:
            text = f"{receive.channel} yielded {receive.name}, which nobody published."
            yield Violation.of(history.origin, "unexpected", text, receive)


def duplicated(history: History, channel: Channel) -> Iterator[Violation]:
    """*duplicated*: a channel yields no message twice."""
    for receive, publish, first, _ in channel.deliveries:
        if first:
            text = (
                f"{receive.channel} yielded {receive.name} more than once:"
                f" by {history.at(first.end)} and by {history.at(receive.end)}."
            )
            yield Violation.of(history.origin, "duplicated", text, publish, first, receive)


def impossible(history: History, channel: Channel) -> Iterator[Violation]:
    """*unexpected*: a channel yields no message that it cannot have got."""
    for receive, publish, _, why in channel.deliveries:
        if why:
            text = f"{receive.channel} yielded {receive.name}, though {why}."
            proof = channel.opened, publish, receive, channel.close, channel.life.gone
            yield Violation.of(history.origin, "unexpected", text, *proof)


def altered(history: History, channel: Channel) -> Iterator[Violation]:
    """*torn*: a message arrives with the topic, size and CRC-32 that were published."""
    for delivery in channel.deliveries:
        receive, sent, first, why = delivery
        if sent and delivery.altered and not first and not why:
            text = (
                f"{receive.channel} yielded {receive.name} other than it was published: topic"
                f" {receive.topic}, {receive.size} octets, CRC-32 {receive.crc:08x}; sent were"
                f" topic {sent.topic}, {sent.size} octets, CRC-32 {sent.crc:08x}."
            )
            yield Violation.of(history.origin, "torn", text, sent, receive)


def late(history: History, channel: Channel) -> Iterator[Violation]:
    """*lost*: a channel that holds a message is not found empty."""
    for delivery in channel.deliveries:
        receive, publish = delivery.receive, delivery.right
        if publish is None:
            continue
        end = or_never(publish.end)
        empty = channel.drained_after(end)
        if empty and empty.end < receive.start:
            text = (
                f"{receive.channel} was found empty at {history.at(empty.start)}, though"
                f" {receive.name} had been published to it by {history.at(end)} and was not yet"
                f" yielded; it came only at {history.at(receive.end)}."
            )
            yield Violation.of(history.origin, "lost", text, publish, empty, receive)
