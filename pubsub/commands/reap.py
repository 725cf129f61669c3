"""`pubsub reap`: remove what dead processes left behind."""

from __future__ import annotations

import argparse
import os

from .. import reaper
from .arguments import EXIT_CODES, Parser
from .output import note, printable, write_text


def parser() -> Parser:
    """The arguments of the command."""
    made = Parser(
        "reap",
        """Remove the channels of dead processes, and what others left for an hour in tmp. Print the
path of each. Opening a channel removes the same.""",
        f"""examples:
  pubsub reap --dry-run   # what would be removed
  pubsub reap

{EXIT_CODES}""",
    )
    made.add_argument("--dry-run", action="store_true", help="print the paths; remove nothing")
    return made


def run(options: argparse.Namespace) -> int:
    """Remove leftovers, and print their paths. Returns the exit code."""
    found = reaper.leftovers()
    if not options.dry_run:
        reaper.reap()
    for path in found:
        if options.dry_run or not os.path.lexists(path):
            write_text(f"{printable(path)}\n")
        else:
            note("reap", f"{path} is still there: it is in use again, or may not be removed")
    return 0
