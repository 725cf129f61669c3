"""`bench`: measure implementations side by side."""

from __future__ import annotations

import argparse

from rich.console import Console

from .. import alternatives, bench
from ..implementations import named
from .options import Subparsers, add_home, add_json, duration, positive, write_json


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    others = ", ".join(map("alternative:{}".format, alternatives.NAMES))
    parser = subparsers.add_parser(
        "bench",
        help="measure implementations side by side",
        description="Measures implementations, and what could be used instead of them, in rounds"
        f" that alternate. COMMAND starts a driver, or is one of {others}.",
        epilog="Exit codes: 0 measured, 2 not all of it. No figure is a verdict.",
    )
    add = parser.add_argument
    add("implementations", nargs="+", metavar="NAME=COMMAND")
    add("--baseline", metavar="NAME", help="give ratios to this one (default: the first)")
    add("--rounds", type=positive, default=5, metavar="N", help="how many (default 5)")
    add(
        "--seconds",
        type=duration,
        default=0.5,
        metavar="N",
        help="duration of each timed measurement, per round (default 0.5)",
    )
    add(
        "--only",
        action="append",
        default=[],
        metavar="GROUP",
        help=f"measure only this group, one of {', '.join(bench.GROUPS)}",
    )
    add_json(parser)
    add_home(parser, default="/dev/shm, if it exists")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. Raises OSError (`--home`, `--json`)."""
    with Console(stderr=True).status("") as status:
        found = bench.run(
            named(options.implementations),
            baseline=options.baseline,
            rounds=options.rounds,
            seconds=options.seconds,
            only=options.only,
            home=options.home,
            tell=status.update,
        )
    bench.show(found)
    write_json(options.json, bench.as_dict(found))
    return found.exit_code
