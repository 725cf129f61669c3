"""What a run of faults found, as people read it and as JSON."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from .runner import Run, Tally, Violation

TOLD_CHARACTERS = 300  # of what was found
TOLD_VIOLATIONS = 20  # in full; of the others there is a line


def repeats(ran: Run, violation: Violation) -> str:
    """The command that repeats this point alone."""
    words = ["pubsub-conformance", "faults", "--operation", violation.operation]
    words += ["--point", str(violation.point)] if violation.point else []
    for other in ran.others.values():
        words += ["--other", shlex.join(other)]
    return shlex.join([*words, "--", *ran.command])


def show(ran: Run, console: Console | None = None) -> None:
    console = console or Console()
    if ran.not_run:
        console.print(f"NOT RUN: {ran.not_run}", soft_wrap=True, markup=False)
        if not any(tally.run for tally in ran.tallies.values()):
            return
    table = Table(box=None, pad_edge=True)
    for column in ("operation", "system calls", "crash points", "error points", "violations"):
        table.add_column(column, justify="left" if column == "operation" else "right")
    wrong = Counter(one.operation for one in ran.violations)
    total = Tally()
    for name, tally in ran.tallies.items():
        total.calls += tally.calls
        total.run += tally.run
        cells = (tally.calls, tally.run["crash"], tally.run["error"], wrong[name])
        table.add_row(name, *map(str, cells))
    table.add_row(
        "all", *map(str, (total.calls, total.run["crash"], total.run["error"], wrong.total()))
    )
    console.print(table)
    for violation in ran.violations[:TOLD_VIOLATIONS]:
        console.print("\n" + _told(ran, violation), soft_wrap=True, markup=False, highlight=False)
    for violation in ran.violations[TOLD_VIOLATIONS:]:
        console.print(f"also: {violation.title}", soft_wrap=True, markup=False, highlight=False)
    for failure in ran.failed:
        console.print(failure, soft_wrap=True, markup=False)
    if ran.not_applicable:
        console.print(f"not applicable (roles): {', '.join(ran.not_applicable)}")
    notes = [f"{total.run['untouched']} were not reached again"] * bool(total.run["untouched"])
    if ran.sampled is not None:
        notes.append("a sample of the points")
    if ran.interrupted:
        notes.append("interrupted: only what there was until then has been judged")
    console.print(
        f"{len(ran.tallies)} operations, {total.calls} system calls, {total.run['crash']} crash"
        f" points, {total.run['error']} error points in {ran.seconds:.0f} s:"
        f" {wrong.total()} violations" + "".join(f"; {note}" for note in notes),
        soft_wrap=True,
    )


def _told(ran: Run, violation: Violation) -> str:
    lines = [f"VIOLATION: {violation.title}"]
    lines += [f"  the call: {violation.call}"] if violation.call else []
    lines.append(f"  it came to: {_cut(violation.outcome)}")
    for problem in violation.problems:
        lines += [f"  expected: {problem.expected}", f"  found: {_cut(problem.found)}"]
    lines += ["  the base then:", *(f"    {line}" for line in violation.tree.splitlines())]
    lines.append(f"  again: {repeats(ran, violation)}")
    return "\n".join(lines)


def _cut(text: str) -> str:
    return text if len(text) <= TOLD_CHARACTERS else f"{text[:TOLD_CHARACTERS]}…"


def as_dict(ran: Run) -> dict[str, Any]:
    """The report as JSON."""
    return {
        "command": list(ran.command),
        "others": {name: list(command) for name, command in ran.others.items()},
        "implementation": ran.hello.implementation if ran.hello else None,
        "not_run": ran.not_run,
        "failed": ran.failed,
        "interrupted": ran.interrupted,
        "seconds": round(ran.seconds, 1),
        "not_applicable": ran.not_applicable,
        "operations": {
            name: {
                "calls": tally.calls,
                "points": len(tally.points),
                **{kind: tally.run[kind] for kind in ("crash", "error", "untouched", "same")},
            }
            for name, tally in ran.tallies.items()
        },
        "violations": [
            {
                "operation": one.operation,
                "point": str(one.point) if one.point else None,
                "call": one.call,
                "outcome": one.outcome,
                "problems": [vars(problem) for problem in one.problems],
                "tree": one.tree,
                "again": repeats(ran, one),
            }
            for one in ran.violations
        ],
    }
