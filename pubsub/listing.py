"""Which channels match: the list of a base's channels, and when it may be kept (PUB-21, PUB-22).

The kept list is the only state of a publisher. It holds names, and which of them match a topic;
whether a channel is alive is asked anew in each publish. Of channels that take records it holds the
open queues, too, as many as may be kept (INLINE-22). They are closed when another list takes its
place, or when descriptors are lacking.

A number must not be closed under a thread that is about to write to it. So each use and each
closing of what is kept is under one lock, which nobody holds for long: these writes do not wait. It
is re-entrant, for a signal handler may publish, too.
"""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Iterator
from itertools import repeat

from . import queue, sigpipe
from .base import Base
from .clock import monotonic
from .interruption import Descriptors, of_system
from .lane import Lane, cut_short
from .outcome import Outcome
from .place import Place
from .process import in_forked_child
from .spare import when_lacking
from .topics import matches

_MAX_TOPICS = 1024  # of which the matching channels are remembered
_MOST_KEPT = 256  # open queues (INLINE-22)
_REST_SECONDS = 1.0  # after which the program may have closed descriptors that are ours


class Listing:
    """The channels of a base as they were listed once."""

    def __init__(self, place: Place, base: Base) -> None:
        """Lists the base. Raises OSError."""
        self.place = place
        self.base = base
        self.key: tuple[int, int, int, int] | None = place.key()
        self.places: Iterator[int] = iter(())  # a 0 for each queue that may be kept yet
        self.opener: int | None = None  # the user who opened kept queues; None: none was kept yet
        self._used = 0.0  # when they were used last
        self._channels = base.channels()
        self._lanes: dict[str, Lane] = {}
        self._matching: dict[str, tuple[Lane, ...]] = {}

    def matching(self, topic: str) -> tuple[Lane, ...]:
        """The ways to the channels whose pattern matches the topic."""
        found = self._matching.get(topic)
        if found is None:
            found = tuple(
                self._lanes.get(path) or self._lanes.setdefault(path, Lane(path))
                for path, pattern, _ in self._channels
                if matches(pattern, topic)
            )
            if len(self._matching) >= _MAX_TOPICS:
                self._matching.clear()
            self._matching[topic] = found
        return found

    def may_be_used(self) -> bool:
        """Whether this user is the one who opened the kept queues; these are then our own."""
        now = monotonic()
        if now - self._used > _REST_SECONDS:
            with _lock:
                self._forget_foreign()
        self._used = now
        return self.opener == os.geteuid()

    def keep(self, lane: Lane, opened: Descriptors, status: os.stat_result) -> None:
        """Keep the opened queue of a marked channel, if there is a place for it.

        The caller holds the lock.
        """
        if self.opener is None:
            self._used = monotonic()
            self.opener = os.geteuid()
        lane.keep(opened, status, self.places)

    def close(self) -> bool:
        """Close the kept queues, and keep no more. May be repeated. False: there were none.

        The caller holds the lock.
        """
        any(self.places)  # takes all of them
        held = [lane for lane in [*self._lanes.values()] if lane.kept]
        for lane in held:
            lane.close()
        return bool(held)

    def _forget_foreign(self) -> None:
        """Forget the kept queues that the program has closed. The caller holds the lock."""
        for lane in [*self._lanes.values()]:
            if lane.kept:
                lane.forget_foreign()


_lock = threading.RLock()
_kept: list[Listing | None] = [None]
"""The last is the kept list; those before it are about to be closed."""


def kept(place: Place) -> Listing | None:
    """The kept list, if the base has not changed since it was listed."""
    listing = _kept[-1]
    if (
        listing is not None
        and listing.place == place
        and listing.key == place.key()
        and (listing.opener is None or listing.may_be_used())
    ):
        return listing
    return None


def list_anew(place: Place, base: Base, staged: str | None) -> Listing:
    """List the base, and keep the list if every later change of the base is bound to show.

    That is so if the clock that stamps files has moved on since the last change: a file that was
    staged before the listing shows the time of that clock (PUB-21, spec/racy-listing.md). `staged`
    is the path of such a file, if there is one. Raises OSError.
    """
    try:
        clock = os.stat(staged).st_mtime_ns if staged else 0
    except of_system(OSError):  # the message is staged; the list is not kept
        clock = 0
    listing = Listing(place, base)
    key = listing.key
    settled = key is not None and key == place.key() and clock > max(key[2:])
    with _lock:
        _keep(listing if settled else None)
    return listing


def _keep(listing: Listing | None) -> None:
    """Keep another list, and close those before it. The caller holds the lock."""
    if listing:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = _MOST_KEPT if limit == resource.RLIM_INFINITY else min(_MOST_KEPT, limit // 8)
        listing.places = repeat(0, most)
    _kept.append(listing)
    _close_older()


def _close_older() -> None:
    for old in filter(None, _kept[:-1]):
        old.close()
    del _kept[:-1]


def send(lanes: tuple[Lane, ...], body: bytes, outcome: Outcome) -> tuple[Lane, ...]:
    """Write a record to each queue that is kept, and note the outcome.

    Returns the others, and those that had no room.
    """
    if sigpipe.is_ignored():
        with _lock:
            return _send(lanes, body, outcome)
    block = sigpipe.Block()
    with block, block:
        block.begin()
        with _lock:
            return _send(lanes, body, outcome)


def _send(lanes: tuple[Lane, ...], body: bytes, outcome: Outcome) -> tuple[Lane, ...]:
    others = []
    taken = outcome.taken
    size = queue.HEADING_OCTETS + len(body)
    for lane in lanes:
        try:
            if lane.left >= size or lane.has_room():
                lane.left -= size
                written = lane.writers[0].write(lane.heading + body)
                if written == size:
                    taken.append(lane.path)
                    continue
                if written is not None:
                    raise cut_short(written, size)
            others.append(lane)
        except of_system(ValueError, IndexError):  # a signal handler has just closed it
            lane.left = 0
            others.append(lane)
        except of_system(BrokenPipeError):
            outcome.gone.append(lane.path)
            lane.close()
        except of_system(OSError) as error:
            if error.errno == errno.EBADF and lane.kept:  # the program has closed it
                lane.forget_foreign()
                others.append(lane)
            else:
                outcome.failed.append((lane.path, error))
    return tuple(others)


def keep(listing: Listing, lane: Lane, opened: Descriptors, status: os.stat_result) -> None:
    """Keep the opened queue of a marked channel with its list, if there is a place for it."""
    with _lock:
        _close_older()  # an exception may have left that to be done
        listing.keep(lane, opened, status)


def close_kept_queues() -> None:
    """Close the queues that publishing keeps open, of channels that take messages inline.

    For a program that is about to close all descriptors, as daemons do when they start: under a
    number that it closed, a later message might be written into a file of its own.
    """
    with _lock:
        _keep(None)


def _spare() -> bool:
    with _lock:
        return sum(listing.close() for listing in filter(None, _kept)) > 0


def _renew() -> None:
    """Close the copies that a forked child has inherited."""
    global _lock
    _lock = threading.RLock()  # a thread of the parent may hold it
    close_kept_queues()


when_lacking(_spare)
in_forked_child(_renew)
