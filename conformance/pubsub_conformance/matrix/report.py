"""The outcomes of all cells: the verdict, the table, and what failed in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..implementations import Implementation, in_lane
from ..judge.expected import Expected
from ..judge.outcome import JUDGED, RANK, STYLE, Outcome, TestResult
from ..judge.report.machine import platform_on
from ..judge.verdict import Verdict, conclude

_SHORT = {Outcome.EXPECTED_FAILURE: "expected", Outcome.FAIL: "FAIL"}

VERDICTS = {
    Verdict.CONFORMS: ("all cells pass, or fail as expected", "bold green"),
    Verdict.BROKEN: ("not all cells pass", "bold red"),
    Verdict.UNJUDGED: ("could not be judged", "bold magenta"),
}


class Result(TestResult):
    """The outcome of one check in one cell.

    `expected` is the reason why a failure was expected, `done` has the last requests and replies
    of a check that did not pass.
    """

    def against(self, expected: Expected | None) -> Result:
        """The result beside the entry of the list of expected failures that names it."""
        if expected is None or (expected.sometimes and self.outcome is Outcome.PASS):
            return self
        if expected.flaky and self.outcome in {Outcome.PASS, Outcome.FAIL}:
            return replace(self, outcome=Outcome.FLAKY, expected=expected.reason)
        outcome = {
            Outcome.FAIL: Outcome.EXPECTED_FAILURE,
            Outcome.PASS: Outcome.UNEXPECTED_PASS,
            Outcome.NOT_APPLICABLE: Outcome.UNEXPECTED_PASS,  # such an entry is wrong, too
        }.get(self.outcome, self.outcome)
        return replace(self, outcome=outcome, expected=expected.reason)

    def describe(self) -> Text:
        text = Text(f"{self.name}: ")
        text.append(self.outcome.value, STYLE.get(self.outcome, ""))
        lines = self.reason.splitlines()
        if self.outcome is Outcome.UNEXPECTED_PASS:
            text.append(f"\n  listed as an expected failure ({self.expected}); remove the entry")
        elif self.outcome in {Outcome.EXPECTED_FAILURE, Outcome.FLAKY}:
            lines = [self.expected, *lines[:1]]
        return text.append("".join(f"\n  {line}" for line in lines))


@dataclass
class Cell:
    """One implementation publishes to one that reads."""

    publisher: str
    reader: str
    lane: str
    """The lane of the reader's channels."""
    results: list[Result]

    def __str__(self) -> str:
        return f"{self.publisher} to {in_lane(self.reader, self.lane)}"

    @property
    def outcome(self) -> Outcome:
        """The most serious one."""
        return max((result.outcome for result in self.results), key=RANK.__getitem__)

    @property
    def notable(self) -> list[Result]:
        """The results that are neither a pass nor not applicable."""
        return [result for result in self.results if RANK[result.outcome] > RANK[Outcome.PASS]]

    def render(self) -> Text:
        """The cell in the table: the checks that did not pass, by outcome."""
        if not self.notable:
            name = "pass" if self.outcome is Outcome.PASS else self.outcome.value
            return Text(name, STYLE.get(self.outcome, "dim"))
        checks: dict[Outcome, list[str]] = {}
        for result in self.notable:
            checks.setdefault(result.outcome, []).append(result.name)
        text = Text()
        for outcome, names in sorted(checks.items(), key=lambda item: -RANK[item[0]]):
            text.append("\n" if text else "")
            text.append(f"{_SHORT.get(outcome, outcome.value)}: ", STYLE.get(outcome, ""))
            text.append(", ".join(names))
        return text

    def as_dict(self) -> dict[str, Any]:
        return {
            "publisher": self.publisher,
            "reader": self.reader,
            "lane": self.lane,
            "outcome": self.outcome.value,
            "checks": [result.as_dict("check") for result in self.results],
        }


@dataclass
class Matrix:
    """The report of one run."""

    implementations: Sequence[Implementation]
    checks: Mapping[str, str]
    """What each check tests, by its name."""
    seed: int
    file_system: str
    cells: list[Cell]
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Who reads, in which lane."""
        return [(each.name, lane) for each in self.implementations for lane in each.lanes]

    @property
    def verdict(self) -> Verdict:
        outcomes = {result.outcome for cell in self.cells for result in cell.results}
        unjudged = {Outcome.DRIVER_ERROR, Outcome.NOT_RUN}
        return conclude(
            interrupted=self.interrupted,
            broken=bool(outcomes & {Outcome.FAIL, Outcome.UNEXPECTED_PASS}),
            judged=not outcomes & unjudged and bool(outcomes & JUDGED),
        )

    def show(self, console: Console) -> None:
        """Print the table, and each result that is not a pass."""
        for implementation in self.implementations:
            console.print(str(implementation))
        table = Table("publishes \\ reads", box=box.SIMPLE_HEAD, show_lines=True)
        for reader, lane in self.columns:
            table.add_column(in_lane(reader, lane), overflow="fold")
        for implementation in self.implementations:
            row = [cell for cell in self.cells if cell.publisher == implementation.name]
            table.add_row(implementation.name, *(cell.render() for cell in row))
        if not console.is_terminal:  # a table in a log is as wide as it needs to be
            console.width = max(console.width, 20 + 24 * len(self.columns))
        console.print(table, soft_wrap=False)
        for cell in self.cells:
            for result in cell.notable:
                console.print(Text(f"\n{cell}, ").append(result.describe()))
        counted = Counter(result.outcome for cell in self.cells for result in cell.results)
        counts = ", ".join(f"{counted[o]} {o.value}" for o in reversed(Outcome) if counted[o])
        console.print(f"\n{counts or 'no checks'}; {self.seconds:.0f} s, seed {self.seed}")
        console.print(Text(*VERDICTS[self.verdict]))

    def as_dict(self) -> dict[str, Any]:
        return {
            "implementations": {each.name: each.as_dict() for each in self.implementations},
            "checks": dict(self.checks),
            "platform": platform_on(self.file_system),
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "cells": [cell.as_dict() for cell in self.cells],
        }
