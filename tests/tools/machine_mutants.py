"""Mutants that no person chose, made by tools from the reference or from C: does the kit see them?

    python tests/tools/machine_mutants.py --results FILE [options] reference|c

Makes the first N mutants of a draw, runs the kit on each, and keeps what came of it in FILE; a run
that was cut off goes on there. Then it prints a table, and the mutants that survived without an
excuse (tests/tools/machine/excused.toml). Exit status 1 if there are any.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from machine import excuses, report
from machine.c import C
from machine.excuses import Excuses
from machine.judge import Judge, Limits
from machine.making import Maker
from machine.reference import Reference
from machine.results import Results

MAKERS: dict[str, Callable[[Path], Maker]] = {"reference": Reference, "c": C}


def main() -> int:
    parser = argparse.ArgumentParser(
        usage="%(prog)s --results FILE [options] reference|c",
        description=(__doc__ or "").partition("\n")[0],
    )
    add = parser.add_argument
    add("implementation", choices=MAKERS)
    add("--results", type=Path, required=True, metavar="FILE", help="JSON Lines; goes on there")
    add("--number", type=int, default=100, metavar="N", help="of mutants (default 100)")
    add("--seed", type=int, default=1, metavar="N", help="of the draw (default 1)")
    add("--points", type=int, default=100, metavar="N", help="of `faults` (default 100)")
    add("-n", dest="workers", type=int, default=2, metavar="N", help="at a time (default 2)")
    add("--within", default="", metavar="NAME", help="a file or function: channel.Channel.open")
    add("--again", action="store_true", help="judge again what survived, or was too slow")
    add("--report", action="store_true", help="judge nothing, print what came of it so far")
    options = parser.parse_args()
    excused = Excuses(excuses.load(), options.implementation)
    results = Results(options.results)
    if not options.report:
        with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
            Path(directory).chmod(0o755)  # the kit has drivers run as another user
            maker = MAKERS[options.implementation](Path(directory, "common"))
            judge = Judge(maker, results, excused, Limits(points=options.points), options.workers)
            if not (results or options.within):
                judge.control()
            judge.judge(options.number, options.seed, again=options.again, within=options.within)
    print("\n".join(report.table(options.implementation, results, excused)))
    survivors = report.open_ones(results, excused)
    for one in survivors:
        print(f"survived: {one.key}")
    wrong = report.wrong_excuses(results, excused)
    for one in wrong:
        print(f"excused, but killed by {' '.join(one.tests) or one.stage}: {one.key}")
    return 1 if survivors or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
