"""The check of a history: could a correct system have done this?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from .assumptions import contradictions
from .events import Event, Publish
from .history import History
from .lanes import may_be_record
from .rules import CHANNEL_RULES, PUBLISH_RULES
from .rules.publishes import reaches
from .verdict import Verdict, conclude
from .violations import Violation, render


@dataclass(frozen=True)
class Judgement:
    """What `check` found."""

    contradictions: tuple[str, ...] = ()
    """Where the history contradicts itself. Nothing else was looked at then."""
    publishes: int = 0
    receives: int = 0
    due: int = 0
    """The number of deliveries that had to happen, and did or are violations. Where none was due,
    nothing is proved."""
    full: int = 0
    """The number of deliveries that full queues prevented."""
    perhaps_records: int = 0
    """The number of deliveries of small messages to marked channels: records, or files where the
    queue was half full. All others were files."""
    failed: dict[str, int] = field(default_factory=dict)
    """The number of publishes that failed, by error code. A history does not say whose fault it
    is."""
    violations: tuple[Violation, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return conclude(
            interrupted=False, broken=bool(self.violations), judged=not self.contradictions
        )

    @property
    def summary(self) -> str:
        small = f" {self.perhaps_records} small and to marked channels," * bool(
            self.perhaps_records
        )
        return (
            f"{self.publishes} publishes, {self.receives} deliveries,{small} {self.due} of them"
            f" due: {len(self.violations)} violations"
        )

    def show(self, console: Console) -> None:
        lines = [f"the history contradicts itself: {text}" for text in self.contradictions[:10]]
        if not lines:
            failed = ", ".join(f"{n} with {code}" for code, n in sorted(self.failed.items()))
            lines += [render(self.violations)] if self.violations else []
            lines += [f"publishes that failed: {failed}"] if failed else []
            lines.append(self.summary)
        for line in lines:
            console.print(Text(line))

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "violations": [violation.as_dict() for violation in self.violations]}


def check(events: Iterable[Event]) -> Judgement:
    """Judge a history. The rules are in `rules`; a violation is of one of these kinds:

    - *lost*: a channel that was open before the publish began, not closed before it ended, and
      with room in its queue, was found empty and had not yielded the message, or yielded one that
      its publisher published afterwards and never this one.
    - *unexpected*: a message that nobody published, whose topic does not match, or that came to a
      channel before it was published, after the channel was closed, or to a channel opened after
      the publish ended.
    - *duplicated*: a message came twice in one channel.
    - *torn*: topic, size or CRC-32 are not as they were sent, or not even readable.
    - *order*: a channel yielded two messages of one publisher in the reverse order of their
      publishes, which did not overlap.
    - *count*: a publish counted more queues, or fewer, than can have taken the message.
    - *channel*: a channel was reported lost without a cause, or a wait that began after the base
      had been removed did not report it lost.

    A publish whose outcome is unknown may have reached each channel once or not at all. A message
    that a channel had not yielded when it was closed, or when the base was removed, may be missing.
    """
    known = list(events)
    if faults := tuple(contradictions(known)):
        return Judgement(faults)
    history = History(known)
    violations = [
        violation
        for channel in history.channels
        for rule in CHANNEL_RULES
        for violation in rule(history, channel)
    ]
    due = full = 0
    for reach in reaches(history):
        due += reach.due
        full += reach.prevented
        for rule in PUBLISH_RULES:
            violations += rule(history, reach)
    publishes = [event for event in known if isinstance(event, Publish)]
    return Judgement(
        (),
        len(publishes),
        sum(len(channel.deliveries) for channel in history.channels),
        due,
        full,
        sum(
            may_be_record(delivery.receive)
            for channel in history.channels
            if channel.opened.marked
            for delivery in channel.deliveries
        ),
        dict(Counter(publish.code for publish in publishes if publish.code)),
        tuple(sorted(violations, key=lambda violation: violation.events[0].start)),
    )
