"""The figures of all contenders: medians, spreads, ratios and losses."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from ..implementations import Implementation
from ..judge.verdict import Verdict, conclude
from .measures import GROUPS, Contender, Group


class Plan(NamedTuple):
    """What is measured, and how often."""

    contenders: Mapping[str, Contender]
    """By name."""
    baseline: str
    """The contender that ratios refer to."""
    rounds: int
    seconds: float
    """The time of each timed measurement, in each round."""
    groups: Sequence[str]


@dataclass
class Losses:
    """Messages of one contender in one group, in all rounds."""

    sent: int = 0
    lost: int = 0


@dataclass
class Benchmark:
    """The report of one run."""

    plan: Plan
    machine: dict[str, Any]
    values: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    """One value for each round, by group, figure and contender."""
    losses: dict[tuple[str, str], Losses] = field(default_factory=dict)
    """By group and contender."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why a contender was not measured any further, by name."""
    took: float = 0.0
    """Seconds."""
    interrupted: bool = False

    @property
    def verdict(self) -> Verdict:
        """Whether everything was measured. Figures do not matter."""
        return conclude(interrupted=self.interrupted, broken=False, judged=not self.failures)

    @property
    def implementations(self) -> list[Implementation]:
        """Those that were measured, each once."""
        contenders = self.plan.contenders.values()
        return list({each.implementation.name: each.implementation for each in contenders}.values())

    def ratio(self, group: str, figure: str, name: str) -> float | None:
        """The median, over the rounds, of the ratio to the baseline in the same round."""
        mine = self.values.get((group, figure, name), [])
        theirs = self.values.get((group, figure, self.plan.baseline), [])
        pairs = [(one, other) for one, other in zip(mine, theirs, strict=False) if other]
        return statistics.median(one / other for one, other in pairs) if pairs else None

    def show(self, console: Console) -> None:
        """Print a table for each group."""

        plan, machine = self.plan, self.machine
        console.print(
            f"rounds in turn: {plan.rounds}, {plan.seconds:g} s for each timed measurement, ratios"
            f" to {plan.baseline}; {machine['processors']} processors ({machine['processor']}),"
            f" {machine['system']} {machine['release']}, {machine['file_system']}; load"
            f" {machine['load_before']} before, {machine['load_after']} after",
        )
        for implementation in self.implementations:
            console.print(f"  {implementation}")
        for group in map(GROUPS.__getitem__, plan.groups):
            console.print(f"\n{group.name}, {group.unit}", style="bold")
            console.print(group.method, style="dim")
            console.print(self._table(group), soft_wrap=False)
        console.print(
            "Median of the rounds, lowest and highest round, and the median of the ratios to"
            f" {plan.baseline} within each round. Lost: of all messages sent in all rounds."
        )
        for name, reason in self.failures.items():
            console.print(f"\n{name} was not measured any further: {reason}", style="bold red")
        if self.interrupted:
            console.print("\ninterrupted: the report is partial", style="bold red")

    def _table(self, group: Group) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for title in ("", "", "median", "lowest to highest", "ratio", "lost"):
            table.add_column(title, justify="left" if not title else "right", no_wrap=True)
        for figure in group.figures:
            names = list(self.plan.contenders)
            for name in names:
                first, last = name == names[0], name == names[-1]
                columns = self.columns(group, figure, name)
                table.add_row(figure if first else "", name, *columns, end_section=last)
        return table

    def columns(self, group: Group, figure: str, name: str) -> list[str]:
        """The text of a row: median, lowest to highest, ratio, messages lost; or why none."""
        values = self.values.get((group.name, figure, name))
        if not values:
            return ["not measured" if name in self.failures else "does not apply"]
        ratio = self.ratio(group.name, figure, name)
        losses = self.losses[group.name, name]
        return [
            number(statistics.median(values)),
            f"{number(min(values))} to {number(max(values))}",
            "" if ratio is None else f"{ratio:.2f}",
            f"{losses.lost} of {losses.sent}" if losses.lost else "",
        ]

    def as_dict(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "rounds": self.plan.rounds,
            "seconds": self.plan.seconds,
            "took": round(self.took, 3),
            "baseline": self.plan.baseline,
            "interrupted": self.interrupted,
            "implementations": {
                name: each.as_dict() for name, each in self.plan.contenders.items()
            },
            "failures": self.failures,
            "groups": {name: self._group_as_dict(GROUPS[name]) for name in self.plan.groups},
        }

    def _group_as_dict(self, group: Group) -> dict[str, Any]:
        figures: dict[str, dict[str, Any]] = {}
        for figure in group.figures:
            figures[figure] = {}
            for name in self.plan.contenders:
                if values := self.values.get((group.name, figure, name)):
                    figures[figure][name] = {
                        "rounds": values,
                        "median": statistics.median(values),
                        "lowest": min(values),
                        "highest": max(values),
                        "ratio": self.ratio(group.name, figure, name),
                    }
        losses = {
            name: {"sent": counts.sent, "lost": counts.lost}
            for (measured, name), counts in self.losses.items()
            if measured == group.name
        }
        return {"unit": group.unit, "method": group.method, "figures": figures, "losses": losses}


def number(value: float) -> str:
    """A figure with three significant digits, or whole."""
    return f"{value:,.0f}".replace(",", " ") if value >= 100 or value == 0 else f"{value:.3g}"
