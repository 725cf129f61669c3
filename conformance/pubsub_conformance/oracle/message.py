"""The oracle's messages: the message file and its headers (message.md), and ids (publish.md)."""

from __future__ import annotations

import json
import math
import re
import secrets
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass

from .topics import is_topic

Scalar = str | int | float | bool | None

MAGIC = b"PMSG"
VERSION = 1
LARGEST_INTEGER = 2**53 - 1  # MSG-10

SPACE = r"[ \t\n\r]*"
JSON_STRING = r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9A-Fa-f]{4})*"'
JSON_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
# A member of a flat object, and the character after it. MSG-8 allows nothing deeper, so nothing has
# to recurse (MSG-12).
MEMBER = re.compile(
    rf"{SPACE}(?P<key>{JSON_STRING}){SPACE}:"
    rf"{SPACE}(?P<value>{JSON_STRING}|{JSON_NUMBER}|true|false|null){SPACE}(?P<next>[,}}])"
)
NO_MEMBERS = re.compile(rf"{SPACE}\{{{SPACE}\}}{SPACE}")
BEGIN = re.compile(rf"{SPACE}\{{")
END = re.compile(SPACE)
SURROGATE = re.compile("[\ud800-\udfff]")


class InvalidMessage(ValueError):
    """The octets are not a message. The text is the reason."""


class DamagedQueue(InvalidMessage):
    """A queue holds octets that are no whole id and no whole record."""


@dataclass(frozen=True)
class Message:
    """A message. Two are equal as JSON values are: 1.0 equals 1, but `true` does not."""

    id: int
    timestamp: int
    """Microseconds since the epoch."""
    topic: str
    headers: Mapping[str, Scalar]
    content: bytes

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return self._comparable() == other._comparable()

    __hash__ = None  # type: ignore[assignment]

    def _comparable(self) -> tuple[object, ...]:
        headers = {key: (isinstance(value, bool), value) for key, value in self.headers.items()}
        return self.id, self.timestamp, self.topic, headers, self.content


def pack(id: int, timestamp: int, topic: bytes, headers: bytes, content: bytes) -> bytes:
    """The message file with these fields, valid or not."""
    start = struct.pack(">4sBQQ", MAGIC, VERSION, id, timestamp)
    return start + b"".join(
        struct.pack(">I", len(field)) + field for field in (topic, headers, content)
    )


def encode(message: Message) -> bytes:
    """The file of a message. Raises ValueError for a message that may not be written (MSG-15)."""
    headers = json.dumps(dict(message.headers), ensure_ascii=False).encode()
    data = pack(
        message.id, message.timestamp, message.topic.encode(), headers, bytes(message.content)
    )
    if decode(data) != message:
        raise ValueError(f"this message cannot be written unchanged: {message}")
    return data


def decode(data: bytes) -> Message:
    """The message in the file. Raises InvalidMessage."""
    rest = data

    def take(size: int, what: str) -> bytes:
        nonlocal rest
        if size > len(rest):
            raise InvalidMessage(f"{what} needs {size} octets, {len(rest)} are left")
        taken, rest = rest[:size], rest[size:]
        return taken

    def take_field(what: str) -> bytes:
        size = int.from_bytes(take(4, f"the length of the {what}"), "big")
        return take(size, f"the {what}")

    if (magic := take(4, "the magic")) != MAGIC:
        raise InvalidMessage(f"the magic is {magic.hex(' ')}")
    if (version := take(1, "the version")[0]) != VERSION:
        raise InvalidMessage(f"the version is {version}")
    id = int.from_bytes(take(8, "the id"), "big")
    timestamp = int.from_bytes(take(8, "the timestamp"), "big")
    topic = take_field("topic").decode("ascii", "replace")
    headers = take_field("headers")
    content = take_field("content")
    if rest:
        raise InvalidMessage(f"{len(rest)} octets follow the content")
    if id == 0:
        raise InvalidMessage("the id is 0")
    if not is_topic(topic):
        raise InvalidMessage(f"the topic is {topic!r}")
    return Message(id, timestamp, topic, decode_headers(headers), content)


def decode_headers(data: bytes) -> dict[str, Scalar]:
    """The headers in this field of a file (MSG-7 to MSG-12). Raises InvalidMessage."""
    if not data:
        return {}
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage(f"the headers are not UTF-8: {error}") from None
    if NO_MEMBERS.fullmatch(text):
        return {}
    found: dict[str, Scalar] = {}
    begin = BEGIN.match(text)
    if begin is None:
        raise InvalidMessage(f"the headers are not an object: {text[:60]!r}")
    at, more = begin.end(), True
    while more:
        member = MEMBER.match(text, at)
        if member is None:
            raise InvalidMessage(f"not a key with a scalar: {text[at : at + 60]!r}")
        key = _string(member["key"])
        if key in found:
            raise InvalidMessage(f"the key {key!r} occurs twice")
        found[key] = _scalar(member["value"])
        at, more = member.end(), member["next"] == ","
    if not END.fullmatch(text, at):
        raise InvalidMessage(f"something follows the headers' object: {text[at : at + 60]!r}")
    return found


def _scalar(token: str) -> Scalar:
    if token in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[token]
    if token.startswith('"'):
        return _string(token)
    if token.lstrip("-").isdecimal():
        # An integer of many digits is too large anyway; int() would be slow, or refuse it.
        if len(token) > len(str(-LARGEST_INTEGER)) or abs(int(token)) > LARGEST_INTEGER:
            raise InvalidMessage(f"not an interoperable integer: {token[:60]}")
        return int(token)
    if not math.isfinite(float(token)):
        raise InvalidMessage(f"not finite as a double: {token[:60]}")
    return float(token)


def _string(token: str) -> str:
    text = json.loads(token)
    assert isinstance(text, str)
    if SURROGATE.search(text):
        raise InvalidMessage(f"a lone surrogate in {token[:60]}")  # MSG-11
    return text


def fresh_id() -> int:
    """An id in the way that publish.md recommends: at least 2^56 (PUB-1), and rising (PUB-2)."""
    global _last
    _last = max(_last + 1, now())
    return _last << 10 | secrets.randbits(10)


_last = 0


def now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def a_message(
    topic: str = "a",
    content: bytes = b"",
    headers: Mapping[str, Scalar] | None = None,
    id: int | None = None,
) -> Message:
    """A message with the time of now, and a fresh id unless one is given."""
    return Message(fresh_id() if id is None else id, now(), topic, headers or {}, content)
