"""The queue of a channel (spec/channel.md, spec/inline.md): its words and records. No I/O."""

from __future__ import annotations

import os
import struct

READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY
"""Flags for reading a queue or a message file: no waiting, no symbolic link (CHAN-8)."""

WRITE = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY
"""Flags for opening a queue for writing, or for looking whether it has a reader (CHAN-9)."""

WORD_OCTETS = 8

WAKE_UP = bytes(WORD_OCTETS)
"""The word 0: its owner writes it to wake the threads that wait (FETCH-10)."""

MARKER = "inline"
"""The empty file in a channel whose queue takes records (INLINE-1)."""

BRIDGE_MARKER = "bridge"
"""The empty file in a channel by which a bridge exports (CHAN-23)."""

SHORTEST_MESSAGE = 34
"""Octets of a message file with a topic of one character, and without headers and content."""

LONGEST_MESSAGE = 1016
"""Octets of the longest message file that travels as a record (INLINE-8)."""

LONGEST_RECORD = WORD_OCTETS + LONGEST_MESSAGE

HEADING_OCTETS = 6
"""The first octets of a record, which are the channel's."""

LENGTH_OCTETS = 2
"""The length of the message is the end of the word with which a record begins."""


word = struct.Struct(">Q").pack
"""The word that announces the message with this id (PUB-9)."""


def heading(path: str) -> bytes:
    """The first octets of each record in the queue of the channel at this path (INLINE-6).

    Four fresh characters of its name are in them: who publishes foreign content cannot know them.
    """
    return b"\x80\x00" + path.rsplit("_", 2)[1][:4].encode()


_length = struct.Struct(">H").pack


def body(message: bytes) -> bytes:
    """What follows the heading in a record: the length, the message file, the padding."""
    size = len(message)
    return _length(size) + message + bytes(-size % WORD_OCTETS)
