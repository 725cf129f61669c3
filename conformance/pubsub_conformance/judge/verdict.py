"""The verdict of every command, its order and its exit code; what every report has."""

from __future__ import annotations

import enum
from typing import Any, Protocol

from rich.console import Console


class Verdict(enum.Enum):
    """How an implementation came out; the value is the exit code."""

    CONFORMS = 0
    BROKEN = 1
    UNJUDGED = 2

    def __str__(self) -> str:
        return _WORDS[self]


_WORDS = {
    Verdict.CONFORMS: "conforms",
    Verdict.BROKEN: "does not conform",
    Verdict.UNJUDGED: "could not be judged",
}


def conclude(*, interrupted: bool, broken: bool, judged: bool) -> Verdict:
    """The one order of verdicts.

    An interrupted command has none; a proven fault outweighs what could not be judged.
    """
    if interrupted:
        return Verdict.UNJUDGED
    if broken:
        return Verdict.BROKEN
    return Verdict.CONFORMS if judged else Verdict.UNJUDGED


class Report(Protocol):
    """The result of a command."""

    @property
    def verdict(self) -> Verdict:
        """How the implementation came out."""

    def show(self, console: Console) -> None:
        """Print the report for a person."""

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON, but for the head that all reports have."""
