"""What became of a message in the channels that match."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """The paths of the matching channels, by what became of the message there."""

    taken: list[str]
    """The queue took it (GUAR-1)."""
    full: list[str]
    """The queue had no room (PUB-15)."""
    gone: list[str]
    """Nobody reads there (PUB-11)."""
    failed: list[tuple[str, OSError]]
    """The system failed (PUB-13); the last may be the staged file that could not be removed."""
