"""Who waits for the messages of one channel: threads that sleep, and polls of the program's own."""

from __future__ import annotations

import threading


class Waiters:
    """The threads that wait, and whether the program polls the queue itself.

    A thread waits while it holds the lock that it has registered: a `with` releases that, whatever
    ends the wait (interruption.py).
    """

    def __init__(self) -> None:
        self.program_polls = False
        self._registered: list[tuple[int, threading.Lock]] = []

    def register(self, held: threading.Lock) -> None:
        """This thread waits, and holds that lock meanwhile. The caller holds the channel's lock."""
        self._registered = [*filter(lambda waiting: waiting[1].locked(), self._registered)]
        self._registered.append((threading.get_ident(), held))

    def threads(self) -> dict[int, threading.Lock]:
        """The threads that wait, with a lock that each of them holds."""
        return {thread: held for thread, held in self._registered if held.locked()}

    def __bool__(self) -> bool:
        """Whether anybody waits, who sees the queue, but not what is in hand (INLINE-20).

        That may be this very thread: a signal handler that interrupted its wait may fetch.
        """
        return self.program_polls or bool(self.threads())

    def clear(self) -> None:
        """Forget the threads: a forked child has none of them."""
        self._registered = []
