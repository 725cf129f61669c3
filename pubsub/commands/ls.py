"""`pubsub ls`: list the channels."""

from __future__ import annotations

import argparse
import json

from ..overview import ChannelInfo, channels
from .arguments import EXIT_CODES, Parser
from .output import printable, write_text

_TITLES = ("PATTERN", "PID", "STATE", "WAITING", "AGE", "COMMAND")
_STATES = {True: "alive", False: "dead", None: "?"}
_UNITS = (("d", 86400), ("h", 3600), ("m", 60))


def parser() -> Parser:
    """The arguments of the command."""
    made = Parser(
        "ls",
        """List the channels: their patterns, and the processes that opened them. WAITING is the
number of unread messages; AGE is the time since the channel last changed.""",
        f"""With PATTERN, only the channels that receive topics that it matches. A ? stands for what
cannot be seen: channels of other users, and small messages in an inline queue.

examples:
  pubsub ls
  pubsub ls news.sports   # who receives this topic
  pubsub ls --json

{EXIT_CODES}""",
    )
    made.add_argument("pattern", metavar="PATTERN", nargs="?", help="a pattern, or a topic")
    made.add_argument(
        "--json", action="store_true", help="a JSON object a line, with all that is known"
    )
    return made


def run(options: argparse.Namespace) -> int:
    """List the channels. Returns the exit code."""
    found = channels(options.pattern)
    if options.json:
        for info in found:
            write_text(json.dumps(info._asdict()).replace("\x7f", "\\u007f") + "\n")
        return 0
    rows = [_TITLES, *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        write_text(" ".join(cells).rstrip() + "\n")
    return 0


def _row(info: ChannelInfo) -> tuple[str, ...]:
    return (
        info.pattern,
        str(info.pid),
        _STATES[info.alive],
        "?" if info.waiting is None else str(info.waiting),
        _age(info.age_seconds),
        printable(info.command or "?"),
    )


def _age(seconds: float) -> str:
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"
