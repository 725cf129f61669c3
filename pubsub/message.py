"""Messages and the message file (spec/message.md): bytes to message and back. No I/O."""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import NoReturn, TypeAlias

from .ids import next_id
from .topics import InvalidTopic, check_topic

HeaderValue: TypeAlias = "str | int | float | bool | None"

_MAGIC = b"PMSG"
_VERSION = 1
_HEAD = struct.Struct(">4sBQQI")  # magic, version, id, timestamp, length of the topic
_SMALLEST = _HEAD.size + 4 + 4  # nothing in topic, headers, content

MAX_OCTETS = 2**32 - 1  # of headers and of content (MSG-16)
SMALL = 2**16  # octets that are copied sooner than they are written or read by themselves
MAX_INTEGER = 2**53 - 1  # in headers, either sign (MSG-10)
_MAX_DIGITS = len(str(-MAX_INTEGER))


class InvalidHeaders(ValueError):
    """The caller's headers cannot be written down (MSG-15)."""


class TooLarge(ValueError):
    """The caller's headers or content exceed what a length field can say (MSG-16)."""


class InvalidMessage(ValueError):
    """Bytes on disk that are not a message (MSG-1 to MSG-14)."""


class Message:
    """A message: what is published, and what a fetch yields.

    `id` is an integer of 64 bits, `timestamp` the time at which the message was made in
    microseconds since the epoch, `headers` a dictionary of strings to strings, numbers, booleans
    or None. A message that was fetched has all of them as its publisher wrote them.
    """

    __slots__ = ("content", "headers", "id", "timestamp", "topic")

    def __init__(
        self,
        topic: str,
        content: bytes,
        headers: Mapping[str, HeaderValue] | None = None,
        *,
        id: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Raises InvalidTopic (TOPIC-1), and TypeError where `content` is not bytes.

        `headers` are copied, and judged when the message is written: see `to_bytes`.

        An `id` or `timestamp` (microseconds) that is not given is made up. ValueError for those
        that do not fit into 64 bits, and for an id of 0 (MSG-4).
        """
        check_topic(topic)
        if id is not None and not 0 < id < 2**64:
            raise ValueError(f"an id is 1 to 2^64 - 1, not {id}")
        if timestamp is not None and not 0 <= timestamp < 2**64:
            raise ValueError(f"a timestamp is 0 to 2^64 - 1, not {timestamp}")
        if type(content) is not bytes:
            content = _as_bytes(content)
        self.id = next_id() if id is None else id
        self.timestamp = time.time_ns() // 1000 if timestamp is None else timestamp
        self.topic = topic
        self.content = content
        if headers is not None and not isinstance(headers, Mapping):
            raise InvalidHeaders(f"headers are not a mapping but {type(headers).__name__}")
        self.headers: dict[str, HeaderValue] = {} if headers is None else dict(headers)

    @property
    def content_length(self) -> int:
        """The length of the content in octets."""
        return len(self.content)

    def to_bytes(self) -> bytes:
        """The message file of this message. Raises InvalidHeaders, TooLarge."""
        return b"".join(self.to_parts())

    def to_parts(self) -> tuple[bytes, ...]:
        """The same, to be written part by part: a large content is not copied."""
        topic = self.topic.encode("ascii")
        headers = _encode_headers(self.headers)
        content = self.content
        if len(content) > MAX_OCTETS:
            raise TooLarge(f"content has {len(content)} octets, more than {MAX_OCTETS}")
        small = len(content) <= SMALL
        head = b"".join(
            (
                _HEAD.pack(_MAGIC, _VERSION, self.id, self.timestamp, len(topic)),
                topic,
                len(headers).to_bytes(4, "big"),
                headers,
                len(content).to_bytes(4, "big"),
                content if small else b"",
            )
        )
        return (head,) if small else (head, content)

    @classmethod
    def from_bytes(cls, data: bytes, content: bytes | None = None) -> Message:
        """The message in a message file. Raises InvalidMessage.

        Where `content` was read apart from what is before it, `data` is only the latter: whoever
        knows where it begins (`content_offset`) need not copy it out of the whole file.
        """
        size = len(data) + (0 if content is None else len(content))
        if size < _SMALLEST:
            raise InvalidMessage(f"{size} octets are too few for a message")
        magic, version, id, timestamp, length = _HEAD.unpack_from(data)
        if magic != _MAGIC:  # MSG-2
            raise InvalidMessage(f"the magic is {magic!r}, not {_MAGIC!r}")
        if version != _VERSION:  # MSG-3
            raise InvalidMessage(f"version {version} is not known, only {_VERSION}")
        if id == 0:  # MSG-4
            raise InvalidMessage("the id is 0")
        # Each offset rests on the length before it. If the last is the end of the file, all are
        # right; nothing of any length is made before that is known (MSG-13, MSG-14).
        headers = _HEAD.size + length + 4
        begin = headers + int.from_bytes(data[headers - 4 : headers], "big") + 4
        end = begin + int.from_bytes(data[begin - 4 : begin], "big")
        if end != size:
            raise InvalidMessage(f"by its lengths it would have {end} octets, not {size}")
        message = cls.__new__(cls)
        message.id = id
        message.timestamp = timestamp
        message.topic = _decode_topic(data[_HEAD.size : headers - 4])
        message.headers = _decode_headers(data[headers : begin - 4])
        message.content = data[begin:] if content is None else content
        return message

    def __repr__(self) -> str:
        return f"Message(id={self.id}, topic={self.topic!r}, content_length={len(self.content)})"


def content_offset(head: bytes) -> int:
    """Where the content begins in a message file that begins with `head`; 0 if that is too short.

    What is no message has some number there, or 0.
    """
    headers = _HEAD.size + int.from_bytes(head[_HEAD.size - 4 : _HEAD.size], "big") + 4
    begin = headers + int.from_bytes(head[headers - 4 : headers], "big") + 4
    return begin if begin <= len(head) else 0


def with_id(parts: tuple[bytes, ...], id: int) -> tuple[bytes, ...]:
    """A message file that differs from `parts` in its id only (PUB-3)."""
    return (parts[0][:5] + id.to_bytes(8, "big") + parts[0][13:], *parts[1:])


def _as_bytes(content: object) -> bytes:
    # bytes(5) is five zeros and bytes([1, 2]) is a guess: only what holds octets is taken.
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"a message's content is bytes, not {type(content).__name__}")
    size = content.nbytes if isinstance(content, memoryview) else len(content)
    if size > MAX_OCTETS:
        raise TooLarge(f"content has {size} octets, more than {MAX_OCTETS}")
    return bytes(content)


@lru_cache(maxsize=1024)  # the same few topics come again and again
def _decode_topic(raw: bytes) -> str:
    try:
        topic = raw.decode("ascii")
        check_topic(topic)
    except (UnicodeDecodeError, InvalidTopic) as error:  # MSG-6
        raise InvalidMessage(f"the topic is invalid: {error}") from error
    return topic


# --- headers: JSON, but less of it than Python's json module takes (MSG-7 to MSG-12) ---

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _encode_headers(headers: dict[str, HeaderValue]) -> bytes:
    if not headers:
        return b"{}"
    fault = _fault(headers)
    if fault:
        raise InvalidHeaders(fault)
    encoded = _encode(headers).encode()
    if len(encoded) > MAX_OCTETS:
        raise TooLarge(f"headers have {len(encoded)} octets, more than {MAX_OCTETS}")
    return encoded


def _decode_headers(raw: bytes) -> dict[str, HeaderValue]:
    if raw in (b"", b"{}"):
        return {}
    try:
        headers = _decode(raw.decode())
    except RecursionError:  # MSG-12
        raise InvalidMessage("headers are nested too deep") from None
    except ValueError as error:  # not UTF-8, not JSON, or one of the two hooks below
        raise InvalidMessage(f"headers are invalid: {error}") from error
    fault = _fault(headers)
    if fault:
        raise InvalidMessage(fault)
    return headers  # type: ignore[no-any-return]  # _fault has looked at all of it


def _fault(headers: object) -> str | None:
    """What is wrong with these headers, if anything."""
    if not isinstance(headers, dict):  # MSG-7
        return f"headers are not an object of names and values but {type(headers).__name__}"
    for name, value in headers.items():
        if not isinstance(name, str):
            return f"header name {name!r} is not a string"
        if not (value is None or isinstance(value, (str, int, float))):  # MSG-8
            return f"header {name!r} is neither a string, number, boolean nor None"
        if isinstance(value, int) and abs(value) > MAX_INTEGER:  # MSG-10
            return f"header {name!r} is beyond the integers that every reader can hold, ±(2^53 - 1)"
        if isinstance(value, float) and not math.isfinite(value):  # MSG-10
            return f"header {name!r} is not a finite number"
        for text in (name, value):
            if isinstance(text, str) and _has_lone_surrogate(text):  # MSG-11
                return f"header {name!r} holds a lone surrogate"
    return None


def _has_lone_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):  # MSG-9
        raise ValueError("a key occurs twice")
    return members


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:  # before int(): its time grows with the square of the digits
        raise ValueError("an integer is beyond ±(2^53 - 1)")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_constant=_no_constant
).decode
