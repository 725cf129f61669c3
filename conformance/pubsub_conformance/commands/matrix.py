"""`matrix`: every implementation publishes to every other one."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from ..implementations import named
from ..matrix import run as matrix
from ..matrix.page import matrix_page
from .options import Subparsers, add_home, add_seed
from .outputs import JSON, SUMMARY, add_outputs, as_page, finish


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "matrix",
        help="every implementation publishes to every other one",
        description="Has each implementation publish to each one, itself included, in several"
        " processes on one base directory. One that claims the inline lane reads with and without"
        " it. COMMAND starts the driver of an implementation.",
        epilog="Exit codes: 0 all cells pass, or fail as expected; 1 not; 2 could not be judged.",
    )
    add = parser.add_argument
    add("implementations", nargs="+", metavar="NAME=COMMAND")
    add("--expected", type=Path, metavar="FILE", help="failures that are expected, with reasons")
    add_outputs(parser, JSON, as_page(matrix_page), SUMMARY)
    add_home(parser)
    add_seed(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. Raises OSError (`--home`)."""
    with Console(stderr=True).status("") as status:
        report = matrix.run(
            named(options.implementations),
            expected=options.expected,
            home=options.home,
            seed=options.seed,
            tell=status.update,
        )
    return finish(report, options)
