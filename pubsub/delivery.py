"""Taking a message to channels: stage, link, enqueue, withdraw; or a record (spec/publish.md).

A publish that an exception from a signal handler ends may have reached some of the channels. It
leaves nothing else: no staged file, no link whose id is not in its queue, and no descriptor but
those that are kept with a list.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections.abc import Callable

from . import listing as lists
from . import queue
from .base import ATTEMPTS, Base, make, with_tmp
from .capacity import allowance
from .clock import monotonic
from .files import is_of_kind
from .interruption import Descriptors, of_system
from .lane import Lane, cut_short
from .listing import Listing
from .message import Message
from .outcome import Outcome
from .place import BaseUnusable, Place
from .sigpipe import write
from .staged import Copies, Staged

_TAKEN = frozenset({errno.EEXIST, errno.EMLINK})
_ROOM_SECONDS = 0.1  # how long to wait before a full queue is tried again unasked


def deliver(
    message: Message, timeout: float = 0, chosen: Callable[[str], bool] | None = None
) -> Outcome:
    """Take a message to the channels whose pattern matches its topic.

    `timeout` are seconds to wait for room in full queues. `chosen` tells of the path of a channel
    whether it is to have the message; None: all are. That this is a forked child was noticed when
    the message was made.

    Raises InvalidHeaders, TooLarge before anything is written; BaseUnusable; OSError where the
    system failed before any channel had the message.
    """
    encoded = message.encoded()
    head, content = encoded
    if content or len(head) > queue.LONGEST_MESSAGE:
        head = b""
    for _ in range(ATTEMPTS):
        outcome = Outcome()
        place = Place.here()
        listing = lists.kept(place)
        lanes: tuple[Lane, ...] = ()
        if listing is not None:
            lanes = listing.matching(message.topic)
            if chosen:
                lanes = _choice(chosen, lanes)
            if head and listing.opener is not None:
                lanes = lists.send(lanes, queue.body(head), outcome)
            if not lanes:
                return outcome
        delivery = _Delivery(Copies(message.id, encoded), head, outcome)
        try:  # as `with delivery, delivery:`, which takes more time
            try:
                try:
                    if listing is None:
                        listing = delivery.find(place)
                        lanes = _choice(chosen, listing.matching(message.topic))
                    else:
                        delivery.stage(listing.base)
                except of_system(FileNotFoundError):
                    delivery.give_back()
                    continue
                delivery.run(listing, lanes, timeout)
                return outcome
            except BaseException:
                delivery.give_back()
                raise
        except BaseException:
            delivery.give_back()
            raise
    raise OSError(errno.EAGAIN, "the base directory was removed again and again", Place.here().path)


def _choice(chosen: Callable[[str], bool] | None, lanes: tuple[Lane, ...]) -> tuple[Lane, ...]:
    return tuple(lane for lane in lanes if chosen(lane.path)) if chosen else lanes


class _Delivery:
    """One attempt to publish a message to channels whose queues are to be opened.

    It holds what has to be given back.
    """

    _staged: Staged | None = None
    _unstaged: OSError | None = None  # why the message could not be staged at last
    _link = ""  # a link that may be there

    def __init__(self, copies: Copies, short: bytes, outcome: Outcome) -> None:
        """`short` is the message file; empty: it is too long for a record."""
        self._copies = copies
        self._short = short
        self._outcome = outcome
        self._queue = Descriptors()
        self._written: list[int] = []  # not empty: its id was written, or a record

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

    def find(self, place: Place) -> Listing:
        """Stage the message, and list the base. Raises FileNotFoundError if that is gone."""
        base = Base(place.path, place.make())
        try:
            self.stage(with_tmp(place, base.mode))
        except of_system(BaseUnusable) as error:
            self._unstaged = error
        return lists.list_anew(place, base, self._staged.path if self._staged else None)

    def stage(self, base: Base) -> None:
        """Stage the message, or note why that is not possible (INLINE-14).

        Raises FileNotFoundError if the base is gone, and no channel has the message.
        """
        try:
            try:
                self._staged = self._copies.stage(base)
            except of_system(FileNotFoundError):
                if not self._outcome.taken:
                    raise
                self._staged = self._copies.stage(make())  # INLINE-17
        except of_system(OSError) as error:
            if isinstance(error, FileNotFoundError) and not self._outcome.taken:
                raise
            self._unstaged = error

    def run(self, listing: Listing, lanes: tuple[Lane, ...], timeout: float) -> None:
        """Take the message to these channels of the list.

        Raises the error of staging if none has it, and one needs the file (INLINE-14).
        """
        self._deliver(listing, lanes, timeout)
        failed = self._outcome.failed
        if self._staged:
            try:
                self._copies.remove(self._staged)
            except of_system(OSError) as error:
                failed.append((self._staged.path, error))
        if self._unstaged:
            self._copies.give_back()  # the half of one that could not be written
            if not self._staged and failed and not self._outcome.taken:
                raise self._unstaged

    def _deliver(self, listing: Listing, lanes: tuple[Lane, ...], timeout: float) -> None:
        outcome = self._outcome
        taken = outcome.taken
        deadline = 0.0
        while True:
            full = []
            for lane in lanes:
                try:
                    if self._enqueue(listing, lane):
                        taken.append(lane.path)
                    else:
                        outcome.gone.append(lane.path)
                except of_system(BlockingIOError):
                    full.append(lane)
                except of_system(BrokenPipeError):  # PUB-16
                    outcome.gone.append(lane.path)
                except of_system(OSError) as error:
                    outcome.failed.append((lane.path, error))
            if not full:
                return
            deadline = deadline or monotonic() + timeout
            left = deadline - monotonic()
            if left <= 0:
                outcome.full.extend(lane.path for lane in full)
                return
            self._wait_for_room(full, min(left, _ROOM_SECONDS))
            lanes = tuple(full)

    def _enqueue(self, listing: Listing, lane: Lane) -> bool:
        """Take the message to one channel: steps 4.1 to 4.4. False: nobody reads there.

        Raises BlockingIOError if the queue is full, BrokenPipeError if nobody reads; OSError.
        """
        self._link = ""  # before the next line: an id that was written keeps its link
        self._written.clear()
        try:
            opened = self._queue.open(lane.queue, queue.WRITE)
        except of_system(FileNotFoundError, NotADirectoryError):
            return False
        except of_system(OSError) as error:
            if error.errno == errno.ENXIO or not is_of_kind(lane.queue, stat.S_ISFIFO):
                return False
            raise
        try:
            status = os.fstat(opened)
            if not stat.S_ISFIFO(status.st_mode):  # PUB-11
                return False
            if lane.is_unmarked or not self._short or not lane.is_marked(status):
                return self._send_file(lane, opened)
            if allowance(opened) and self._send_record(lane, opened):
                lists.keep(listing, lane, self._queue, status)
                return True
            try:
                return self._send_file(lane, opened)
            except of_system(OSError) as error:
                if error is self._unstaged and self._send_record(lane, opened):  # INLINE-15
                    return True
                raise
        finally:
            self._queue.close()

    def _send_record(self, lane: Lane, opened: int) -> bool:
        """Write a record to the queue of a marked channel. False: it has no room (INLINE-16).

        Raises BrokenPipeError, OSError.
        """
        record = lane.heading + queue.body(self._short)
        try:
            write(opened, record, self._written)
        except of_system(BlockingIOError):
            return False
        if self._written[0] != len(record):
            raise cut_short(self._written[0], len(record))
        return True

    def _send_file(self, lane: Lane, opened: int) -> bool:
        """Link the staged file, and write its id or withdraw the link. False: the channel is gone.

        Raises BlockingIOError, BrokenPipeError, OSError.
        """
        lane.left = 0  # an id takes room, too (INLINE-13)
        while True:
            staged = self._staged
            if staged is None:
                assert self._unstaged
                raise self._unstaged
            self._link = f"{lane.path}/{staged.name}"
            try:
                os.link(staged.path, self._link)  # PUB-7
                break
            except of_system(FileNotFoundError, NotADirectoryError):
                try:
                    os.lstat(staged.path)
                    return False
                except of_system(FileNotFoundError, NotADirectoryError):  # PUB-12
                    self._stage_again(self._copies.restage, staged)
            except of_system(OSError) as error:
                if error.errno not in _TAKEN:
                    raise
                self._stage_again(self._copies.renew, staged)
        try:
            write(opened, staged.word, self._written)  # PUB-9
        except of_system(OSError):
            self._withdraw()
            raise
        return True

    def _stage_again(self, again: Callable[[Staged], Staged], staged: Staged) -> None:
        """Stage another copy in the place of one. Raises OSError, which is noted (INLINE-15)."""
        try:
            self._staged = again(staged)
        except of_system(OSError) as error:
            self._unstaged = error
            raise

    def _withdraw(self) -> None:
        """Remove the link from the channel (PUB-10)."""
        try:
            os.unlink(self._link)
        except of_system(FileNotFoundError):
            pass
        self._link = ""

    def _wait_for_room(self, lanes: list[Lane], seconds: float) -> None:
        """Sleep until a full queue has room, or the time is over. Nothing is linked (PUB-18)."""
        poll = select.poll()
        try:
            for lane in lanes[:16]:  # the others are tried again when the time is over
                try:
                    opened = self._queue.open(lane.queue, queue.WRITE)
                    poll.register(opened, select.POLLOUT)
                except of_system(OSError):
                    pass  # the next try meets the error again
            try:
                poll.poll(seconds * 1000)
            except of_system(OSError):
                time.sleep(seconds)
        finally:
            self._queue.close()
