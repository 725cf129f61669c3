"""What was read from a queue and is not fetched yet.

The id that was read from the queue is *in hand* until the fetch has its message, or knows that
there is none. Whatever interrupts a fetch, an error of the system or a signal handler, the next one
begins with the id in hand (FETCH-8), and with the message if that was read already.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from functools import partial

from . import queue
from .interruption import Descriptors
from .message import Message


class DamagedQueue(ValueError):
    """The queue held octets that are no whole id or record. They were discarded (FETCH-9)."""


class Hand:
    """The id that is in hand, its file while that is open, and its message once it was read."""

    __slots__ = ("_check", "_queue", "_word", "file", "message", "open", "record")

    def __init__(self, read_end: int, directory: int, check: Callable[[], None]) -> None:
        """Descriptors of the queue and of the directory, which the caller closes.

        `check` raises ChannelLost if the program has closed them.
        """
        self._queue = io.FileIO(read_end, closefd=False)
        self._check = check
        self._word = bytearray(8)
        self.file: Descriptors = Descriptors()
        # Opens a file of the directory by name. Who calls it holds the descriptor in `file`.
        self.open = partial(os.open, flags=queue.READ, dir_fd=directory)
        self.message: Message | None = None
        self.record: bytes | None = None  # the message file of a record: none, in this hand

    def __bool__(self) -> bool:
        """Whether there is an id in hand."""
        return any(self._word)

    @property
    def id(self) -> int:
        """The id in hand; 0 if there is none."""
        return int.from_bytes(self._word, "big")

    @property
    def words(self) -> int:
        """How many words there are in hand, behind an id that was given up."""
        return 0

    def settle(self) -> None:
        """Announce what was read, if that was not done yet: only a batch has to (batch.py)."""

    def take(self) -> bool:
        """Take the next id into an empty hand. False: the queue is empty. Raises DamagedQueue."""
        if not any(self._word):
            size = self._queue.readinto(self._word)
            if size is None:
                return False
            if size < queue.WORD_OCTETS:  # the queue holds no more: PUB-9
                self.drop()
                self._check()
                raise DamagedQueue(f"{size} octets in the queue are no id")
        return True

    def drop(self) -> None:
        """Empty the hand: its id is fetched, or given up."""
        self.message = None
        self._word[:] = queue.WAKE_UP
