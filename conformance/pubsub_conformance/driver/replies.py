"""The replies of a driver as typed values: errors, messages, and the events of streams."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..oracle.message import Message

SHOWN_STDERR_LINES = 20  # in the text of a DriverError


class Rejected(Exception):
    """The implementation refused a request.

    `code`, `detail`, `errno` and `count` are those of the error object in DRIVER.md.
    """

    def __init__(self, error: Mapping[str, Any]) -> None:
        self.code: str = error["code"]
        self.detail: str = error["detail"]
        self.errno: str | None = error.get("errno")
        self.count: int | None = error.get("count")
        said = [self.code, self.errno, self.detail]
        super().__init__(": ".join(text for text in said if text))


class DriverError(Exception):
    """The driver broke the protocol; nothing is known about the implementation.

    `end` says how the process ended: "still running", "exit status 3", "killed by SIGSEGV".
    """

    def __init__(self, what: str, *, request: str = "", end: str = "", stderr: str = "") -> None:
        self.what = what
        self.request = request
        self.end = end
        self.stderr = stderr
        lines = [f"driver error: {what}"]
        if request:
            lines.append(f"  request: {request}")
        if end:
            lines.append(f"  process: {end}")
        tail = stderr.splitlines()[-SHOWN_STDERR_LINES:]
        lines += ["  stderr:", *(f"    {line}" for line in tail)] if tail else []
        super().__init__("\n".join(lines))


class NoReply(DriverError):
    """The driver ended, or was silent, where a reply was due: a crash or a hang."""


class NameTwice(DriverError):
    """An object in a reply has a name twice: one in a message that should have been refused."""


@dataclass(frozen=True)
class Hello:
    """What a driver says of itself."""

    implementation: str
    version: str
    language: str
    spec: str
    roles: frozenset[str]

    @classmethod
    def read(cls, reply: Mapping[str, Any]) -> Hello:
        """The reply to `hello`."""
        texts = {name: reply[name] for name in ("implementation", "version", "language", "spec")}
        return cls(**texts, roles=frozenset(reply["roles"]))


@dataclass(frozen=True)
class OpenChannel:
    """A channel that a driver has open."""

    handle: str
    directory: Path


class Published(NamedTuple):
    """One publish of `produce`. Times are nanoseconds of CLOCK_MONOTONIC."""

    n: int
    start: int
    end: int
    taken: int | None
    """The number of queues that took the message; None if the publish failed and gives none."""
    error: Rejected | None

    @classmethod
    def read(cls, event: Mapping[str, Any]) -> Published:
        """The publish in an event of `produce`."""
        error = Rejected(event["error"]) if "error" in event else None
        taken = error.count if error else event["count"]
        return cls(event["n"], int(event["start"]), int(event["end"]), taken, error)


class Fetched(NamedTuple):
    """One fetch of `consume`: a message, or the error that came in its place.

    Times are nanoseconds of CLOCK_MONOTONIC, `size` is in octets.
    """

    start: int
    end: int
    topic: str
    headers: Mapping[str, Any]
    size: int
    crc: int
    error: Rejected | None

    @classmethod
    def read(cls, event: Mapping[str, Any]) -> Fetched:
        """The fetch in an event of `consume`."""
        start, end = int(event["start"]), int(event["end"])
        if "error" in event:
            return cls(start, end, "", {}, 0, 0, Rejected(event["error"]))
        return cls(start, end, event["topic"], event["headers"], event["size"], event["crc"], None)


class Done(NamedTuple):
    """The totals of a stream. Times are nanoseconds of CLOCK_MONOTONIC."""

    messages: int
    taken: int
    """The sum of the counts of `produce`; 0 for `consume`."""
    start: int
    end: int

    @classmethod
    def read(cls, done: Mapping[str, Any]) -> Done:
        """The totals in the last line of a stream."""
        return cls(done["messages"], done.get("count", 0), int(done["start"]), int(done["end"]))


def to_base64(data: bytes) -> str:
    """Octets as the protocol shows them."""
    return base64.b64encode(data).decode()


def message_to_json(message: Message) -> dict[str, Any]:
    """The message object of the protocol."""
    return {
        "id": str(message.id),
        "timestamp": str(message.timestamp),
        "topic": message.topic,
        "headers": dict(message.headers),
        "content": to_base64(message.content),
    }


def message_from_json(fields: Mapping[str, Any]) -> Message:
    """The message in a message object of the protocol, which is valid by its schema."""
    return Message(
        id=int(fields["id"]),
        timestamp=int(fields["timestamp"]),
        topic=fields["topic"],
        headers=fields["headers"],
        content=base64.b64decode(fields["content"]),
    )
