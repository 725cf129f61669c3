"""The lanes of a history: which messages may have been records (inline.md).

A history does not say how a message travelled. In an unmarked channel it was a file. In a marked
one, a large message was a file, and a small one was a record, unless the queue was half full.
"""

from __future__ import annotations

from typing import Final

from pubsub_conformance.oracle.record import LONGEST, WORD

from .events import Publish, Receive

_FIXED: Final = 33
"""Octets of a message file beside topic, headers and content."""

_HEADERS: Final = 64
"""Octets that the headers of a stress message take at most: implementations write them in different
ways."""


def may_be_record(message: Publish | Receive) -> bool:
    """Whether the message is small enough for a record."""
    return _FIXED + len(message.topic) + message.size <= LONGEST


def octets(message: Publish | Receive, marked: bool) -> int:
    """The octets that a message takes in a queue at most.

    A page of a pipe takes no part of a record. So records of up to 1024 octets may leave a quarter
    of each page empty, and a record takes up to a third more than its length.
    """
    if not (marked and may_be_record(message)):
        return WORD
    length = min(LONGEST, _FIXED + len(message.topic) + _HEADERS + message.size)
    return (WORD + length + WORD) * 4 // 3
