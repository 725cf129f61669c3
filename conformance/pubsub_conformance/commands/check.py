"""`check`: judge a saved history again."""

from __future__ import annotations

import argparse

from ..judge.check import check
from ..judge.events import load
from ..judge.report import note
from .options import Subparsers
from .outputs import JSON, SUMMARY, add_outputs, finish


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "check",
        help="judge a saved history again",
        description="Judges the history.jsonl that stress saved again. For each violation it shows"
        " the few events that prove it, in the order of time.",
        epilog="Exit codes: 0 nothing is wrong, 1 violations, 2 the file is no history.",
    )
    parser.add_argument("file", metavar="FILE")
    add_outputs(parser, JSON, SUMMARY)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. Raises OSError, BadHistory."""
    events = load(options.file)
    if not events:
        note(f"{options.file} is empty")
        return 2
    return finish(check(events), options)
