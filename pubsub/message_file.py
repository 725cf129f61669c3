"""The message file (spec/message.md): the fields of a message to octets and back. No I/O."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

from .headers import HeaderValue, MalformedHeaders, decode_headers, encode_headers
from .interruption import of_system
from .topics import MAX_TOPIC_OCTETS, InvalidTopic, check_topic

_MAGIC = b"PMSG"
_VERSION = 1
_HEAD = struct.Struct(">4sBQQI")  # magic, version, id, timestamp, length of the topic
_ID = slice(5, 13)
_LENGTH = 4  # octets of each length field
_pack_length = struct.Struct(">I").pack
_SMALLEST = _HEAD.size + 2 * _LENGTH  # topic, headers and content are empty

MAX_FIELD_OCTETS = 2**32 - 1  # of headers and of content (MSG-16)
LARGEST_FILE = _SMALLEST + MAX_TOPIC_OCTETS + 2 * MAX_FIELD_OCTETS  # octets (MSG-13)
SMALL = 2**16  # octets that are sooner copied than read or written apart


class TooLarge(ValueError):
    """The caller's headers or content do not fit into a length field (MSG-16)."""


class InvalidMessage(ValueError):
    """A file in a channel that is not a message (MSG-1 to MSG-14)."""


class Encoded(NamedTuple):
    """The octets of a message file: all of them are in `head`, or a large content is apart.

    A content that is apart was never copied, which costs more than writing or reading it.
    """

    head: bytes
    content: bytes = b""

    @property
    def size(self) -> int:
        """The size of the file in octets."""
        return len(self.head) + len(self.content)

    def with_id(self, id: int) -> Encoded:
        """The same message under another id (PUB-3)."""
        head = self.head[: _ID.start] + id.to_bytes(8, "big") + self.head[_ID.stop :]
        return Encoded(head, self.content)


def as_content(content: object) -> bytes:
    """The octets of a content as plain `bytes`. Raises TypeError, TooLarge."""
    octets = as_octets(content, "content (data of publish)")
    if octets.nbytes > MAX_FIELD_OCTETS:
        raise TooLarge(f"content has {octets.nbytes} octets, more than {MAX_FIELD_OCTETS}")
    return octets.tobytes()


def as_octets(data: object, name: str) -> memoryview:
    """The octets of an object, whatever a subclass of `bytes` makes of them.

    Raises TypeError, which calls the argument by `name`.
    """
    # bytes(5) is five zeros and bytes([1, 2]) a guess: only objects that hold octets are taken.
    if not isinstance(data, (bytes, bytearray, memoryview)):
        remedy = ": call its encode()" if isinstance(data, str) else ""
        raise TypeError(f"{name} must be bytes, not {type(data).__name__}{remedy}")
    return memoryview(data)


def encode(
    id: int, timestamp: int, topic: str, headers: dict[str, HeaderValue], content: bytes
) -> Encoded:
    """The message file with these fields. Raises InvalidHeaders, TooLarge."""
    raw_topic = topic.encode("ascii")
    raw_headers = encode_headers(headers)
    length = len(raw_headers)
    if length > MAX_FIELD_OCTETS:
        raise TooLarge(f"headers have {length} octets, more than {MAX_FIELD_OCTETS}")
    size = len(content)
    if size > MAX_FIELD_OCTETS:
        raise TooLarge(f"content has {size} octets, more than {MAX_FIELD_OCTETS}")
    head = _HEAD.pack(_MAGIC, _VERSION, id, timestamp, len(raw_topic)) + raw_topic
    parts = head, _pack_length(length), raw_headers, _pack_length(size)
    if size <= SMALL:
        return Encoded(b"".join((*parts, content)))
    return Encoded(b"".join(parts), content)


def decode(
    data: bytes, content: bytes | None = None
) -> tuple[int, int, str, dict[str, HeaderValue], bytes]:
    """Id, timestamp, topic, headers and content in a message file. Raises InvalidMessage.

    Where `content` was read apart, `data` is what is before it: see `content_offset`.
    """
    size = len(data) if content is None else len(data) + len(content)
    if size < _SMALLEST:
        raise InvalidMessage(f"{size} octets are too few for a message")
    magic, version, id, timestamp, topic_size = _HEAD.unpack_from(data)
    if magic != _MAGIC:  # MSG-2
        raise InvalidMessage(f"the magic is {magic!r}, not {_MAGIC!r}")
    if version != _VERSION:  # MSG-3
        raise InvalidMessage(f"version {version} is not known, only {_VERSION}")
    if id == 0:  # MSG-4
        raise InvalidMessage("the id is 0")
    # Each offset rests on the length before it. If the last is the end of the file, all are
    # right; nothing of any length is made before that is known (MSG-13, MSG-14).
    headers = _HEAD.size + topic_size + _LENGTH
    begin = headers + int.from_bytes(data[headers - _LENGTH : headers], "big") + _LENGTH
    check_size(begin, data[begin - _LENGTH : begin], size)
    topic = _decode_topic(data[_HEAD.size : headers - _LENGTH])
    try:
        members = decode_headers(data[headers : begin - _LENGTH])
    except of_system(MalformedHeaders) as error:
        raise InvalidMessage(str(error)) from error
    return id, timestamp, topic, members, data[begin:] if content is None else content


def content_offset(head: bytes) -> int:
    """Where the content begins in a large message file that begins with `head`.

    It may be behind the end of `head`. Raises InvalidMessage if the topic is too long for one.
    """
    topic_size = int.from_bytes(head[_HEAD.size - _LENGTH : _HEAD.size], "big")
    if topic_size > MAX_TOPIC_OCTETS:
        raise InvalidMessage(f"a topic of {topic_size} octets is too long")
    headers = _HEAD.size + topic_size + _LENGTH
    return headers + int.from_bytes(head[headers - _LENGTH : headers], "big") + _LENGTH


def check_size(begin: int, length: bytes, size: int) -> None:
    """See that a content of this length, from `begin` on, ends where the file of this size ends.

    Raises InvalidMessage. Only then is memory taken for the content (MSG-13).
    """
    end = begin + int.from_bytes(length, "big")
    if end != size:
        raise InvalidMessage(f"by its lengths it would have {end} octets, not {size}")


@lru_cache(maxsize=1024)  # the same few topics come again and again
def _decode_topic(raw: bytes) -> str:
    try:
        topic = raw.decode("ascii")
        check_topic(topic)
    except of_system(UnicodeDecodeError, InvalidTopic) as error:  # MSG-6
        raise InvalidMessage(f"the topic is invalid: {error}") from error
    return topic
