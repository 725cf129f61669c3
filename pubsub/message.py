"""Messages: the value that is published, and that a fetch returns."""

from __future__ import annotations

import operator
import time
from collections.abc import Mapping
from typing import TypeAlias

from .headers import HeaderValue, InvalidHeaders
from .ids import next_id
from .interruption import of_system
from .message_file import Encoded, as_content, as_octets, decode, encode
from .topics import check_topic

Content: TypeAlias = "bytes | bytearray | memoryview"
"""What may be published. A message that was fetched has `bytes`."""

_SHOWN = 80  # characters of headers and of content in a repr


class Message:
    """A message: what is published, and what a fetch returns.

    `id` is an integer of 64 bits. `timestamp` is the time at which the message was made, in
    microseconds since the epoch. `headers` maps strings to strings, numbers, booleans or None. A
    message that was fetched has all of them as its publisher wrote them.
    """

    __slots__ = ("content", "headers", "id", "timestamp", "topic")

    id: int
    timestamp: int
    topic: str
    headers: dict[str, HeaderValue]
    content: bytes

    def __init__(
        self,
        topic: str,
        content: Content,
        headers: Mapping[str, HeaderValue] | None = None,
        *,
        id: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """A message with an `id` and a `timestamp` (microseconds) that are fresh unless given.

        `headers` are copied; `to_bytes` checks their names and values.

        Raises InvalidTopic (TOPIC-1); TypeError for an argument of a wrong type; TooLarge if
        `content` is too long (MSG-16); InvalidHeaders if `headers` are not a mapping; ValueError if
        an `id` or `timestamp` does not fit into 64 bits, or the `id` is 0 (MSG-4).
        """
        self.topic = check_topic(topic)
        self.id = next_id() if id is None else _number(id, "id", 1)
        self.timestamp = (
            time.time_ns() // 1000 if timestamp is None else _number(timestamp, "timestamp", 0)
        )
        self.content = content if type(content) is bytes else as_content(content)
        # To ask whether a dict is a Mapping takes a function of Python, in each publish.
        if headers is not None and type(headers) is not dict and not isinstance(headers, Mapping):
            raise InvalidHeaders(f"headers are not a mapping but {type(headers).__name__}")
        self.headers = {} if headers is None else dict(headers)

    @property
    def content_length(self) -> int:
        """The length of the content in octets."""
        return len(self.content)

    def to_bytes(self) -> bytes:
        """The message file of this message.

        Raises InvalidHeaders (MSG-15), TooLarge (MSG-16).
        """
        return b"".join(self.encoded())

    def encoded(self) -> Encoded:
        """The message file of this message, without a copy of a large content.

        Raises InvalidHeaders (MSG-15), TooLarge (MSG-16).
        """
        return encode(self.id, self.timestamp, self.topic, self.headers, self.content)

    @classmethod
    def from_bytes(cls, data: Content, content: bytes | None = None) -> Message:
        """The message in the octets of a message file.

        Raises InvalidMessage (MSG-1 to MSG-14), TypeError.

        Where `content` was read apart, `data` is what is before it in the file.
        """
        if type(data) is not bytes:
            data = as_octets(data, "data").tobytes()
        id, timestamp, topic, headers, content = decode(data, content)
        message = cls.__new__(cls)
        message.id = id
        message.timestamp = timestamp
        message.topic = topic
        message.headers = headers
        message.content = content
        return message

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal, headers as in JSON: True is not 1."""
        if not isinstance(other, Message):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((self.id, self.timestamp, self.topic, self.content))

    def _fields(self) -> tuple[object, ...]:
        headers = {name: (isinstance(v, bool), v) for name, v in self.headers.items()}
        return self.id, self.timestamp, self.topic, self.content, headers

    def __repr__(self) -> str:
        """Says how long the content is; shows the beginning of content and headers."""
        return (
            f"Message(id={self.id}, topic={self.topic!r}, headers={_beginning(repr(self.headers))},"
            f" content={_beginning(repr(self.content[:_SHOWN]))},"
            f" content_length={len(self.content)})"
        )


def _beginning(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _number(number: int, name: str, least: int) -> int:
    """A number of 64 bits as a plain `int`. Raises TypeError and ValueError with its `name`."""
    try:
        number = int.__pos__(operator.index(number))
    except of_system(TypeError):
        raise TypeError(f"{name} is an int, not {type(number).__name__}") from None
    if not least <= number < 2**64:
        raise ValueError(f"{name} is {least} to 2^64 - 1, not {number}")
    return number
