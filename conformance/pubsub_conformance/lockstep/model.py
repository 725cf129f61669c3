"""The model: what channels hold and what is on the disk, by the steps so far."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pubsub_conformance.oracle.queue import held, open_queue, size
from pubsub_conformance.oracle.record import MARKER


def names(directory: Path) -> set[str]:
    """The entries of a directory; none if it is gone."""
    return {entry.name for entry in directory.iterdir()} if directory.is_dir() else set()


SMALL: Final = 900
"""Octets of a content that fits into a record, with any header and topic of a schedule."""


@dataclass(frozen=True)
class Sent:
    """A message that was published."""

    number: int
    topic: str
    repeat: int
    """The length of its content, in repetitions of its number."""
    publisher: str
    by_file: bool = True
    """Not a record, in the channel that holds it."""

    @property
    def content(self) -> bytes:
        return f"{self.number}:".encode() * self.repeat

    @property
    def is_small(self) -> bool:
        """Whether it travels as a record where it can. No content has a length in between."""
        return len(self.content) < SMALL

    @property
    def fields(self) -> tuple[str, bytes, dict[str, int]]:
        """Topic, content and headers."""
        return self.topic, self.content, {"n": self.number}

    @property
    def source(self) -> str:
        """The fields, as Python writes them."""
        times = f" * {self.repeat}" if self.repeat != 1 else ""
        return f"{self.topic!r}, b'{self.number}:'{times}, {{'n': {self.number}}}"


@dataclass
class Channel:
    """A channel that somebody reads."""

    name: str
    owner: str
    pattern: str
    handle: Any
    """What its owner knows it by; it has a directory."""
    queue: list[Sent] = field(default_factory=list)
    orphans: int = 0
    foreign: set[str] = field(default_factory=set)
    room: bool | None = True
    """None: unknown. A queue that was full has room after some fetches, or has not."""
    marked: bool = False
    """It takes records."""
    has_marker: bool = False
    """The marker is still there. Without it, publishers may use either lane (INLINE-5)."""

    @property
    def directory(self) -> Path:
        directory: Path = self.handle.directory
        return directory

    @property
    def files(self) -> int:
        """The number of message files that the channel should hold."""
        return sum(sent.by_file for sent in self.queue) + self.orphans

    @property
    def entries(self) -> set[str]:
        """The names in its directory that have to stay."""
        return {"queue", *self.foreign, *([MARKER] if self.has_marker else [])}

    def fill(self) -> tuple[int, int]:
        """The octets in its queue, and how many the queue can hold; both 0 if it is gone."""
        try:
            opened = open_queue(self.directory)
        except OSError:
            return 0, 0
        try:
            return held(opened), size(opened)
        finally:
            os.close(opened)

    def messages(self) -> int:
        """The number of message files that it does hold."""
        return sum(map(str.isdecimal, names(self.directory)))


@dataclass
class Dead:
    """A channel that nobody reads."""

    path: Path
    files: int
    process_runs: bool
    may_be_reaped: bool = False
