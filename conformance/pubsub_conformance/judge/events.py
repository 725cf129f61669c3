"""The events of a history: what happened in a run, and when.

A history is a set of events, in any order. Each event has a start and an end, in nanoseconds of
the one monotonic clock that all processes of a machine share. It took effect at an unknown moment
between them. One event is *before* another only if it ended before the other began.

On disk a history is JSON Lines: one event a line, its type in the field "type".
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from sys import intern
from typing import Any, Final, Literal, NamedTuple, get_args, get_type_hints


class Open(NamedTuple):
    """A channel was opened. `end` is None if its process died before it could answer."""

    channel: str
    pattern: str
    start: int
    end: int | None
    marked: bool = False
    """It had the marker of the inline lane."""


class Close(NamedTuple):
    """A channel was closed, or its process died.

    The channel could take messages until `start`, and none after `end` (None: nobody saw the end).
    """

    channel: str
    start: int
    end: int | None


class Publish(NamedTuple):
    """Message `n` of `publisher`, and the result of its publish.

    The publish succeeded (`counted`: the number of queues that took it), or failed (`code`; also
    `counted` if some queues took it before), or its process died (neither; `end` is a time at which
    the process was known to be dead, or None).
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

    @property
    def name(self) -> str:
        return f"message {self.publisher}/{self.n}"


class Receive(NamedTuple):
    """A channel yielded a message. `publisher` and `n` come from its headers."""

    channel: str
    publisher: str
    n: int
    topic: str
    size: int
    crc: int
    start: int
    end: int

    @property
    def name(self) -> str:
        return f"message {self.publisher}/{self.n}"


class Drained(NamedTuple):
    """A fetch found the channel empty."""

    channel: str
    start: int
    end: int


class Broken(NamedTuple):
    """A fetch found octets that are not a message, or not an id. `code` is the error code."""

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
    """The base was removed or moved away, with all that was in it."""

    start: int
    end: int


class Lost(NamedTuple):
    """An operation reported the channel lost."""

    channel: str
    start: int
    end: int


class Waited(NamedTuple):
    """A wait for the channel ended with its timeout."""

    channel: str
    start: int
    end: int


Event = Open | Close | Publish | Receive | Drained | Broken | Full | Removed | Lost | Waited

_TYPES: Final[dict[str, Callable[..., Event]]] = {
    kind.__name__.lower(): kind for kind in get_args(Event)
}

# The types that each field of each type of event may have.
_FIELDS: Final[dict[str, dict[str, tuple[type, ...]]]] = {
    name: {field: get_args(hint) or (hint,) for field, hint in get_type_hints(kind).items()}
    for name, kind in _TYPES.items()
}


class BadHistory(Exception):
    """The file is not a history."""


_MESSAGE: Final = "topic {topic}, {size} octets, CRC-32 {crc:08x}"
_WORDS: Final = {
    Open: "{channel} is opened with the pattern {pattern}",
    Close: "{channel} is closed, or its process dies",
    Publish: f"{{publisher}}/{{n}} is published: {_MESSAGE}",
    Receive: f"{{channel}} yields {{publisher}}/{{n}}: {_MESSAGE}",
    Drained: "{channel} is found empty",
    Broken: "{channel} yields {code}",
    Full: "{channel} may be full",
    Removed: "the base is removed",
    Lost: "{channel} is reported lost",
    Waited: "a wait for {channel} ends with its timeout",
}


def describe(event: Event) -> str:
    """What happened, in words, without the time."""
    words = _WORDS[type(event)].format(**event._asdict())
    if isinstance(event, Open) and event.marked:
        return f"{words}, and marked"
    if not isinstance(event, Publish):
        return words
    patience = "" if event.timeout is None else f", waiting up to {event.timeout:g} s"
    results = [event.code] if event.code else []
    if event.counted is not None:
        results.append(f"count {event.counted}")
    return f"{words}{patience}: {', '.join(results) or 'killed, the outcome is unknown'}"


def to_json(event: Event) -> dict[str, Any]:
    return {"type": type(event).__name__.lower(), **event._asdict()}


def dumps(event: Event) -> str:
    """One line of JSON, without the line end."""
    return json.dumps(to_json(event))


def loads(line: str) -> Event:
    """The reverse of `dumps`. Raises BadHistory."""
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
        raise BadHistory(
            f"not an event, as in the history.jsonl of a stress run: {line.strip()[:200]}"
        ) from error


def save(path: str | os.PathLike[str], events: Iterable[Event]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{dumps(event)}\n" for event in events)


def load(path: str | os.PathLike[str]) -> list[Event]:
    """The events of a file. Raises BadHistory, OSError."""
    try:
        with open(path, encoding="utf-8") as file:
            return [loads(line) for line in file]
    except UnicodeDecodeError as error:
        raise BadHistory(f"{path} is not UTF-8") from error
