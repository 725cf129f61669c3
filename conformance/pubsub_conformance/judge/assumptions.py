"""What the checker assumes of a history. Nothing can be judged by a history that breaks this."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .events import Close, Event, Open, Publish, Removed, dumps


def contradictions(events: Sequence[Event]) -> Iterator[str]:
    """Each place where the history contradicts itself, in words."""
    opened = {event.channel for event in events if isinstance(event, Open)}
    seen: set[object] = set()
    for event in events:
        if event.end is not None and event.end < event.start:
            yield f"ends before it begins: {dumps(event)}"
        if isinstance(event, Publish):
            if event.end is None and event.outcome != "unknown":
                yield f"has an outcome and no end: {dumps(event)}"
        elif not isinstance(event, Removed) and event.channel not in opened:
            yield f"the channel was never opened: {dumps(event)}"
        key = _once(event)
        if key in seen:
            yield f"happened before: {dumps(event)}"
        elif key:
            seen.add(key)


def _once(event: Event) -> object:
    """What must not happen twice; None for an event that may."""
    if isinstance(event, Publish):
        return event.publisher, event.n
    if isinstance(event, Open | Close):
        return type(event), event.channel
    return None
