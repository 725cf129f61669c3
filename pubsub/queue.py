"""The queue of a channel (spec/channel.md): how it is opened, and the words in it. No I/O."""

from __future__ import annotations

import os

READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY
"""Flags for reading a queue or a message file: no waiting, no symbolic link (CHAN-8)."""

WRITE = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY
"""Flags for opening a queue for writing, or for looking whether it has a reader (CHAN-9)."""

WORD_OCTETS = 8

WAKE_UP = bytes(WORD_OCTETS)
"""The word 0: its owner writes it to wake the threads that wait (FETCH-10)."""


def word(id: int) -> bytes:
    """The word that announces the message with this id (PUB-9)."""
    return id.to_bytes(WORD_OCTETS, "big")
