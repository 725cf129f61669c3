"""What fuzzing found, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from ..judge.report import count
from ..judge.verdict import Verdict, conclude

FEW_INPUTS = 100
"""Of fewer inputs, most kinds of a target's inputs are not among them."""

SHOWN_OCTETS = 200
"""How much of an input is shown."""


@dataclass(frozen=True)
class Finding:
    """A violation, and the input that leads to it."""

    requirement: str
    what: str
    input: bytes
    file: Path
    repeat: str
    """The options that repeat it."""
    alone: bool
    """Whether a fresh driver fails as well; if not, it needs the inputs before this one."""

    def __str__(self) -> str:
        start = self.input[:SHOWN_OCTETS]
        shown = start.hex(" ")
        if start.isascii() and start.decode().isprintable():
            shown = start.decode()
        shown += " …" if len(self.input) > SHOWN_OCTETS else ""
        return "\n".join(
            (
                f"{self.requirement}: {self.what}",
                f"  input ({count(len(self.input), 'octet')}): {shown}",
                f"  saved as {self.file}"
                + ("" if self.alone else "; it fails only after earlier inputs"),
                f"  repeat it: pubsub-conformance fuzz {self.repeat}",
            )
        )

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {
            "requirement": self.requirement,
            "what": self.what,
            "input": self.input.hex(),
            "file": str(self.file),
            "repeat": f"pubsub-conformance fuzz {self.repeat}",
        }


@dataclass
class Outcome:
    """The outcome of one target."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    not_run: str | None = None
    """Why it was not run."""

    def __str__(self) -> str:
        if self.not_run:
            return f"{self.target}: not run: {self.not_run}"
        rate = self.inputs / self.seconds if self.seconds else 0
        violations = count(len(self.findings), "violation") if self.findings else "no violation"
        spent = f"{count(self.inputs, 'input')} in {self.seconds:.0f} s ({rate:.0f} a second)"
        few = "" if self.findings or self.inputs >= FEW_INPUTS else ": too few to prove anything"
        return f"{self.target}: {spent}, {violations}{few}"

    def as_dict(self) -> dict[str, Any]:
        """The outcome as JSON."""
        return {
            "target": self.target,
            "inputs": self.inputs,
            "seconds": round(self.seconds, 3),
            "not_run": self.not_run,
            "violations": [finding.as_dict() for finding in self.findings],
        }


@dataclass(frozen=True)
class Report:
    """The report of `fuzz`."""

    against: Sequence[str] | None
    outcomes: Sequence[Outcome]
    interrupted: bool = False

    @property
    def verdict(self) -> Verdict:
        """Whether the implementation withstood all inputs."""
        return conclude(
            interrupted=self.interrupted,
            broken=any(outcome.findings for outcome in self.outcomes),
            judged=any(outcome.inputs for outcome in self.outcomes),
        )

    def show(self, console: Console) -> None:
        """Print the outcome of each target, with what was found."""
        for outcome in self.outcomes:
            console.print(str(outcome))
            for finding in outcome.findings:
                # Commands and paths are for copying: only the terminal may break them.
                console.print(str(finding), soft_wrap=True)
        if self.interrupted:
            console.print("interrupted")

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON, but for its head."""
        return {
            "against": self.against and list(self.against),
            "interrupted": self.interrupted,
            "targets": [outcome.as_dict() for outcome in self.outcomes],
        }
