"""Who takes part in a check: drivers of a publishing and of a reading implementation."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from ..driver import Driver, OpenChannel, Rejected
from ..implementations import INLINE, Implementation
from ..oracle.base import Base
from ..oracle.record import is_marked

FAULTS_SHOWN: Final = 3  # of one check


class Finding(Exception):
    """What one implementation did to the other, in words."""


def expect(holds: bool, otherwise: str) -> None:
    """Raise Finding with the text `otherwise` unless the condition holds."""
    if not holds:
        raise Finding(otherwise)


def enumerated(faults: Iterable[str]) -> str:
    """The first few faults in one line, and how many more there are."""
    texts = list(faults)
    more = len(texts) - FAULTS_SHOWN
    return "; ".join([*texts[:FAULTS_SHOWN], *([f"and {more} more"] if more > 0 else [])])


class Party(Driver):
    """A driver in a check. A request that it refuses is a Finding with its name."""

    def __init__(self, implementation: Implementation, home: Path, lane: str) -> None:
        """In the inline lane its channels are marked, if it can mark them."""
        self.name = implementation.name
        self._marks = lane == INLINE and lane in implementation.lanes
        super().__init__(implementation.command, home)

    def open(self, pattern: str, *, inline: bool = False) -> OpenChannel:
        """Open a channel, in the lane of the check."""
        return super().open(pattern, inline=inline or self._marks)

    def request(self, op: str, *, within: float | None = None, **fields: object) -> dict[str, Any]:
        try:
            return super().request(op, within=within, **fields)
        except Rejected as error:
            raise Finding(f"{self.name} answered {op} with {error}") from error

    def _part(self) -> dict[str, Any]:
        op = self._exchange.op
        try:
            return super()._part()
        except Rejected as error:
            raise Finding(f"{self.name} answered {op} with {error}") from error

    @property
    def last_words(self) -> str:
        """The last requests, replies and lines of stderr."""
        errors = f"\nits stderr:\n{self.stderr[-2000:]}" if self.stderr.strip() else ""
        return f"{self.name}, process {self.pid}:\n{self.transcript[-4000:]}{errors}"


class Pair:
    """The publishing and the reading implementation of one check, and their base directory."""

    def __init__(
        self,
        publishing: Implementation,
        reading: Implementation,
        lane: str,
        home: Path,
        rng: random.Random,
    ) -> None:
        """`lane` is that of the channels."""
        self.publishing, self.reading, self.lane, self.rng = publishing, reading, lane, rng
        self.base = Base(home)
        self.started: list[Party] = []
        self.drivers = contextlib.ExitStack()
        """Closes all of them."""

    def publisher(self) -> Party:
        """Start a driver of the publishing implementation."""
        return self._start(self.publishing)

    def reader(self) -> Party:
        """Start a driver of the reading implementation."""
        return self._start(self.reading)

    def has_records(self, channel: OpenChannel) -> bool:
        """Whether small messages for this channel are records and no files."""
        return INLINE in self.publishing.hello.roles and is_marked(channel.directory)

    def is_staging(self) -> bool:
        """Whether the base has a staged message, or anything else in `tmp`."""
        return any(self.base.tmp.glob("*"))

    def _start(self, implementation: Implementation) -> Party:
        party = Party(implementation, self.base.path, self.lane)
        self.drivers.push(party)
        self.started.append(party)
        return party
