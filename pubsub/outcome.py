"""What became of a message in the channels that match."""

from __future__ import annotations


class Outcome:
    """The paths of the matching channels, by what became of the message there.

    `taken`: the queue took it (GUAR-1). `full`: the queue had no room (PUB-15). `gone`: nobody
    reads there (PUB-11). `failed`: the system failed (PUB-13); the last may be the staged file that
    could not be removed.
    """

    __slots__ = ("failed", "full", "gone", "taken")

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.full: list[str] = []
        self.gone: list[str] = []
        self.failed: list[tuple[str, OSError]] = []
