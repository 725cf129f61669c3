"""`fuzz`: hostile input."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import tempfile
from pathlib import Path

from .. import fuzz
from ..judge.report import note
from .options import (
    EXIT_CODES,
    Subparsers,
    add_driver,
    add_home,
    add_number,
    add_seed,
    add_several,
    one_of,
)
from .outputs import JSON, SUMMARY, add_outputs, finish
from .progress import Line

MEMORY = "/dev/shm"


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "fuzz",
        help="hostile input: message files, directory entries, queues, requests",
        description="Gives the driver started by COMMAND input that an accident or an adversary"
        " could produce, and judges how it reacts. An input that fails is made small and saved.",
        epilog=EXIT_CODES,
    )
    only = f"fuzz only this target, one of {', '.join(fuzz.TARGETS)}"
    add_several(parser, "--target", only, type=one_of(fuzz.TARGETS, "target"), metavar="NAME")
    add_number(parser, "--seconds", "for all targets (default 60, or --inputs)")
    add_number(parser, "--inputs", "for each target")
    add_seed(parser)
    parser.add_argument(
        "--against",
        type=shlex.split,
        metavar="COMMAND",
        help="have a second driver decode the same message files (one word: put quotes around it)",
    )
    saved = "judge only this saved input, or all inputs in this directory (needs one --target)"
    add_several(parser, "--replay", saved, type=Path, metavar="FILE")
    add_outputs(parser, JSON, SUMMARY)
    add_home(parser, default=f"{MEMORY}, if it exists")

    def run_checked(options: argparse.Namespace) -> int:
        if options.replay and len(options.target) != 1:
            parser.error("--replay needs one --target: the one that the files are for")
        return run(options)

    add_driver(parser, run_checked)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. Raises OSError and DriverError."""
    note(f"seed {options.seed}")
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="pubsub-", dir=options.home or memory) as home,
        Line() as line,
    ):
        try:
            report = fuzz.run(
                options.driver,
                Path(home),
                names=options.target or [*fuzz.TARGETS],
                against=options.against,
                seed=options.seed,
                seconds=options.seconds or (math.inf if options.inputs else 60),
                inputs=options.inputs or math.inf,
                saved=options.replay,
                tell=line.show,
            )
        except ValueError as error:  # a saved input is not what the target takes
            note(str(error))
            return 2
    return finish(report, options)
