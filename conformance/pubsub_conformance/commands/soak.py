"""`soak`: files, descriptors and memory over time."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from ..judge.report import note
from ..stress import soak
from .options import (
    EXIT_CODES,
    Subparsers,
    add_driver,
    add_home,
    add_number,
    add_seed,
)
from .outputs import JSON, SUMMARY, add_outputs, finish
from .progress import Line


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "soak",
        help="files, descriptors and memory over time",
        description="Has drivers, each started by COMMAND, open and close channels, publish and"
        " fetch for a long time, and kills some. It counts the descriptors and the memory of the"
        " processes, and the entries of the base directory: none of these may grow.",
        epilog=EXIT_CODES,
    )
    add_number(parser, "--seconds", "how long (default 60)", 60)
    add_number(parser, "--channels", "at a time (default 100)", 100)
    add_outputs(parser, JSON, SUMMARY)
    add_home(parser)
    add_seed(parser)
    add_driver(parser, run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. Raises OSError (`--home`)."""
    note(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="pubsub-", dir=options.home) as home, Line() as line:
        result = soak.run(
            options.driver,
            Path(home, "base"),
            seconds=options.seconds,
            channels=options.channels,
            seed=options.seed,
            tell=line.show,
        )
    return finish(result, options)
