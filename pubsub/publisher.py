"""Publishing (spec/publish.md): find the matching channels, stage, link, enqueue, withdraw.

A publish that an exception from a signal handler ends may have reached some of the channels. It
leaves nothing else: no staged file, no link whose id is not in its queue, no descriptor.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections.abc import Mapping

from . import queue
from .base import ATTEMPTS, make
from .clock import duration, monotonic
from .files import is_of_kind
from .headers import HeaderValue
from .interruption import Descriptors, of_system
from .listing import kept, list_anew
from .message import Content, Message
from .place import Place
from .sigpipe import write
from .staged import Copies, Staged

_TAKEN = frozenset({errno.EEXIST, errno.EMLINK})
_ROOM_SECONDS = 0.1  # how long to wait before a full queue is tried again unasked


class PublishFailed(OSError):
    """A system error kept at least one channel from the message; all were tried (PUB-13).

    `count` is the number of queues that took the message. `failures` has the path of each channel
    that failed, with its error; the last may be the staged file that could not be removed. `errno`
    is that of the first error.
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

    def __reduce__(self) -> tuple[type[PublishFailed], tuple[int, list[tuple[str, OSError]]]]:
        return PublishFailed, (self.count, self.failures)  # a pool of processes pickles errors


def publish(
    topic: str,
    data: Content,
    headers: Mapping[str, HeaderValue] | None = None,
    *,
    timeout: float = 0,
) -> int:
    """Publish a message to all channels whose pattern matches `topic`.

    Returns the number of channels whose queue took it (GUAR-1). A full queue does not take it,
    unless it gets room within `timeout` seconds; 0 does not wait.

    Raises InvalidTopic, InvalidHeaders, TooLarge, TypeError or ValueError before anything is
    written; BaseUnusable; PublishFailed where the system failed for some channels; OSError where
    it failed for all of them.
    """
    if timeout != 0:
        timeout = duration(timeout, "timeout")
    message = Message(topic, data, headers)
    encoded = message.encoded()
    for _ in range(ATTEMPTS):
        delivery = _Delivery(Copies(message.id, encoded))
        try:  # as `with delivery, delivery:`, which takes more time
            try:
                if delivery.run(message.topic, timeout):
                    return delivery.result()
            except BaseException:
                delivery.give_back()
                raise
        except BaseException:
            delivery.give_back()
            raise
    raise OSError(errno.EAGAIN, "the base directory was removed again and again", Place.here().path)


class _Delivery:
    """One attempt to publish a message, and what it holds."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._staged: Staged | None = None
        self._count = 0
        self._failures: list[tuple[str, OSError]] = []
        self._queue = Descriptors()
        self._link = ""  # a link that may be there
        self._written: list[int] = []  # not empty: its id was written

    def give_back(self) -> None:
        """Withdraw, close and remove what is left. May be repeated."""
        if self._link and self._staged and not self._written:
            try:
                if os.path.samestat(os.lstat(self._link), os.lstat(self._staged.path)):
                    self._withdraw()  # it is ours
            except of_system(OSError):
                pass
        self._queue.close()
        self._copies.give_back()

    def run(self, topic: str, timeout: float) -> bool:
        """Take the message to the channels. False: the base was removed since it was looked at."""
        try:
            channels = self._find(topic)
        except of_system(FileNotFoundError):
            self._copies.give_back()
            return False
        if channels:
            self._deliver(channels, timeout)
        if self._staged:
            try:
                self._copies.remove(self._staged)
            except of_system(OSError) as error:
                self._failures.append((self._staged.path, error))
        return True

    def result(self) -> int:
        """The number of queues that took the message. Raises PublishFailed."""
        if self._failures:
            raise PublishFailed(self._count, self._failures)
        return self._count

    def _find(self, topic: str) -> tuple[str, ...]:
        """The matching channels. If there are any, the message is staged."""
        place = Place.here()
        listing = kept(place)
        if listing is None:
            base = make(place)
            self._staged = self._copies.stage(base)
            return list_anew(place, base, self._staged.path).matching(topic)
        channels = listing.matching(topic)
        if channels:
            self._staged = self._copies.stage(listing.base)
        return channels

    def _deliver(self, channels: tuple[str, ...], timeout: float) -> None:
        deadline = 0.0
        while True:
            full = []
            for channel in channels:
                try:
                    self._count += self._enqueue(channel)
                except of_system(BlockingIOError):
                    full.append(channel)
                except of_system(OSError) as error:
                    self._failures.append((channel, error))
            if not full or not timeout:
                return
            deadline = deadline or monotonic() + timeout
            left = deadline - monotonic()
            if left <= 0:
                return
            self._wait_for_room(full, min(left, _ROOM_SECONDS))
            channels = tuple(full)

    def _enqueue(self, channel: str) -> bool:
        """Take the message to one channel: steps 4.1 to 4.4. False: nobody reads there.

        Raises BlockingIOError if the queue is full; OSError.
        """
        self._link = ""  # before the next line: an id that was written keeps its link
        self._written.clear()
        path = f"{channel}/queue"
        try:
            opened = self._queue.open(path, queue.WRITE)
        except of_system(FileNotFoundError, NotADirectoryError):
            return False
        except of_system(OSError) as error:
            if error.errno == errno.ENXIO or not is_of_kind(path, stat.S_ISFIFO):
                return False
            raise
        try:
            return (
                stat.S_ISFIFO(os.fstat(opened).st_mode)  # PUB-11
                and self._make_link(channel)
                and self._write_id(opened)
            )
        finally:
            self._queue.close()

    def _make_link(self, channel: str) -> bool:
        """Link the staged file into the channel (PUB-7). False: the channel is gone."""
        while True:
            staged = self._staged
            assert staged
            self._link = f"{channel}/{staged.name}"
            try:
                os.link(staged.path, self._link)
                return True
            except of_system(FileNotFoundError, NotADirectoryError):
                try:
                    os.lstat(staged.path)
                    return False
                except of_system(FileNotFoundError):  # PUB-12
                    self._staged = self._copies.restage(staged)
            except of_system(OSError) as error:
                if error.errno not in _TAKEN:
                    raise
                self._staged = self._copies.renew(staged)

    def _write_id(self, opened: int) -> bool:
        """Write the id to the queue (PUB-9), or withdraw the link. False: nobody reads there."""
        assert self._staged
        try:
            write(opened, self._staged.word, self._written)
        except of_system(OSError) as error:
            self._withdraw()
            if isinstance(error, BrokenPipeError):
                return False
            raise
        return True

    def _withdraw(self) -> None:
        """Remove the link from the channel (PUB-10)."""
        try:
            os.unlink(self._link)
        except of_system(FileNotFoundError):
            pass
        self._link = ""

    def _wait_for_room(self, channels: list[str], seconds: float) -> None:
        """Sleep until a full queue has room, or the time is over. Nothing is linked (PUB-18)."""
        poll = select.poll()
        try:
            for channel in channels[:16]:  # the others are tried again when the time is over
                try:
                    opened = self._queue.open(f"{channel}/queue", queue.WRITE)
                    poll.register(opened, select.POLLOUT)
                except of_system(OSError):
                    pass  # the next try meets the error again
            try:
                poll.poll(seconds * 1000)
            except of_system(OSError):
                time.sleep(seconds)
        finally:
            self._queue.close()
