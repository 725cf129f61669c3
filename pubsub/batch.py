"""The hand of a marked channel: ids and records, of which one read fetches many (spec/inline.md).

The state is one tuple, which one assignment replaces: the octets in hand, how many of them were
used, and a list of what was read since. The call that reads also stores, into that list, so no
exception of a signal handler loses a batch (interruption.py).

A thread that sleeps in `poll` sees the queue, but not what another thread has in hand. So a batch
of more than one message is announced by a word 0 in the queue (INLINE-20). This comes before
anything else: it is owed as long as the list holds something, and only then are the octets joined.
"""

from __future__ import annotations

from collections.abc import Callable

from .hand import DamagedQueue, Hand
from .queue import LENGTH_OCTETS, LONGEST_MESSAGE, SHORTEST_MESSAGE, WORD_OCTETS, heading

_LARGEST = 65_536  # octets in hand (INLINE-19)
_State = tuple[bytes, int, "list[bytes | None]"]


class Batch(Hand):
    """What is in hand of a marked channel. Its first item is taken, used, and dropped."""

    __slots__ = ("_announce", "_end", "_heading", "_state")

    def __init__(
        self,
        read_end: int,
        directory: int,
        check: Callable[[], None],
        path: str,
        announce: Callable[[], None],
    ) -> None:
        """As a hand; `path` is that of the channel. `announce` wakes those who wait elsewhere."""
        super().__init__(read_end, directory, check)
        self._heading = heading(path)
        self._announce = announce
        self._state: _State = (b"", 0, [])
        self._end = 0  # of the item that was taken

    def __bool__(self) -> bool:
        """Whether there is anything in hand: a part of a record, too, is soon known as damage."""
        data, at, reads = self._state
        return at < len(data) or any(reads)

    @property
    def id(self) -> int:
        """The id that was taken; 0 for a wake-up."""
        data, at, _ = self._state
        return int.from_bytes(data[at : self._end], "big")

    @property
    def words(self) -> int:
        """How many words there are in hand."""
        data, at, _ = self._state
        return (len(data) - at) // WORD_OCTETS

    def take(self) -> bool:
        """Take the first item in hand, or of the queue: an id, or a record, which `record` shows.

        False: the queue is empty. Raises DamagedQueue.
        """
        data, at, reads = self._state
        return (not reads and self._is_whole(data, at)) or self._read_on()

    def _is_whole(self, data: bytes, at: int) -> bool:
        """Whether the item at `at` is all there. If it is, it is taken."""
        begin = at + WORD_OCTETS
        if data.startswith(self._heading, at):  # INLINE-8
            size = int.from_bytes(data[begin - LENGTH_OCTETS : begin], "big")
            if SHORTEST_MESSAGE <= size <= LONGEST_MESSAGE:
                self.record = data[begin : begin + size]
                self._end = end = begin + size + -size % WORD_OCTETS
                return end <= len(data)
        self.record = None
        self._end = begin
        return begin <= len(data)

    def _read_on(self) -> bool:
        """Take the first item, for which the queue has to be read."""
        while True:
            self.settle()
            data, at, reads = self._state
            if self._is_whole(data, at):
                return True
            left = len(data) - at
            reads.extend(map(self._queue.read, (_LARGEST - left,)))
            if not reads[-1]:  # EAGAIN: only that is the end of the queue (INLINE-10)
                self._state = (b"", 0, [])
                if not left:
                    return False
                self._check()
                raise DamagedQueue(f"{left} octets at the end of the queue are no id and no record")

    def settle(self) -> None:
        """Announce what was read, and have it behind what was in hand."""
        data, at, reads = self._state
        if reads:
            data = data[at:] + b"".join(filter(None, reads))
            if not self._is_whole(data, 0) or self._end < len(data):
                self._announce()
            self._state = (data, 0, [])

    def drop(self) -> None:
        """Pass over the item that was taken: it is fetched, or given up."""
        data, _, reads = self._state
        self.message = None
        self._state = (data, self._end, reads)
