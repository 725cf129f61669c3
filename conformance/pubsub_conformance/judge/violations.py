"""A violation: the rule that was broken, in words, and the events that prove it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from .events import Event, describe, to_json

Kind = Literal["lost", "unexpected", "duplicated", "torn", "order", "count", "channel"]


def milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.3f}"


class Violation(NamedTuple):
    """A rule that was broken, and the events that prove it, in time order.

    The text gives times in milliseconds since `origin`, the first event of the history.
    """

    kind: Kind
    text: str
    events: tuple[Event, ...]
    origin: int = 0

    @classmethod
    def of(cls, origin: int, kind: Kind, text: str, *events: Event | None) -> Violation:
        """Any of the events may be missing."""
        proof = sorted((event for event in events if event), key=attrgetter("start"))
        return cls(kind, text, tuple(proof), origin)

    def __str__(self) -> str:
        rows = []
        for event in self.events:
            end = "?" if event.end is None else milliseconds(event.end - self.origin)
            span = f"{milliseconds(event.start - self.origin)} to {end} ms"
            rows.append((span, describe(event)))
        width = max((len(span) for span, _ in rows), default=0)
        lines = (f"  {span:>{width}}  {text}" for span, text in rows)
        return "\n".join([f"{self.kind}: {self.text}", *lines])

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "text": self.text,
            "events": [to_json(event) for event in self.events],
        }


def render(violations: Iterable[Violation], most: int = 5) -> str:
    """The first few violations of each kind in full, and how many more there are."""
    parts: list[str] = []
    by_kind: dict[Kind, list[Violation]] = defaultdict(list)
    for violation in violations:
        by_kind[violation.kind].append(violation)
    for kind, found in by_kind.items():
        parts += map(str, found[:most])
        if len(found) > most:
            parts.append(f"{kind}: {len(found) - most} more")
    return "\n".join(parts)
