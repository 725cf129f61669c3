"""The bridge's side of its own base: what it exports comes here, and what it imports goes there."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Sequence
from functools import lru_cache

from .. import capacity, queue
from ..channel import Channel, fetch
from ..hand import DamagedQueue
from ..inbox import ChannelLost
from ..message_file import InvalidMessage
from ..topics import matches
from .counters import Counters
from .outgoing import Outgoing
from .subjects import joined, to_pattern, to_subject

_BATCH = 256  # messages that are fetched between two turns of the loop

_log = logging.getLogger("pubsub.bridge")


class Export(Channel):
    """A channel that takes what is to be exported, and nothing that a bridge has imported."""

    _of_bridge = True


@lru_cache(maxsize=4096)  # a path has the marker from the beginning, and no name is used twice
def is_for_imports(path: str) -> bool:
    """Whether a channel takes what a bridge imports: all do but those by which bridges export."""
    try:
        marker = os.lstat(f"{path}/{queue.BRIDGE_MARKER}")
        owner = os.lstat(f"{path}/queue").st_uid
    except OSError:
        return True
    return not (stat.S_ISREG(marker.st_mode) and marker.st_uid == owner)


class Exporter:
    """The channels of what is to be exported, in the event loop."""

    def __init__(self, patterns: Sequence[str], outgoing: Outgoing, counters: Counters) -> None:
        """Patterns that overlap share a channel: it has one order, and nothing comes twice."""
        self._outgoing = outgoing
        self._counters = counters
        self._channels = [
            Export(to_pattern(subject), inline=True)
            for subject in joined(map(to_subject, patterns))
        ]
        self._watched: dict[Export, int] = {}
        self._is_connected = False
        self._is_paused = False
        outgoing.when_there_is_room = self._resume

        @lru_cache(maxsize=4096)
        def is_wanted(topic: str) -> bool:
            return any(matches(pattern, topic) for pattern in patterns)

        self._is_wanted = is_wanted

    def open(self) -> None:
        """Open the channels. Raises BaseUnusable, OSError."""
        for channel in self._channels:
            _open(channel)
            self._watch(channel)

    def close(self) -> None:
        """Close the channels."""
        for channel in self._channels:
            self._unwatch(channel)
            try:
                channel.close()
            except OSError as error:
                _log.warning("%s", error)

    def connected(self, is_connected: bool) -> None:
        """There is a server, or none any more: then nobody waits for it."""
        self._is_connected = is_connected
        if not is_connected:
            self._resume()

    def look(self) -> None:
        """What is to be done once a second: descriptors do not show that a channel is lost."""
        for channel in self._channels:
            if not (self._is_paused and self._is_connected):
                self._fetch(channel)

    def fetch_all(self) -> None:
        """Fetch what is there, at the end."""
        for channel in self._channels:
            while channel.is_open and self._fetch(channel):
                pass

    def _fetch(self, channel: Export) -> bool:
        """Fetch some messages. False: no more are there, or there is no room for them."""
        try:
            if not channel.is_open:
                _open(channel)
            if channel not in self._watched and not self._is_paused:
                self._watch(channel)
            return self._fetch_some(channel)
        except ChannelLost as error:
            _log.warning("%s; it is opened anew", error)
            self._unwatch(channel)
            channel.close()
        except OSError as error:
            _log.warning("%s; the next try is in a second", error)
            self._unwatch(channel)
        return False

    def _fetch_some(self, channel: Export) -> bool:
        for _ in range(_BATCH):
            if self._outgoing.is_full and self._is_connected:
                self._pause()
                return False
            try:
                message = fetch(channel)
            except (InvalidMessage, DamagedQueue) as error:
                self._counters.invalid += 1
                _log.warning("%s", error)
                continue
            if message is None:
                return False
            if self._is_wanted(message.topic):
                self._outgoing.put(message)
        return True

    def _watch(self, channel: Export) -> None:
        self._watched[channel] = channel.fileno()
        asyncio.get_running_loop().add_reader(self._watched[channel], self._fetch, channel)

    def _unwatch(self, channel: Export) -> None:
        descriptor = self._watched.pop(channel, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)

    def _pause(self) -> None:
        self._is_paused = True
        for channel in self._channels:
            self._unwatch(channel)

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            for channel in self._channels:
                if channel.is_open and channel not in self._watched:
                    self._watch(channel)


def _open(channel: Export) -> None:
    """Open a channel. Raises BaseUnusable, OSError."""
    channel.open()
    if channel.is_inline:  # a burst then needs no files, which would cost both sides much
        capacity.grow(channel.fileno())
