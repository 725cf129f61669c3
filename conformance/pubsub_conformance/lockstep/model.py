"""The model: what channels hold and what is on the disk, by the steps so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def names(directory: Path) -> set[str]:
    """The entries of a directory; none if it is gone."""
    return {entry.name for entry in directory.iterdir()} if directory.is_dir() else set()


@dataclass(frozen=True)
class Sent:
    """A message that was published."""

    number: int
    topic: str
    repeat: int
    """The length of its content, in repetitions of its number."""
    publisher: str

    @property
    def content(self) -> bytes:
        return f"{self.number}:".encode() * self.repeat

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

    @property
    def directory(self) -> Path:
        directory: Path = self.handle.directory
        return directory

    @property
    def files(self) -> int:
        """The number of message files that the channel should hold."""
        return len(self.queue) + self.orphans

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
