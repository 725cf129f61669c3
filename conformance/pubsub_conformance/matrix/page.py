"""The matrix as a page: the grid of cells, and below it why a check did not pass."""

from __future__ import annotations

import shlex
from collections import Counter

from ..implementations import in_lane
from ..judge.outcome import RANK, Outcome
from ..judge.report.html import VERDICT_CLASS, about_the_machine, render
from ..judge.report.machine import platform_on
from .report import VERDICTS, Cell, Matrix, Result


def matrix_page(matrix: Matrix) -> str:
    """The page of a matrix."""
    counted = Counter(result.outcome for cell in matrix.cells for result in cell.results)
    notable = [(cell, result) for cell in matrix.cells for result in cell.notable]
    notable.sort(key=lambda pair: -RANK[pair[1].outcome])  # stable: then in the order of the grid
    names = [implementation.name for implementation in matrix.implementations]
    cells = {(cell.publisher, cell.reader, cell.lane): cell for cell in matrix.cells}
    return render(
        "matrix.html",
        matrix=matrix,
        conclusion=VERDICTS[matrix.verdict][0],
        verdict_class=VERDICT_CLASS[matrix.verdict],
        counts={o.value: counted[o] for o in reversed(Outcome) if counted[o]},
        readers=[in_lane(reader, lane) for reader, lane in matrix.columns],
        rows=[(name, [cells.get((name, *column)) for column in matrix.columns]) for name in names],
        notable=notable,
        repeat=lambda cell: _repeat(matrix, cell),
        place=_place,
        about=[
            *about_the_machine(platform_on(matrix.file_system), matrix.seconds),
            ("seed", str(matrix.seed)),
        ],
    )


def _place(cell: Cell, result: Result) -> str:
    """Where the page describes a result."""
    return f"{cell.publisher}-to-{cell.reader}-{cell.lane}-{result.name}"


def _repeat(matrix: Matrix, cell: Cell) -> str:
    """The command line that repeats a cell, and those of its two implementations."""
    parties = [
        f"{implementation.name}={shlex.join(implementation.command)}"
        for implementation in matrix.implementations
        if implementation.name in (cell.publisher, cell.reader)
    ]
    return shlex.join(["pubsub-conformance", "matrix", "--seed", str(matrix.seed), *parties])
