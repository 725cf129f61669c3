"""What a run of faults found, for people and as JSON."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from ..driver import Hello
from ..judge.report import count
from ..judge.verdict import Verdict, conclude
from .points import Point, Stop
from .steps import Step
from .verdict import Problem

SHOWN_CHARACTERS = 300
"""How much of a finding is shown."""

SHOWN_VIOLATIONS = 20
"""How many violations are shown in full; each of the others gets one line."""


@dataclass(frozen=True)
class Violation:
    """An operation that did not keep to the specification."""

    operation: str
    point: Point | None
    """None: nothing was disturbed."""
    call: str
    """The disturbed call, as strace shows it."""
    outcome: str
    problems: tuple[Problem, ...]
    tree: str
    """The base, right after the request."""

    @property
    def title(self) -> str:
        """The operation, and what disturbed it."""
        fault = self.point.describe() if self.point else "undisturbed"
        return f"{self.operation}, {fault}"

    def __str__(self) -> str:
        """The violation in one line."""
        first = self.problems[0]
        return f"VIOLATION: {self.title}: {_cut(str(first))}"


@dataclass
class Tally:
    """The calls and points of one operation, and how many points were run."""

    calls: int = 0
    points: list[Point] = field(default_factory=list)
    run: Counter[str] = field(default_factory=Counter)
    """How many points of each kind were run: crash, error, helper, untouched, same, failed."""
    descriptors: int = 0
    """How many descriptors the process has open after an undisturbed operation."""
    steps: dict[Step, list[Point]] = field(default_factory=dict)
    """The points of each step: far fewer than `points`."""
    warm: Tally | None = None
    """The same of a process that has done the operation before, in another base; None if it does
    not make the same calls each time."""
    stops: list[Stop] = field(default_factory=list)
    """The calls after which the process may be stopped."""
    seconds: float = 0.0
    """How long the undisturbed request took under strace."""
    own: dict[str, int] = field(default_factory=dict)
    """As `points.conversation` says."""

    def stop_for(self, point: Point | None) -> Stop | None:
        """The first stop at which this point can be disturbed, if there is one.

        strace cannot both stop at a name and disturb it.
        """
        name = point.call if point else None
        return next((stop for stop in self.stops if stop.call != name), None)


@dataclass
class Run:
    """The report of `faults`."""

    command: Sequence[str]
    others: dict[str, Sequence[str]]
    hello: Hello | None = None
    tallies: dict[str, Tally] = field(default_factory=dict)
    not_applicable: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    not_run: str | None = None
    """Why this machine cannot run it."""
    failed: list[str] = field(default_factory=list)
    """Points that could not be judged, with the reason: a driver did not start, say."""
    interrupted: bool = False
    sampled: int | None = None
    seconds: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """Whether the implementation keeps to the specification when it is disturbed."""
        done = any(tally.run["crash"] + tally.run["error"] for tally in self.tallies.values())
        return conclude(
            interrupted=self.interrupted,
            broken=bool(self.violations),
            judged=done and not self.not_run and not self.failed,
        )

    def repeat(self, violation: Violation) -> str:
        """The command line that repeats this point alone."""
        words = ["pubsub-conformance", "faults", "--operation", violation.operation]
        words += ["--point", str(violation.point)] if violation.point else []
        for other in self.others.values():
            words += ["--other", shlex.join(other)]
        return shlex.join([*words, "--", *self.command])

    def show(self, console: Console) -> None:
        """Print the table of operations, each violation, and a summary."""
        if self.not_run:
            console.print(f"NOT RUN: {self.not_run}")
            if not any(tally.run for tally in self.tallies.values()):
                return
        console.print(self._table())
        for violation in self.violations[:SHOWN_VIOLATIONS]:
            # Commands and paths are for copying: only the terminal may break them.
            console.print("\n" + self._describe(violation), soft_wrap=True)
        for violation in self.violations[SHOWN_VIOLATIONS:]:
            console.print(f"also: {violation.title}")
        for failure in self.failed:
            console.print(failure, soft_wrap=True)
        if self.not_applicable:
            console.print(f"not applicable (roles): {', '.join(self.not_applicable)}")
        console.print(self._summary())

    def _total(self) -> Tally:
        total = Tally()
        for tally in self.tallies.values():
            total.calls += tally.calls
            total.run += tally.run
        return total

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=True)
        table.add_column("operation")
        for column in ("system calls", "points", "crash points", "error points", "others"):
            table.add_column(column, justify="right")
        table.add_column("violations", justify="right")
        wrong = Counter(violation.operation for violation in self.violations)
        wrong["all"] = wrong.total()
        for name, tally in {**self.tallies, "all": self._total()}.items():
            points, crash, error = tally.run.total(), tally.run["crash"], tally.run["error"]
            cells = (tally.calls, points, crash, error, points - crash - error, wrong[name])
            table.add_row(name, *map(str, cells))
        return table

    def _describe(self, violation: Violation) -> str:
        lines = [f"VIOLATION: {violation.title}"]
        lines += [f"  the call: {violation.call}"] if violation.call else []
        lines.append(f"  the outcome: {_cut(violation.outcome)}")
        for problem in violation.problems:
            lines += [f"  expected: {problem.expected}", f"  found: {_cut(problem.found)}"]
        lines += ["  the base after it:", *(f"    {line}" for line in violation.tree.splitlines())]
        lines.append(f"  again: {self.repeat(violation)}")
        return "\n".join(lines)

    def _summary(self) -> str:
        total = self._total()
        parts = [
            count(len(self.tallies), "operation"),
            count(total.calls, "system call"),
            count(total.run["crash"], "crash point"),
            f"{count(total.run['error'], 'error point')} in {self.seconds:.0f} s:"
            f" {count(len(self.violations), 'violation')}",
        ]
        notes = []
        if untouched := total.run["untouched"]:
            notes.append(f"{untouched} not reached again")
        if helpers := total.run["helper"]:
            notes.append(f"{helpers} met a helper process instead of the driver")
        if same := total.run["same"]:
            notes.append(
                f"{count(same, 'lasting error')} met one call only, like the one that comes once"
            )
        if failed := total.run["failed"]:
            notes.append(f"{failed} could not be judged")
        if self.sampled is not None:
            notes.append("a sample of the points")
        if self.interrupted:
            notes.append("interrupted: only the points run so far were judged")
        return "; ".join([", ".join(parts), *notes])

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON, but for its head."""
        return {
            "others": {name: list(command) for name, command in self.others.items()},
            "implementation": self.hello.implementation if self.hello else None,
            "not_run": self.not_run,
            "failed": self.failed,
            "interrupted": self.interrupted,
            "seconds": round(self.seconds, 1),
            "not_applicable": self.not_applicable,
            "operations": {
                name: {
                    "calls": tally.calls,
                    "points": len(tally.points),
                    **{
                        kind: tally.run[kind]
                        for kind in ("crash", "error", "helper", "untouched", "same", "failed")
                    },
                }
                for name, tally in self.tallies.items()
            },
            "violations": [
                {
                    "operation": violation.operation,
                    "point": str(violation.point) if violation.point else None,
                    "call": violation.call,
                    "outcome": violation.outcome,
                    "problems": [vars(problem) for problem in violation.problems],
                    "tree": violation.tree,
                    "again": self.repeat(violation),
                }
                for violation in self.violations
            ],
        }


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
