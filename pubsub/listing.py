"""Which channels match: the list of a base's channels, and when it may be kept (PUB-21, PUB-22).

The kept list is the only state of a publisher. It holds names, and which of them match a topic;
whether a channel is alive is asked anew in each publish.
"""

from __future__ import annotations

import os

from .base import Base
from .place import Place
from .topics import matches

_MAX_TOPICS = 1024  # of which the matching channels are remembered


class Listing:
    """The channels of a base as they were listed once."""

    def __init__(self, place: Place, base: Base) -> None:
        """Lists the base. Raises OSError."""
        self.place = place
        self.base = base
        self.key: tuple[int, int, int, int] | None = place.key()
        self._channels = base.channels()
        self._matching: dict[str, tuple[str, ...]] = {}

    def matching(self, topic: str) -> tuple[str, ...]:
        """The paths of the channels whose pattern matches the topic."""
        found = self._matching.get(topic)
        if found is None:
            found = tuple(path for path, pattern, _ in self._channels if matches(pattern, topic))
            if len(self._matching) >= _MAX_TOPICS:
                self._matching.clear()
            self._matching[topic] = found
        return found


_kept: Listing | None = None


def kept(place: Place) -> Listing | None:
    """The kept list, if the base has not changed since it was listed."""
    listing = _kept
    if listing is not None and listing.place == place and listing.key == place.key():
        return listing
    return None


def list_anew(place: Place, base: Base, staged: str) -> Listing:
    """List the base, and keep the list if every later change of the base is bound to show.

    That is so if the clock that stamps files has moved on since the last change: a file that was
    staged before the listing shows the time of that clock (PUB-21, spec/racy-listing.md). `staged`
    is the path of such a file. Raises OSError.
    """
    global _kept
    clock = os.stat(staged).st_mtime_ns
    listing = Listing(place, base)
    key = listing.key
    settled = key is not None and key == place.key() and clock > max(key[2:])
    _kept = listing if settled else None
    return listing
