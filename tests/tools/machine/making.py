"""What makes mutants of an implementation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from .candidates import Candidate


class Invalid(Exception):
    """A mutant that cannot be compiled or linked."""


class Maker(Protocol):
    """It keeps what its mutants have in common in a directory."""

    name: str
    files: Sequence[Path]

    def candidates(self, file: Path) -> Iterator[Candidate]:
        """All that could be changed in one of the files."""

    def code(self, file: Path, text: str) -> str:
        """A digest of what the machine runs, if a file has this text. Raises Invalid.

        Two mutants with the same one are the same mutant.
        """

    def make(self, directory: Path, file: Path, text: str) -> list[str]:
        """Makes a mutant in a new directory. Returns the command of its driver.

        Its code was computed before.
        """
