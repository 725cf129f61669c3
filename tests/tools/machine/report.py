"""What came of all mutants: made, killed by what, excused, open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .excuses import Excuses
from .results import ALIVE, EQUAL, EXCUSED, INVALID, KILLED, SURVIVED, Result, Results

STAGES = ("smoke", "concerned", "run", "faults", "fuzz", "stress")
IN_RUN = STAGES[:3]


def open_ones(results: Results, excuses: Excuses) -> list[Result]:
    """Those that survived without an excuse."""
    alive = SURVIVED, EXCUSED
    return [one for one in results if one.outcome in alive and not excuses.of(one.key)]


def wrong_excuses(results: Results, excuses: Excuses) -> list[Result]:
    """Those that were killed in spite of an excuse that says that nobody can."""
    return [one for one in results if one.outcome == KILLED and excuses.of(one.key)]


def table(name: str, results: Results, excuses: Excuses) -> Iterator[str]:
    """The table in markdown."""
    counted = Counter(one.outcome for one in results)
    killed = [one for one in results if one.outcome == KILLED]
    by_stage = Counter(one.stage for one in killed)
    kinds = Counter(
        excuse.kind
        for one in results
        if one.outcome in (SURVIVED, EXCUSED) and (excuse := excuses.of(one.key))
    )
    left = len(open_ones(results, excuses))
    made = len(killed) + sum(kinds.values()) + left + counted[ALIVE]
    yield f"| {name} | mutants | of those made |"
    yield "|---|---:|---:|"

    def row(what: str, number: int) -> str:
        return f"| {what} | {number} | {number / max(made, 1):.1%} |"

    yield f"| not compiled | {counted[INVALID]} | |"
    yield f"| equal to the original or to another | {counted[EQUAL]} | |"
    yield row("made", made)
    yield row("killed in `run`", sum(by_stage[stage] for stage in IN_RUN))
    for stage in IN_RUN:
        yield row(f"— {stage}", by_stage[stage])
    for stage in STAGES[len(IN_RUN) :]:
        yield row(f"killed in `{stage}`", by_stage[stage])
    for how, number in Counter(one.how for one in killed).most_common():
        yield row(f"how: {how}", number)
    for kind, number in kinds.most_common():
        yield row(f"excused: {kind}", number)
    if counted[ALIVE]:
        yield row("not judged to the end", counted[ALIVE])
    yield row("open", left)
    seconds = sum(one.seconds for one in results)
    yield f"\n{seconds:.0f} s in all, {seconds / max(made, 1):.1f} s for each of them\n"
