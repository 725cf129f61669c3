"""`soak`: files, descriptors and memory over time."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from .. import faketime
from ..judge.report import note
from ..linux import Unavailable
from ..oracle.base import STALE_AGE
from ..stress import soak
from .options import (
    EXIT_CODES,
    Subparsers,
    add_driver,
    add_home,
    add_lane,
    add_number,
    add_seed,
)
from .outputs import JSON, SUMMARY, add_outputs, finish, give_up
from .progress import Line


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "soak",
        help="files, descriptors and memory over time",
        description="Has drivers, each started by COMMAND, open and close channels, publish and"
        " fetch for a long time, and kills some. It counts the descriptors and the memory of the"
        " processes, and the entries of the base directory: none of these may grow. A publisher"
        " may keep only so many descriptors of queues.",
        epilog=EXIT_CODES,
    )
    add_number(parser, "--seconds", "how long (default 60)", 60)
    add_number(parser, "--channels", "at a time (default 100)", 100)
    add_number(
        parser,
        "--clock-ahead",
        "have the drivers' clocks so many seconds ahead (needs libfaketime): with 3540, what killed"
        " processes leave is stale after a minute, and must go; it takes four such times at least",
    )
    add_lane(parser)
    add_outputs(parser, JSON, SUMMARY)
    add_home(parser)
    add_seed(parser)
    add_driver(parser, run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. Raises OSError (`--home`)."""
    ahead = options.clock_ahead
    shortest = 4 * max(0, STALE_AGE - (ahead or STALE_AGE))
    if options.seconds < shortest:
        note(f"--clock-ahead {ahead} needs --seconds {shortest} or more")
        return 2
    note(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="pubsub-", dir=options.home) as home, Line() as line:
        command = options.driver
        if ahead:
            try:
                command = faketime.ahead(command, ahead, Path(home, "clock"))
            except Unavailable as reason:
                return give_up(str(reason), options)
        result = soak.run(
            command,
            Path(home, "base"),
            seconds=options.seconds,
            channels=options.channels,
            seed=options.seed,
            stale=ahead is not None,
            lane=options.lane,
            tell=line.show,
        )
    return finish(result, options)
