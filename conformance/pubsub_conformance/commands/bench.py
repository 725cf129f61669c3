"""`bench`: measure implementations side by side."""

from __future__ import annotations

import argparse

from rich.console import Console

from ..bench import run as bench
from ..bench.measures import GROUPS
from ..bench.page import bench_page
from ..implementations import named
from .options import Subparsers, add_home, add_number, add_several, duration, one_of
from .outputs import JSON, SUMMARY, add_outputs, as_page, finish


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "bench",
        help="measure implementations side by side",
        description="Measures implementations in alternating rounds, with and without the inline"
        " lane if they claim it. COMMAND starts the driver of an implementation.",
        epilog="Exit codes: 0 measured, 2 not all of it. No figure is a verdict.",
    )
    add = parser.add_argument
    add("implementations", nargs="+", metavar="NAME=COMMAND")
    add(
        "--baseline",
        metavar="NAME",
        help="give ratios to this one, without the inline lane (default: the first)",
    )
    add_number(parser, "--rounds", "how many (default 5)", 5)
    add(
        "--seconds",
        type=duration,
        default=0.5,
        metavar="N",
        help="duration of each timed measurement, per round (default 0.5)",
    )
    only = f"measure only this group, one of {', '.join(GROUPS)}"
    add_several(parser, "--only", only, metavar="GROUP", type=one_of(GROUPS, "group"))
    add_outputs(parser, JSON, as_page(bench_page), SUMMARY)
    add_home(parser, default="/dev/shm, if it exists")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. Raises OSError (`--home`)."""
    with Console(stderr=True).status("") as status:
        report = bench.run(
            named(options.implementations),
            baseline=options.baseline,
            rounds=options.rounds,
            seconds=options.seconds,
            only=options.only,
            home=options.home,
            tell=status.update,
        )
    return finish(report, options)
