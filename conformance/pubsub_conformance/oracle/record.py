"""The oracle's records: messages in the queue of a marked channel, written from inline.md."""

from __future__ import annotations

import contextlib
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .message import Message, encode
from .queue import enqueue

MARKER = "inline"
"""The name of the entry that marks a channel."""

SHORTEST, LONGEST = 34, 1016
"""The lengths that a message in a record may have, in octets."""

WORD = 8
"""The octets of a word, of which a queue is a row."""

RECORD = b"\x80\0"
"""What a record begins with, before the characters of its channel."""


@dataclass(frozen=True)
class Record:
    """A whole record in a queue. The octets need not be a message."""

    octets: bytes


@dataclass(frozen=True)
class Cut:
    """What is left at the end of a queue: no whole word, or no whole record."""

    octets: bytes


Part = int | Record | Cut
"""A part of a queue. An integer is an id, or 0."""


def characters(channel_dir: Path) -> bytes:
    """The first four of the twelve fresh characters in the channel's name."""
    _, fresh, _ = channel_dir.name.rsplit("_", 2)
    return fresh[:4].encode()


def record(channel_dir: Path, octets: bytes) -> bytes:
    """The record of these octets for this channel, header and padding included."""
    header = RECORD + struct.pack(">4sH", characters(channel_dir), len(octets))
    return header + octets + bytes(-len(octets) % WORD)


def length_of(word: bytes, four: bytes) -> int | None:
    """How many octets follow a word that begins a record, with the padding; None for an id.

    `four` are the characters of the channel.
    """
    bits, key, n = struct.unpack(">H4sH", word)
    if bits != 0x8000 or key != four or not SHORTEST <= n <= LONGEST:
        return None
    return int(n + -n % WORD)


def words(data: bytes) -> Iterator[Part]:
    """The parts of all that the queue of an unmarked channel held, in order."""
    for at in range(0, len(data), WORD):
        word = data[at : at + WORD]
        yield Cut(word) if len(word) < WORD else int.from_bytes(word, "big")


def parts(data: bytes, channel_dir: Path) -> Iterator[Part]:
    """The parts of all that the queue of a marked channel held, in order."""
    four = characters(channel_dir)
    while data:
        word, data = data[:WORD], data[WORD:]
        if len(word) < WORD:
            yield Cut(word)
            return
        length = length_of(word, four)
        if length is None:
            yield int.from_bytes(word, "big")
        elif len(data) < length:
            yield Cut(word + data)
            return
        else:
            yield Record(data[: int.from_bytes(word[6:], "big")])
            data = data[length:]


def send(channel_dir: Path, message: Message | bytes) -> None:
    """Write a record of a message, or of these octets, to a queue. Raises OSError."""
    octets = encode(message) if isinstance(message, Message) else message
    enqueue(channel_dir, record(channel_dir, octets))


def is_marked(channel_dir: Path) -> bool:
    """Whether a publisher may write records to this channel (INLINE-5)."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        marker, queue = (channel_dir / MARKER).lstat(), (channel_dir / "queue").lstat()
        return stat.S_ISREG(marker.st_mode) and marker.st_uid == queue.st_uid
    return False
