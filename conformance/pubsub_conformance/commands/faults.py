"""`faults`: a process killed, or a call failed, at every system call."""

from __future__ import annotations

import argparse
import shlex
import time

from .. import faults
from ..judge.report import note
from .options import (
    EXIT_CODES,
    Subparsers,
    add_driver,
    add_home,
    add_number,
    add_several,
    add_workers,
    one_of,
)
from .outputs import JSON, SUMMARY, add_outputs, finish
from .progress import Line


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "faults",
        help="killed, and failed, at every system call",
        description="Lists the system calls of each operation, then disturbs them one at a time:"
        " the process is killed there, or the call fails, once or from then on. After each"
        " disturbance it checks what the specification promises. Needs strace, on Linux.",
        epilog=EXIT_CODES,
    )
    only = f"test only this operation, one of {', '.join(faults.OPERATIONS)}"
    add_several(
        parser, "--operation", only, type=one_of(faults.OPERATIONS, "operation"), metavar="NAME"
    )
    only = f"test only this fault: {faults.KILL}, or an error such as EIO"
    add_several(parser, "--fault", only, type=one_of(faults.FAULTS, "fault"), metavar="NAME")
    only = "test only this point, written as in a violation report (needs --operation)"
    add_several(parser, "--point", only, type=faults.parse, metavar="CALL:N:FAULT")
    spread = "test only N points, spread evenly, the same ones in each run"
    add_number(parser, "--sample", spread)
    parser.add_argument(
        "--other",
        default=[],
        type=shlex.split,
        metavar="COMMAND",
        help="the driver of another implementation, whose processes must be able to go on as well",
    )
    add_home(parser)
    add_outputs(parser, JSON, SUMMARY)
    add_workers(parser, "points at a time (default 2)")
    add_driver(parser, run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. Raises OSError (`--home`)."""
    if options.point and not options.operation:
        note("--point needs --operation: in another operation the same call is another point")
        return 2
    begun = time.monotonic()
    with Line() as line:
        found = faults.run(
            options.driver,
            operations=options.operation,
            faults=options.fault,
            only=options.point,
            other=options.other,
            sample=options.sample,
            home=options.home,
            workers=options.workers,
            tell=lambda text: line.show(time.monotonic() - begun, text),
            report=lambda violation: line.note(str(violation)),
        )
    return finish(found, options)
