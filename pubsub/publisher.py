"""Publishing (spec/publish.md): matching channels, stage, link, enqueue, withdraw."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections.abc import Mapping
from contextlib import suppress

from . import base as _base
from .base import ATTEMPTS, WRITE_QUEUE, Base, is_there
from .ids import next_id
from .message import HeaderValue, Message, with_id
from .topics import matches

_TAKEN = frozenset({errno.EEXIST, errno.EMLINK})
_ROOM_SECONDS = 0.1  # how long to wait before a full queue is tried again unasked
_MAX_TOPICS = 1024  # of which the matching channels are remembered


class PublishFailed(OSError):
    """A channel failed for the system's sake; all others were served (PUB-13).

    `count` is the number of queues that took the message, `failures` has the path of each channel
    that failed, with its error; last that of the staged file, if it could not be removed. `errno`
    is the first one's.
    """

    def __init__(self, count: int, failures: list[tuple[str, OSError]]) -> None:
        path, first = failures[0]
        super().__init__(
            first.errno,
            f"{first.strerror}; {count} queues took the message, {len(failures)} channels failed",
            path,
        )
        self.count = count
        self.failures = failures


def publish(
    topic: str,
    data: bytes,
    headers: Mapping[str, HeaderValue] | None = None,
    *,
    timeout: float = 0,
) -> int:
    """Publish a message to all channels whose pattern matches `topic`.

    Returns the number of channels whose queue took it (GUAR-1). A queue that is full does not,
    unless it gets room within `timeout` seconds.

    Raises InvalidTopic, InvalidHeaders, TooLarge before anything is written; BaseUnusable;
    PublishFailed where the system failed for some channels; OSError where it failed for all.
    """
    if not timeout >= 0:  # nor is it a number at all
        raise ValueError("timeout must be non-negative")
    message = Message(topic, data, headers)
    parts = message.to_parts()
    for _ in range(ATTEMPTS):
        try:
            channels, copy = _prepare(topic, message.id, parts)
        except FileNotFoundError:
            continue  # the base or its tmp was removed since we looked; look again
        if copy is None:
            return 0
        try:
            count, failures = _deliver(channels, copy, timeout)
        except BaseException:
            copy.remove()
            raise
        try:
            copy.remove()  # PUB-14
        except OSError as error:
            failures.append((copy.path, error))
        if failures:
            raise PublishFailed(count, failures)
        return count
    raise OSError(errno.EAGAIN, "the base directory was taken away again and again")


class _Copy:
    """A copy of the message, staged in `tmp`."""

    def __init__(self, base: Base, id: int, parts: tuple[bytes, ...]) -> None:
        self.base = base
        self.parts = parts
        self.attempts = ATTEMPTS
        self._name(id)
        self._stage()

    def _name(self, id: int) -> None:
        self.id = id.to_bytes(8, "big")
        self.name = str(id)
        self.path = f"{self.base.path}/tmp/{self.name}"

    def _stage(self) -> None:
        while True:
            try:
                self.base.make_file(self.path, *self.parts)
                return
            except FileExistsError:
                self._take_fresh_id()

    def _take_fresh_id(self) -> None:
        self._count_attempt()
        id = next_id()
        self.parts = with_id(self.parts, id)
        self._name(id)

    def _count_attempt(self) -> None:
        if not self.attempts:
            # Not EAGAIN, which a full queue says.
            raise OSError(errno.EBUSY, f"gave up after {ATTEMPTS} attempts", self.path)
        self.attempts -= 1

    def renew(self) -> None:
        """Go on with another copy, under a fresh id (PUB-3)."""
        before = self.id, self.name, self.path, self.parts
        self.base = _base.make()  # a cleaner may have been at it
        try:
            self._take_fresh_id()
            self._stage()
        except OSError:  # the next channel may take the copy that there is
            self.id, self.name, self.path, self.parts = before
            raise
        with suppress(FileNotFoundError):
            os.unlink(before[2])

    def restage(self) -> None:
        """Stage again what somebody removed, in a base that may have to be made again (PUB-12)."""
        self._count_attempt()
        self.base = _base.make()
        self._name(int(self.name))
        self._stage()

    def remove(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)


def _deliver(
    channels: tuple[str, ...], copy: _Copy, timeout: float
) -> tuple[int, list[tuple[str, OSError]]]:
    count = 0
    failures: list[tuple[str, OSError]] = []
    deadline = 0.0
    while True:
        full = []
        for channel in channels:
            try:
                count += _enqueue(channel, copy)
            except BlockingIOError:
                full.append(channel)
            except OSError as error:
                failures.append((channel, error))
        if not full or not timeout:
            break
        deadline = deadline or time.monotonic() + timeout
        left = deadline - time.monotonic()
        if left <= 0:
            break
        _wait_for_room(full, min(left, _ROOM_SECONDS))
        channels = tuple(full)
    return count, failures


def _enqueue(channel: str, copy: _Copy) -> bool:
    """Steps 4.1 to 4.4 for one channel. False: nobody reads there. BlockingIOError: full."""
    try:
        queue = os.open(f"{channel}/queue", WRITE_QUEUE)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno == errno.ENXIO or not is_there(f"{channel}/queue", stat.S_ISFIFO):
            return False
        raise
    try:
        if not stat.S_ISFIFO(os.fstat(queue).st_mode):  # PUB-11
            return False
        while True:
            link = f"{channel}/{copy.name}"
            try:
                os.link(copy.path, link)
                break
            except (FileNotFoundError, NotADirectoryError):
                try:
                    os.lstat(copy.path)
                    return False
                except FileNotFoundError:  # PUB-12
                    copy.restage()
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
                copy.renew()
        try:
            os.write(queue, copy.id)  # PUB-9
        except BaseException as error:
            with suppress(FileNotFoundError):
                os.unlink(link)  # PUB-10: withdrawn
            if isinstance(error, BrokenPipeError):
                return False
            raise
        return True
    finally:
        os.close(queue)


def _wait_for_room(channels: list[str], seconds: float) -> None:
    """Sleep until one of some full queues has room, or the time is over. Nothing is linked."""
    poll = select.poll()
    queues = []
    try:
        for channel in channels[:16]:  # the others are looked at when the time is over
            with suppress(OSError):  # what is wrong with it, the next try will say
                queues.append(os.open(f"{channel}/queue", WRITE_QUEUE))
                poll.register(queues[-1], select.POLLOUT)
        try:
            poll.poll(seconds * 1000)
        except OSError:
            time.sleep(seconds)
    finally:
        for queue in queues:
            os.close(queue)


# --- which channels match: the publisher's only state ---


class _Listing:
    """The channels of a base as they were listed once, and which of them match a topic.

    Names and matches only: whether a channel is alive is asked anew each time (PUB-22).
    """

    def __init__(self, base: Base, key: tuple[int, int, int, int] | None) -> None:
        self.base = base
        self.key = key
        self._channels = base.channels()
        self._matching: dict[str, tuple[str, ...]] = {}

    def matching(self, topic: str) -> tuple[str, ...]:
        found = self._matching.get(topic)
        if found is None:
            found = tuple(path for path, pattern, _ in self._channels if matches(pattern, topic))
            if len(self._matching) >= _MAX_TOPICS:
                self._matching.clear()
            self._matching[topic] = found
        return found


_kept: _Listing | None = None


def _prepare(topic: str, id: int, parts: tuple[bytes, ...]) -> tuple[tuple[str, ...], _Copy | None]:
    """The matching channels, and a copy staged for them: None where there are none."""
    global _kept
    path, explicit = _base.location()
    listing = _kept
    if listing is not None and listing.base.path == path and listing.key == _key(path, explicit):
        channels = listing.matching(topic)
        return channels, _Copy(listing.base, id, parts) if channels else None
    base = _base.make()
    copy = _Copy(base, id, parts)
    try:
        # May this listing be used again? Only if every later change of the base is bound to show
        # in its times, that is if the clock that stamps files has moved on since the last change:
        # our own staged file, made before, tells that clock's time (PUB-21, spec/racy-listing.md).
        staged = os.stat(copy.path).st_mtime_ns
        key = _key(path, explicit)
        listing = _Listing(base, key)
        settled = key is not None and key == _key(path, explicit) and staged > max(key[2:])
        _kept = listing if settled else None
        return listing.matching(topic), copy
    except BaseException:
        copy.remove()
        raise


def _key(path: str, explicit: bool) -> tuple[int, int, int, int] | None:
    """What changes whenever an entry of the base does; None if the base is not there."""
    try:
        found = _base.status(path, explicit)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns
