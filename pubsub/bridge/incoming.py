"""From the server to the base: who may come in, and who is there to take it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ..delivery import deliver
from ..headers import InvalidHeaders
from ..message import Message
from ..message_file import TooLarge
from ..topics import InvalidTopic, check_topic, matches
from .counters import Counters
from .envelope import MalformedEnvelope, decode
from .local import is_for_imports
from .sequences import Gaps, run_of
from .state import State

_ROOM_SECONDS = 0.01  # between two tries of a full queue

_log = logging.getLogger("pubsub.bridge")


class Incoming:
    """The messages that come from the server. It outlives a connection."""

    def __init__(
        self, patterns: Sequence[str], timeout: float, state: State, counters: Counters
    ) -> None:
        """`timeout` are the seconds that a full local queue is waited for."""
        self.behind = 0
        """How many more messages a stream has for this bridge, when the last one came."""
        self._timeout = timeout
        self._state = state
        self._knows = lru_cache(state.knows)
        self._counters = counters
        self._gaps = Gaps()
        self._told: set[str] = set()

        @lru_cache(maxsize=4096)
        def is_wanted(subject: str) -> bool | None:
            try:
                topic = check_topic(subject)
            except InvalidTopic:
                return None
            return any(matches(pattern, topic) for pattern in patterns)

        self._is_wanted = is_wanted

    async def take(self, subject: str, headers: dict[str, str] | None, content: bytes) -> None:
        """Publish a message in the base, if it is one that is to be there."""
        try:
            message = self._message(subject, headers, content)
            if message is not None:
                await self._deliver(message)
        except (MalformedEnvelope, InvalidHeaders, TooLarge) as error:
            self._counters.refused += 1
            self._tell(f"{subject}: a message is not imported: {error}")
        except OSError as error:
            self._counters.failed += 1
            self._tell(f"{subject}: a message is not imported: {error.strerror or error}")

    def _message(
        self, subject: str, headers: dict[str, str] | None, content: bytes
    ) -> Message | None:
        """The message, unless it is none of those that are to come in."""
        wanted = self._is_wanted(subject)
        if not wanted:
            if wanted is None:
                self._counters.refused += 1
                self._tell("subjects that are no topics come from NATS: they are not imported")
            return None
        decoded, mark = decode(headers)
        if mark is None:
            return Message(subject, content, decoded)
        if mark.origin == self._state.origin:
            self._counters.own += 1
            if not self._knows(run_of(mark.session)):
                self._tell(
                    "another machine has a copy of this bridge's state, and neither imports what"
                    " the other exports: on one of them end the bridge, remove"
                    f" {self._state.origin_path}, and start the bridge again"
                )
            return None
        is_new = self._gaps.is_new(mark.session, subject, mark.sequence)
        self._counters.lost = self._gaps.lost
        if not is_new:
            self._counters.repeated += 1
            return None
        return Message(subject, content, decoded, timestamp=mark.timestamp)

    async def _deliver(self, message: Message) -> None:
        outcome = deliver(message, 0, is_for_imports)
        taken, failed = len(outcome.taken), outcome.failed
        there = taken + len(outcome.full) + len(failed)
        if outcome.full:
            end = time.monotonic() + self._timeout
            while outcome.full and time.monotonic() < end:
                await asyncio.sleep(_ROOM_SECONDS)
                outcome = deliver(message, 0, set(outcome.full).__contains__)
                taken += len(outcome.taken)
                failed += outcome.failed
            self._counters.full += len(outcome.full)
        if failed:
            self._counters.failed += len(failed)
            self._tell(f"{failed[0][0]} does not get a message: {failed[0][1].strerror}")
        if taken:
            self._counters.imported += 1
        elif not there:
            self._counters.to_nobody += 1

    async def take_core(self, received: Any) -> None:
        """The callback of a subscription."""
        await self.take(received.subject, received.headers, received.data)

    def _tell(self, line: str) -> None:
        """Say something once: messages of strangers may come by the thousand."""
        if line not in self._told and len(self._told) < 1000:
            self._told.add(line)
            _log.warning("%s", line)
