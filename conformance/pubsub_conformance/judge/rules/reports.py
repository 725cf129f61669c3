"""Rules for the report that a channel is lost."""

from __future__ import annotations

from collections.abc import Iterator

from ..events import Lost, Waited
from ..history import Channel, History
from ..violations import Violation


def lost_without_cause(history: History, channel: Channel) -> Iterator[Violation]:
    """*channel*: a channel is reported lost only if the base was removed."""
    removal = channel.life.removal
    for lost in channel.reports:
        if isinstance(lost, Lost) and (not removal or removal.start > lost.end):
            text = (
                f"{lost.channel} was reported lost at {history.at(lost.end)}, though nobody had"
                " removed the base since it was opened."
            )
            yield Violation.of(history.origin, "channel", text, channel.opened, lost)


def loss_unreported(history: History, channel: Channel) -> Iterator[Violation]:
    """*channel*: a wait that begins after the base was removed reports the channel lost."""
    gone = channel.life.gone
    for waited in channel.reports:
        if isinstance(waited, Waited) and gone and gone.end < waited.start:
            text = (
                f"A wait for {waited.channel} ended with its timeout at {history.at(waited.end)},"
                " and did not report the channel lost, though the base had been removed by"
                f" {history.at(gone.end)}, before the wait began."
            )
            yield Violation.of(history.origin, "channel", text, channel.opened, gone, waited)
