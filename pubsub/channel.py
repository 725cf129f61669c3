"""Channels: the life of a subscription, and who uses it (spec/channel.md, spec/fetch.md).

Theory of operation
===================

A channel is closed, open, or closing:

    closed --open()--> open --close()--> closing --nobody uses it any more--> closed

It is open while it has an inbox that is open. Descriptors are closed only when no thread uses them:
a number that is closed under a thread that reads from it may by then be another file's. So
`close()` marks the channel as closing, wakes the threads that wait by an id of 0 in the channel's
own queue, and takes the inbox down once they have left. As nobody reads from a closing channel,
that one id wakes all of them.

`fetch` holds the channel's lock from the first step to the last, so each message goes to one
thread only (FETCH-11). `wait` does not hold it: it sleeps, and holds a lock for itself meanwhile.
The channel's lock is re-entrant because a signal handler may call `close()` in the middle of a
`fetch` or `wait` of the same thread. The handler cannot wait for that, so the interrupted call
takes the inbox down. *Busy* shows the handler that it interrupted a use.

Which threads use a channel is known from locks that `with` releases, and from nothing else: an
exception from a signal handler may come between any two steps (see interruption.py), and a flag
would stay set for ever. Such an exception also ends `open` and `close`. An `open` that is ended by
one takes back what it made; a `close` goes on to its end.

A forked child owns none of its parent's channels (owners.py). Each public function looks first
whether this is such a child (process.py).
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn

from . import owners, reaper
from .base import ATTEMPTS, STALE_AGE, make
from .clock import deadline, monotonic, number
from .inbox import Inbox
from .interruption import of_system
from .log import load
from .message import Message
from .place import Place, located
from .process import notice_fork
from .topics import check_pattern
from .waiters import Waiters
from .waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path


class ChannelClosed(RuntimeError):
    """The channel is not open (CHAN-18)."""


class Channel:
    """One subscription: a directory in the base that takes the messages of matching topics.

    Opening makes the directory; closing removes it and deletes its unread messages. A channel may
    be used as a context manager, by several threads, and may be opened again after it was closed.
    """

    _of_bridge = False  # a bridge exports by it (CHAN-23)

    def __init__(self, topic: str, inline: bool = False) -> None:
        """`topic` is a pattern: `=` stands for any one word, `+` for one or more.

        `inline` asks for the inline lane: small messages then travel in the queue itself, without a
        file. Only Linux can do that; elsewhere all messages are files (see `is_inline`).

        Touches no disk. Raises InvalidPattern (TOPIC-2), TypeError.
        """
        if not isinstance(inline, bool):  # a second pattern, most likely
            raise TypeError(
                f"inline is True or False, not {inline!r}: a channel has one pattern; `wait` takes"
                " several channels"
            )
        load()
        self.topic: str = check_pattern(topic)
        self._inline = inline
        self._lock = threading.RLock()
        self._busy = threading.Lock()  # held only by a thread that holds the other
        self._waiters = Waiters()
        self._closing = False
        self._inbox: Inbox | None = None
        self._path = ""

    @property
    def is_open(self) -> bool:
        """Whether the channel is open: it receives messages, and they can be fetched."""
        notice_fork()
        inbox = self._inbox
        return inbox is not None and inbox.is_open and not self._closing

    @property
    def is_inline(self) -> bool:
        """Whether the channel is open, and small messages travel inline to it."""
        inbox = self._inbox
        return inbox is not None and self.is_open and inbox.is_inline

    @property
    def directory_path(self) -> Path:
        """The channel's directory, since it was last opened. Raises ChannelClosed before."""
        if not self._path:
            raise ChannelClosed(f"{self!r} has no directory until it is opened")
        from pathlib import Path

        return Path(self._path)

    def fileno(self) -> int:
        """A descriptor that is readable while a message can be fetched, for select, poll, asyncio.

        Only the channel may read from it. It does not show that the channel is lost: call `fetch`
        once a second as well, which raises ChannelLost then (FETCH-20). Raises ChannelClosed.
        """
        notice_fork()
        try:
            with self._lock:
                if self._busy.locked():  # in a signal handler that interrupted a use
                    return self._opened().fileno()
                with self._busy:
                    return self._opened().fileno()
        finally:
            self._finish()

    def __repr__(self) -> str:
        return f"Channel(topic={self.topic!r}{', inline=True' if self._inline else ''})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a channel cannot be copied or pickled: its queue has one owner (CHAN-4)")

    def __enter__(self) -> Channel:
        self.open()
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    # --- opening and closing ---

    def open(self) -> None:
        """Make the channel's directory and begin to receive. Does nothing if it is open.

        Removes what dead processes left in the base (REAP-1). Raises BaseUnusable, OSError;
        nothing is left on disk then (CHAN-21).
        """
        notice_fork()
        with self._lock:
            if self._busy.locked():
                raise self._inside()
            if self._closing:
                raise self._closed()
            if not self.is_open:
                self._open()
        self._finish()

    def _open(self) -> None:
        """Open a closed channel. The caller holds the lock."""
        try:
            reaper.reap()  # REAP-1
        except of_system(OSError):
            pass  # an error of the base will come again as it is made
        for _ in range(ATTEMPTS):
            with self._busy:
                error = self._make()
            if error is None:
                return
            if not isinstance(error, (FileNotFoundError, FileExistsError)):
                raise error
        raise OSError(
            errno.EAGAIN, f"{ATTEMPTS} new directories were removed in turn", Place.here().path
        )

    def _make(self) -> OSError | None:
        """Make an inbox. Returns the system's error; nothing of it is left then (CHAN-21)."""
        with owners.lock:
            try:
                if self._inbox:
                    self._take_down()
                owners.owners.add(self)
                self._inbox = inbox = Inbox(
                    make(), self.topic, self._inline, self._waiters, self._of_bridge
                )
                error = inbox.make()
                if error:
                    self._take_down()
                else:
                    self._path = inbox.path
                    inbox.is_open = True
                return error
            except BaseException:
                self._take_down()
                raise

    def close(self) -> None:
        """Stop receiving, and remove the directory with its unread messages (CHAN-14).

        Wakes the threads that wait for a message. Does nothing if the channel is closed. Raises
        OSError if the directory could not be removed; the channel is closed nevertheless.
        """
        notice_fork()
        try:
            with self._lock:
                self._closing = self._inbox is not None
            self._finish()
        except BaseException:
            self._finish()
            raise

    def _finish(self) -> None:
        """Take a closing channel down as soon as nobody uses it.

        Does nothing in a signal handler that interrupted a use by this thread: that use does it.
        """
        while self._closing:
            waiting: threading.Lock | None = None
            with self._lock:
                if self._busy.locked():
                    return
                with self._busy:
                    if not self._closing:  # a signal handler was faster
                        return
                    threads = self._waiters.threads()
                    if not threads:
                        path = self._inbox.path if self._inbox else ""
                        error = self._take_down()
                        if error:
                            raise located(error, path)
                        return
                    if self._inbox:
                        self._inbox.wake()
                    if threading.get_ident() in threads:
                        return
                    waiting = next(iter(threads.values()))
            with waiting:
                pass  # it has left

    def _take_down(self) -> OSError | None:
        """Remove the inbox, if there is one, and drop it. Returns the system's error.

        The caller holds both locks. Each step may be repeated.
        """
        error = None
        inbox = self._inbox
        if inbox:
            error = inbox.hide()
            with owners.lock:
                inbox.close()
            error = inbox.remove() or error
        owners.owners.discard(self)
        self._inbox = None
        self._closing = False
        return error

    def _disown(self) -> None:
        """Let go of the parent's channel, in a forked child."""
        if self._inbox:
            self._inbox.abandon()
        self._inbox = None
        self._closing = False
        self._waiters.clear()
        self._lock = threading.RLock()  # a thread of the parent may hold the locks
        self._busy = threading.Lock()

    def _inside(self) -> RuntimeError:
        return RuntimeError(f"{self!r} is used in a signal handler that interrupted its use")

    def _opened(self) -> Inbox:
        """The inbox of an open channel. Raises ChannelClosed."""
        inbox = self._inbox
        if inbox is None or not inbox.is_open or self._closing:
            raise self._closed()
        return inbox

    def _closed(self) -> ChannelClosed:
        return ChannelClosed(f"{self!r} is not open: call open(), or use `with`")

    # --- receiving ---

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Sleep until a message can be fetched (True) or the time is over (False).

        `timeout_seconds` are seconds; None waits for ever, 0 does not wait. Raises ChannelClosed,
        also when another thread closes the channel meanwhile; ChannelLost (FETCH-14); TypeError,
        and ValueError for NaN.
        """
        return bool(wait_for([self], timeout_seconds))

    def _begin_wait(self, held: threading.Lock) -> Inbox:
        """This thread waits for messages, and holds that lock meanwhile. Raises ChannelClosed."""
        with self._lock:
            self._waiters.register(held)  # before the look at the hand (INLINE-20)
            inbox = self._opened()
            if not self._busy.locked():
                with self._busy:
                    inbox.hand.settle()
        return inbox

    def get(self, timeout_seconds: float | None = None) -> Message | None:
        """The next message: it waits for one. None: the time is over.

        `timeout_seconds` are seconds; None waits for ever, 0 does not wait. Raises what `wait` and
        `fetch` raise. After InvalidMessage and DamagedQueue, the next call goes on.
        """
        end = deadline(timeout_seconds, "timeout_seconds")
        while True:
            message = fetch(self)
            if message is not None:
                return message
            left = end - monotonic()
            if left <= 0 or not self.wait(left):
                return None

    def __iter__(self) -> Iterator[Message]:
        """The messages, until the channel is closed, by another thread or by the loop's body.

        Raises ChannelClosed if the channel is not open when the iteration begins; ChannelLost,
        InvalidMessage, DamagedQueue and OSError, as `get` does. An exception ends an iteration; a
        new one goes on behind it.
        """
        notice_fork()
        self._opened()
        return self._messages()

    def _messages(self) -> Iterator[Message]:
        while True:
            try:
                message = self.get()
            except of_system(ChannelClosed):
                break
            if message is not None:
                yield message

    def _next(self) -> Message | None:
        """The next message. The caller holds both locks."""
        inbox = self._opened()
        try:
            if not inbox.hand.take():
                inbox.when_empty()
                return None
            message = inbox.take_message()
            if message is None:
                return self._pass_over(inbox)
            inbox.hand.drop()
            return message
        except BaseException:
            inbox.show_hand()  # what stays in it
            raise

    def _pass_on(self, take: Callable[[Message], object]) -> bool:
        """Have `take` called with the next message, which is in hand until it returns.

        False: there is none. If a signal handler raises an exception, the same message may come
        again. Raises what `fetch` raises.
        """
        notice_fork()
        try:
            with self._lock:
                if self._busy.locked():
                    raise self._inside()
                with self._busy:
                    inbox = self._opened()
                    if not inbox.hand.take():
                        inbox.when_empty()
                        return False
                    message = inbox.take_message()
                    if message is not None:
                        take(message)
                        inbox.hand.drop()
                    return True
        finally:
            self._finish()

    def _pass_over(self, inbox: Inbox) -> Message | None:
        """The next message, behind a word that has none."""
        for _ in range(inbox.waiting() + 1):  # FETCH-22: what is written now is for the next fetch
            if not inbox.hand.take():
                inbox.when_empty()
                break
            message = inbox.take_message()
            if message is not None:
                inbox.hand.drop()
                return message
        return None

    def sweep(self, stale_age: float = STALE_AGE) -> None:
        """Remove orphans: message files whose id is not in the queue (FETCH-17).

        They must be `stale_age` seconds old or older, and queue and hand must be empty.
        Raises ChannelClosed, ChannelLost, OSError, TypeError, ValueError.
        """
        notice_fork()
        stale_age = number(stale_age, "stale_age")
        try:
            with self._lock:
                if self._busy.locked():
                    raise self._inside()
                with self._busy:
                    self._opened().sweep(stale_age)
        finally:
            self._finish()


def check_channel(channel: object) -> None:
    """Raise TypeError if an argument is no channel."""
    if not isinstance(channel, Channel):
        # The whole name: that of pubsub.aio is a Channel, too.
        raise TypeError(f"channel is a pubsub.Channel, not {type(channel)!r}")


def fetch(channel: Channel) -> Message | None:
    """The next message of an open channel, or None if there is none. Does not wait.

    Raises ChannelClosed; InvalidMessage and DamagedQueue, after which the next fetch goes on;
    ChannelLost; and OSError for errors of the system, after which the next fetch tries the same
    message again (FETCH-8).
    """
    check_channel(channel)
    notice_fork()
    try:
        with channel._lock:
            if channel._busy.locked():
                raise channel._inside()
            with channel._busy:
                return channel._next()
    finally:
        if channel._closing:  # by a signal handler
            channel._finish()
