"""How a stress run goes, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.text import Text

from pubsub_conformance.driver import DriverError, Rejected
from pubsub_conformance.judge.verdict import Verdict, conclude
from pubsub_conformance.judge.violations import Violation, render

from .disturb import describe
from .load import What
from .memory import Memory

MOST_SHOWN: Final = 10  # errors or files left over, in a result


class Progress(NamedTuple):
    """How far a run is."""

    seconds: float
    doing: str
    published: int
    received: int
    backlog: int
    """The number of octets in the queues."""
    done: dict[What, int]
    """The number of disturbances of each kind."""
    violations: int
    """Found so far, with errors and files left over."""


@dataclass
class Result:
    """What a run has found so far, and how it ended."""

    seed: int
    done: Mapping[What, int]
    """The number of disturbances of each kind."""
    excused: Mapping[str, int]
    """How often each error occurred that a disturbance explains."""
    errors: Sequence[DriverError | Rejected]
    """Errors of drivers and publishes. Nothing in a run makes a correct one fail so."""
    not_done: Sequence[str]
    """Disturbances that were asked for and are not possible here, and why."""
    seconds: float = 0.0
    epochs: int = 0
    publishes: int = 0
    receives: int = 0
    due: int = 0
    """Deliveries that had to happen. Where there is none, nothing is proved."""
    full: int = 0
    """Deliveries that full queues prevented."""
    opened: int = 0
    """The number of channels that were opened, and how many of them were marked."""
    marked: int = 0
    perhaps_records: int = 0
    """Deliveries of small messages to marked channels: records, or files where the queue was half
    full. All others were files."""
    checking: float = 0.0
    """Seconds that it took to judge the longest epoch."""
    memory: Memory = field(default_factory=Memory)
    """Of the kit, at the beginning of each epoch."""
    violations: tuple[Violation, ...] = ()
    leftovers: tuple[str, ...] = ()
    """Names in the base directory after all was read: messages that nobody has any more, and what
    dead processes left and reaping did not remove."""
    interrupted: bool = False
    evidence: Path | None = None
    """The directory with history, seed and a copy of the base directory, if anything failed."""

    @property
    def failed(self) -> bool:
        return bool(self.errors or self.violations or self.leftovers)

    @property
    def verdict(self) -> Verdict:
        refused = any(isinstance(error, Rejected) for error in self.errors)
        return conclude(
            interrupted=self.interrupted,
            broken=bool(self.violations or self.leftovers or refused),
            judged=not self.errors and self.due > 0,
        )

    @property
    def summary(self) -> str:
        text = (
            f"seed {self.seed}: {self.publishes} publishes, {self.receives} deliveries,"
            f" {self.due} of them due, {self.full} prevented by full queues,"
            f" {self.opened} channels opened, {describe(self.done)} in {self.seconds:.0f} s;"
            f" {len(self.violations)} violations, {len(self.errors)} errors,"
            f" {len(self.leftovers)} files left over"
        )
        if self.marked:
            text += (
                f"\nlanes: {self.marked} channels were marked; {self.perhaps_records} deliveries of"
                " small messages to them were records, or files where the queue was half full;"
                f" the other {self.receives - self.perhaps_records} were files"
            )
        if self.excused:
            errors = ", ".join(f"{n} {error}" for error, n in sorted(self.excused.items()))
            text += f"\nexplained by a disturbance: {errors}"
        if memory := str(self.memory):
            text += f"\n{memory}"
        return f"{text}\nevidence: {self.evidence}" if self.evidence else text

    def __str__(self) -> str:
        """The summary, and the first few findings of each kind."""
        parts = [self.summary, *map(str, self.errors[:MOST_SHOWN]), render(self.violations)]
        parts += map("left over: {}".format, self.leftovers[:MOST_SHOWN])
        return "\n".join(filter(None, parts))

    def show(self, console: Console) -> None:
        """Print the summary, the first few findings of each kind, and how to judge them again."""
        console.print(Text("\n".join([str(self), *self.not_done])))
        if self.evidence:
            again = f"pubsub-conformance check {self.evidence}/history.jsonl"
            console.print(Text(f"judge it again: {again}"), soft_wrap=True)
        if self.interrupted:
            console.print("interrupted: only what there was until then has been judged")
        elif not self.failed and not self.due:
            console.print("no message was due anywhere: nothing is proved")

    def as_dict(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "epochs": self.epochs,
            "publishes": self.publishes,
            "opened": self.opened,
            "marked": self.marked,
            "perhaps_records": self.perhaps_records,
            "receives": self.receives,
            "due": self.due,
            "full": self.full,
            "disturbances": dict(self.done),
            "not_done": list(self.not_done),
            "excused": dict(self.excused),
            "checking": round(self.checking, 3),
            "memory": self.memory.as_dict(),
            "violations": [violation.as_dict() for violation in self.violations],
            "errors": list(map(str, self.errors)),
            "leftovers": list(self.leftovers),
            "evidence": str(self.evidence) if self.evidence else None,
        }
