"""`faults`: a process killed, or a call failed, at every system call."""

from __future__ import annotations

import argparse
import shlex
import time

from .. import faults
from .options import (
    EXIT_CODES,
    Subparsers,
    add_driver,
    add_home,
    add_json,
    add_workers,
    finish,
    positive,
)
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
    add = parser.add_argument
    add(
        "--operation",
        action="append",
        default=[],
        choices=faults.OPERATIONS,
        metavar="NAME",
        help=f"test only this operation, one of {', '.join(faults.OPERATIONS)}",
    )
    add(
        "--fault",
        action="append",
        default=[],
        metavar="NAME",
        help=f"test only this fault: {faults.KILL}, or an error such as EIO",
    )
    add(
        "--point",
        action="append",
        default=[],
        type=faults.parse,
        metavar="CALL:N:FAULT",
        help="test only this point, written as in a violation report (needs --operation)",
    )
    add(
        "--sample",
        type=positive,
        metavar="N",
        help="test only N points, spread evenly, the same ones in each run",
    )
    add(
        "--other",
        default=[],
        type=shlex.split,
        metavar="COMMAND",
        help="the driver of another implementation, whose processes must be able to go on as well",
    )
    add_home(parser)
    add_json(parser)
    add_workers(parser, "points at a time (default 2)")
    add_driver(parser, run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. Raises OSError (`--home`, `--json`)."""
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
        )
    return finish(found, options)
