"""Channels: one subscription's life on disk (spec/channel.md, spec/fetch.md).

Theory of operation
===================

A channel is closed, open, or closing:

    closed --open()--> open --close()--> closing --nobody uses it any more--> closed

Descriptors are closed only when no thread uses them: a number that is closed under a thread that
reads from it may by then be somebody else's file. `close()` therefore marks the channel as
closing, wakes whoever waits by an id of 0 in the channel's own queue, and takes the channel down
once they have left. As nobody reads from a closing channel, that one id wakes every waiter.

`fetch` holds the channel's lock from the first step to the last, so each message goes to one
thread only (FETCH-11). `wait` does not hold it: it sleeps, and holds a lock of its own meanwhile.
The channel's lock is re-entrant because a signal handler may call `close()` in the middle of a
`fetch` or `wait` of the same thread; that cannot be waited for, so it is then what takes the
channel down. *Busy* tells such a handler that it interrupted something.

Who uses a channel is told by locks that `with` releases, and by nothing else: an exception from
a signal handler, a Ctrl-C, may come between any two steps, those of a `finally` included, and a
note that one is inside would stay for ever. Loops inside such a `with` are functions of their own:
CPython 3.12 and 3.13 leave a `with` without its exit where a signal comes as a `while` turns.

The id that was read from the queue is *in hand* until its fate is decided. Whatever interrupts a
fetch, an error of the system or a Ctrl-C, the next one begins with the id in hand (FETCH-8). It
is read right into the hand, for between a read and an assignment there is room for a Ctrl-C.

Everything in the channel's directory is reached by name from a descriptor of the directory that
was made at the opening: whoever may write into the base may put another in its place, or a
symbolic link that leads out of the base (BASE-15).

A forked child owns none of its parent's channels. Its copies of the descriptors are closed, so
that they do not make the parent's channels look alive for longer than they are.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import io
import logging
import math
import os
import re
import select
import stat
import termios
import threading
import time
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from . import base as _base
from . import reaper
from .base import ATTEMPTS, STALE_AGE, WRITE_QUEUE, Base, fresh_in_tmp, fresh_name, is_there
from .message import MAX_OCTETS, SMALL, InvalidMessage, Message, content_offset
from .topics import check_pattern

_logger = logging.getLogger("pubsub")

_LOOK_SECONDS = 0.5  # FETCH-14: how often an idle owner looks whether its directory is there
_SWEEP_SECONDS = 600.0  # FETCH-16: how often an idle owner looks for orphans
_LARGEST_FILE = 33 + 200 + 2 * MAX_OCTETS  # no message file is larger (MSG-13)
_LARGE_FILE = 2**26  # what cannot be held of that size is not tried again
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY


class ChannelClosed(RuntimeError):
    """The channel is not open (CHAN-18)."""


class ChannelLost(OSError):
    """The channel's directory was taken away; nobody can write to it any more (FETCH-14)."""


class DamagedQueue(ValueError):
    """The queue held octets that are no whole id. They were discarded (FETCH-9)."""


class Channel:
    """One subscription: a directory in the base that takes the messages of matching topics.

    Opening makes the directory, closing removes it with everything unread. May be used as a
    context manager, by several threads, and opened again after it was closed.
    """

    def __init__(self, topic: str) -> None:
        """`topic` is a pattern: `=` stands for any one word, `+` for one or more.

        Touches no disk. Raises InvalidPattern (TOPIC-2).
        """
        check_pattern(topic)
        self.topic = topic
        self._lock = threading.RLock()
        self._busy = threading.Lock()  # held only by who holds the other
        self._waiting: list[tuple[int, threading.Lock]] = []  # threads, and what they hold
        self._closing = False
        self._read = self._write = self._place = -1
        self._ids: io.FileIO | None = None
        self._hand = bytearray(8)
        self._base: Base | None = None
        self._path = ""
        self._queue = self._directory = (0, 0)
        self._lost = False
        self._next_look = self._next_sweep = 0.0

    @property
    def is_open(self) -> bool:
        return self._read >= 0 and not self._closing

    @property
    def directory_path(self) -> Path:
        """The channel's directory, since it was last opened. Raises ChannelClosed before."""
        if not self._path:
            raise ChannelClosed(f"{self!r} has no directory until it is opened")
        return Path(self._path)

    def fileno(self) -> int:
        """A descriptor that is readable while messages wait, for select, poll and asyncio.

        Only the channel may read from it. Raises ChannelClosed.
        """
        if not self.is_open:
            raise self._closed()
        return self._read

    def __repr__(self) -> str:
        return f"Channel(topic={self.topic!r})"

    def __enter__(self) -> Channel:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- opening and closing ---

    def open(self) -> None:
        """Make the channel's directory and begin to receive. Does nothing if it is open.

        Removes what dead processes left in the base (REAP-1). Raises BaseUnusable, OSError.
        """
        with self._lock:
            self._not_inside()
            if self._closing:
                raise self._closed()
            if self._read >= 0:
                return
            with suppress(OSError):  # REAP-1; what is wrong with the base, making it will tell
                reaper.reap()
            for _ in range(ATTEMPTS):
                with suppress(FileNotFoundError, FileExistsError), self._busy:
                    if self._make():
                        break
            else:
                raise OSError(errno.EAGAIN, f"{ATTEMPTS} new directories were taken away in turn")
        self._finish()

    def _make(self) -> bool:
        """The steps of opening (spec/channel.md). False, or an error of existence: start again."""
        base = _base.make()
        made = fresh_in_tmp()
        path = f"{base.path}/{self.topic}_{fresh_name()}_{os.getpid()}"
        tmp = place = read = write = -1
        visible = ours = False
        with _registry_lock:  # a fork finds every descriptor registered, or not yet made
            try:
                tmp = base.open_tmp()
                place = base.make_directory(tmp, made)
                base.make_queue(place, made)
                read = os.open("queue", _READ, dir_fd=place)
                base.share_queue(read)
                write = os.open("queue", WRITE_QUEUE, dir_fd=place)  # CHAN-6, CHAN-7
                queue = _identity(os.fstat(read))
                directory = _identity(os.fstat(place))
                try:
                    os.rename(made, path, src_dir_fd=tmp)  # CHAN-10
                except OSError as error:
                    if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):  # the name is taken
                        raise FileExistsError(error.errno, error.strerror, path) from error
                    raise
                visible = True
                visible = ours = _identity(os.lstat(f"{path}/queue")) == queue  # CHAN-12
            finally:
                if not ours:
                    for descriptor in (read, write):
                        if descriptor >= 0:
                            os.close(descriptor)
                    _take_back(tmp, made, place, path if visible else None)
                if tmp >= 0:
                    os.close(tmp)
            if ours:
                self._read, self._write, self._place = read, write, place
                self._base, self._path = base, path
                self._queue, self._directory = queue, directory
                self._ids = io.FileIO(read, closefd=False)
                self._hand[:] = bytes(8)
                self._lost = False
                now = time.monotonic()
                self._next_look, self._next_sweep = now + _LOOK_SECONDS, now + _SWEEP_SECONDS
                _open_channels.add(self)
        return ours

    def close(self) -> None:
        """Stop receiving and remove the directory with all that is unread (CHAN-14).

        Whoever waits for a message in another thread is woken. Does nothing if the channel is
        closed. Raises OSError if the directory could not be removed; it is closed all the same.
        """
        with self._lock:
            self._closing = self._read >= 0
        self._finish()

    def _finish(self) -> None:
        """Take a closing channel down as soon as nobody uses it.

        In a signal handler that interrupted a use of this very thread: leave it to that.
        """
        while self._closing:
            with self._lock:
                if self._busy.locked():
                    return
                with self._busy:
                    if self._read < 0:  # a signal handler closed it while close() began
                        self._closing = False
                    if not self._closing:
                        return
                    waiting = [(thread, held) for thread, held in self._waiting if held.locked()]
                    if not waiting:
                        self._take_down()
                        return
                    with suppress(BlockingIOError):  # a full queue wakes everybody, too
                        os.write(self._write, bytes(8))
            if any(thread == threading.get_ident() for thread, _ in waiting):
                return
            with waiting[0][1]:
                pass  # it has left

    def _take_down(self) -> None:
        base, descriptors = self._base, (self._read, self._write, self._place)
        assert base is not None
        try:
            try:
                if _identity(os.lstat(self._path)) != self._directory:
                    return  # CHAN-20
                tmp, claimed = reaper.claim(base, self._path)
            finally:
                with _registry_lock:  # a fork finds every descriptor registered, or closed
                    self._read = self._write = self._place = -1
                    self._closing = False
                    _open_channels.discard(self)
                    for descriptor in descriptors:
                        os.close(descriptor)
            try:
                reaper.remove(tmp, claimed)
            finally:
                os.close(tmp)
        except FileNotFoundError:
            pass  # the base, or this channel, was taken away

    def _not_inside(self) -> None:
        """The caller holds the lock."""
        if self._busy.locked():
            raise RuntimeError(f"{self!r} is used in a signal handler that interrupted its use")

    def _closed(self) -> ChannelClosed:
        return ChannelClosed(f"{self!r} must be open")

    # --- receiving ---

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Sleep until a message can be fetched (True) or the time is over (False).

        Raises ChannelClosed, also when another thread closes the channel meanwhile; ChannelLost.
        """
        deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        held = threading.Lock()
        try:
            with held:
                with self._lock:
                    self._waiting = [other for other in self._waiting if other[1].locked()]
                    self._waiting.append((threading.get_ident(), held))
                    if not self.is_open:
                        raise self._closed()
                return self._sleep(deadline)
        finally:
            self._finish()

    def _sleep(self, deadline: float) -> bool:
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        while not any(self._hand):
            left = max(0.0, deadline - time.monotonic())
            ready = poll.poll(math.ceil(min(left, _LOOK_SECONDS) * 1000))
            if self._closing:
                raise self._closed()
            if ready:
                break
            self._look()
            if left == 0:
                return False
        return True

    def _look(self) -> None:
        """Raise ChannelLost if the directory is gone (FETCH-14).

        By path: a base that was renamed takes the queue along, unchanged but out of reach.
        """
        if not self._lost:
            try:
                self._lost = _identity(os.lstat(f"{self._path}/queue")) != self._queue
            except (FileNotFoundError, NotADirectoryError):
                self._lost = True
            except OSError:
                return  # not known; the next look may tell
        if self._lost:
            raise ChannelLost(errno.ENOENT, "the channel's directory is gone", self._path)

    def _next(self) -> Message | None:
        if not self.is_open:
            raise self._closed()
        left: int | None = None
        while left != 0:
            if not self._take_id():
                self._when_empty()
                break
            message = self._take_message()
            if message is not None:
                return message
            left = self._queued() if left is None else left - 1
        return None

    def _queued(self) -> int:
        """How many ids a fetch has yet to see: not what is written meanwhile (FETCH-22)."""
        octets = array("i", [0])
        fcntl.ioctl(self._read, termios.FIONREAD, octets)
        return octets[0] // 8 + 1

    def _when_empty(self) -> None:
        """What an owner does now and then when its queue is empty."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            self._look()
            if now >= self._next_sweep:
                self._next_sweep = now + _SWEEP_SECONDS
                self._sweep(STALE_AGE)

    def sweep(self, stale_age: float = STALE_AGE) -> None:
        """Remove orphans: files that are stale and of which no id tells (FETCH-17)."""
        try:
            with self._lock:
                self._not_inside()
                with self._busy:
                    if not self.is_open:
                        raise self._closed()
                    self._sweep(stale_age)
        finally:
            self._finish()

    def _sweep(self, stale_age: float) -> None:
        stale_before = time.time() - stale_age
        stale = []
        with os.scandir(self._place) as entries:
            for entry in entries:
                if _is_message_name(entry.name):
                    with suppress(FileNotFoundError):
                        if entry.stat(follow_symlinks=False).st_ctime < stale_before:
                            stale.append(entry.name)
        # Only now: an id that was written before the listing is seen, or was fetched.
        if stale and not any(self._hand) and not _is_readable(self._read):
            for name in stale:
                with suppress(FileNotFoundError, IsADirectoryError):
                    os.unlink(name, dir_fd=self._place)

    def _take_id(self) -> bool:
        """Take an id out of the queue into the hand. False: the queue is empty."""
        assert self._ids is not None
        if not any(self._hand):
            size = self._ids.readinto(self._hand)
            if size is None:
                return False
            if size < 8:  # all that there was: every good write is a whole id (PUB-9)
                self._hand[:] = bytes(8)
                raise DamagedQueue(f"{size} octets in the queue are no id")
        return True

    def _take_message(self) -> Message | None:
        """The message whose id is in hand. None: there is no such file (FETCH-3)."""
        id = int.from_bytes(self._hand, "big")
        if not id:  # FETCH-10
            return None
        name = str(id)
        try:
            file = os.open(name, _READ, dir_fd=self._place)
        except (FileNotFoundError, NotADirectoryError):
            self._hand[:] = bytes(8)
            return None
        except OSError as error:
            if not is_there(name, bool, self._place):  # the error was not about this file
                self._hand[:] = bytes(8)
                return None
            if not is_there(name, stat.S_ISREG, self._place):  # FETCH-7
                raise self._rejected(name, "it is not a regular file") from error
            if error.errno == errno.EACCES and _denies_reading(name, self._place):
                raise self._rejected(name, "it may not be read") from error
            raise  # FETCH-8
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):  # FETCH-7
                raise self._rejected(name, "it is not a regular file")
            if status.st_size > _LARGEST_FILE:
                raise self._rejected(name, f"{status.st_size} octets are too many for a message")
            data, content = _read_message(file, status.st_size)
        except MemoryError as error:
            if status.st_size < _LARGE_FILE:
                raise  # it will pass
            raise self._rejected(name, "it does not fit into memory") from error
        finally:
            os.close(file)
        try:
            message = Message.from_bytes(data, content)
        except InvalidMessage as error:
            raise self._rejected(name, str(error)) from error
        if message.id != id:  # FETCH-6
            raise self._rejected(name, f"it holds the message {message.id}")
        self._discard(name)
        return message

    def _rejected(self, name: str, reason: str) -> InvalidMessage:
        """Remove what is not a message (FETCH-5)."""
        self._discard(name)
        return InvalidMessage(f"{self._path}/{name}: {reason}")

    def _discard(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._place)
        except (FileNotFoundError, IsADirectoryError):
            pass  # a directory goes with the channel
        except OSError as error:
            # The message was fetched; that its file stays until the channel closes is no reason
            # to withhold it.
            _logger.warning("%s/%s cannot be removed: %s", self._path, name, error.strerror)
        self._hand[:] = bytes(8)


def fetch(channel: Channel) -> Message | None:
    """The next message of an open channel, or None if there is none. Does not wait.

    Raises ChannelClosed; InvalidMessage and DamagedQueue, after which the next fetch goes on;
    ChannelLost; and OSError for the system's failures, after which the next fetch tries the same
    message again.
    """
    try:
        with channel._lock:
            channel._not_inside()
            with channel._busy:
                return channel._next()
    finally:
        if channel._closing:  # by a signal handler
            channel._finish()


def subscribe(
    channel: Channel, callback: Callable[[Message], object], timeout_seconds: float = 0
) -> int:
    """Call `callback` with each message of an open channel, for `timeout_seconds`; 0: for ever.

    Returns the number of messages, when the time is over or the channel is closed, by the
    callback or another thread. An exception of the callback is logged and does not end the loop;
    nor does a file that is not a message. Takes over no signals: Ctrl-C raises KeyboardInterrupt.
    Raises ValueError for a negative time, ChannelClosed, ChannelLost, OSError.
    """
    if not timeout_seconds >= 0:
        raise ValueError("timeout_seconds must be non-negative")
    if not channel.is_open:
        raise channel._closed()
    deadline = time.monotonic() + timeout_seconds if timeout_seconds else math.inf
    count = 0
    while (left := deadline - time.monotonic()) > 0:
        try:
            message = fetch(channel)
            if message is None:
                channel.wait(None if left == math.inf else left)
                continue
        except ChannelClosed:
            break
        except (InvalidMessage, DamagedQueue) as error:
            _logger.error("%r received what is not a message: %s", channel, error)
            continue
        count += 1
        try:
            callback(message)
        except Exception:
            _logger.exception("callback of %r failed on %r", channel, message)
    return count


def _read_message(file: int, size: int) -> tuple[bytes, bytes | None]:
    """A message file; the content of a large one apart: a copy costs more than reading it did."""
    if size <= SMALL:
        return _read_all(file, size), None
    head = os.read(file, SMALL)
    begin = content_offset(head)
    if not begin:
        return head + _read_all(file, size - len(head)), None
    os.lseek(file, begin, os.SEEK_SET)
    return head[:begin], _read_all(file, size - begin)


def _read_all(file: int, size: int) -> bytes:
    """Everything in a file of `size` octets, or what comes first of one that grows."""
    data = os.read(file, size + 1)
    if len(data) == size:
        return data
    parts = [data]
    while data and sum(map(len, parts)) <= size:  # a system may read less than it is asked for
        data = os.read(file, size + 1)
        parts.append(data)
    return b"".join(parts)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _take_back(tmp: int, made: str, directory: int, path: str | None) -> None:
    """Remove what an opening that failed has made in `tmp` and perhaps moved to `path` (CHAN-21).

    Closes `directory`. What fails here is left to a reaper, for there is an error on its way.
    """
    with suppress(OSError):
        if path and _identity(os.lstat(path)) == _identity(os.fstat(directory)):
            os.rename(path, made, dst_dir_fd=tmp)
            path = None
    if path is None:
        with suppress(OSError):
            os.unlink("queue", dir_fd=directory)
    if directory >= 0:
        os.close(directory)
    try:
        os.rmdir(made, dir_fd=tmp)
    except OSError:  # reaper.remove() needs a descriptor, which may be what lacks
        with suppress(OSError):
            reaper.remove(tmp, made)


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _denies_reading(name: str, at: int) -> bool:
    """Whether it is the file itself that may not be read: trying again would never end."""
    try:
        os.stat(name, dir_fd=at, follow_symlinks=False)
    except OSError:
        return False
    return not os.access(name, os.R_OK, dir_fd=at)


_is_message_name = re.compile(r"[1-9][0-9]{0,19}").fullmatch


# --- the channels of this process: for its end, and for forks ---

_registry_lock = threading.RLock()
_open_channels: set[Channel] = set()


def _close_all() -> None:
    for channel in list(_open_channels):
        try:
            channel.close()
        except OSError as error:
            _logger.warning("%r cannot be removed: %s", channel, error)


def _after_fork_in_child() -> None:
    global _registry_lock
    _registry_lock = threading.RLock()
    for channel in _open_channels:
        for descriptor in (channel._read, channel._write, channel._place):
            os.close(descriptor)
        channel._read = channel._write = channel._place = -1
        channel._closing = False
        channel._waiting.clear()
        # Another thread of the parent may have held the lock.
        channel._lock = threading.RLock()
        channel._busy = threading.Lock()
    _open_channels.clear()


atexit.register(_close_all)
os.register_at_fork(
    before=lambda: _registry_lock.acquire(),
    after_in_parent=lambda: _registry_lock.release(),
    after_in_child=_after_fork_in_child,
)
