"""`stress`: many processes at the same time, some of them stopped and killed."""

from __future__ import annotations

import argparse
import math
import resource
import sys
from pathlib import Path

from ..driver import Rejected
from ..linux import disk
from ..stress import run as stress
from .options import EXIT_CODES, Subparsers, add_driver, add_home, add_seed, positive
from .progress import Line


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "stress",
        help="many processes at once, some of them stopped and killed",
        description="Has many drivers, each started by COMMAND, publish and subscribe at the same"
        " time, and stops and kills some. Then it judges what they reported: no message may be"
        " lost, doubled, torn or out of order, and each count must be right. If something is"
        " wrong, it saves the history, the seed and a copy of the base directory.",
        epilog=EXIT_CODES,
    )
    add = parser.add_argument
    add("--seconds", type=positive, metavar="N", help="how long (default 30, without --messages)")
    add("--messages", type=positive, metavar="N", help="how many messages, of all publishers")
    add(
        "--publishers",
        type=positive,
        default=4,
        metavar="N",
        help="running at the same time (default 4)",
    )
    add(
        "--subscribers",
        type=positive,
        default=6,
        metavar="N",
        help="running at the same time (default 6): a mix of steady, slow and short-lived ones",
    )
    add("--no-kills", action="store_true", help="neither stop nor kill any process")
    add(
        "--chaos",
        action="store_true",
        help="also remove the base directory while it is in use; where Linux allows it, also fill"
        " its file system and leave processes without descriptors",
    )
    add_home(parser)
    add_seed(parser)
    add_driver(parser, run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. Raises OSError (`--home`)."""
    chaos: tuple[stress.What, ...] = ()
    not_done: list[str] = []
    if options.chaos:
        chaos = stress.CHAOS
        if not hasattr(resource, "prlimit"):
            chaos = tuple(what for what in chaos if what != "descriptors")
            not_done.append("no process was left without descriptors: that needs prlimit of Linux")
        try:
            if options.home:
                raise disk.NoDisk("--home says where the base is to be")
            if not disk.mounted():
                disk.start_again(options.arguments)
        except (disk.NoDisk, OSError) as error:
            chaos = tuple(what for what in chaos if what not in stress.DISK)
            not_done.append(f"no file system was filled: {error}")
    kinds = stress.HABITS
    load = stress.Load(
        publishers=options.publishers,
        readers=tuple(kinds[i % len(kinds)] for i in range(options.subscribers)),
        seconds=options.seconds or (math.inf if options.messages else 30),
        messages=options.messages or math.inf,
        kills=not options.no_kills,
        chaos=chaos,
    )
    print(f"seed {options.seed}", file=sys.stderr)
    with disk.scratch(options.home) as home, Line() as line:
        show = _Progress(line).show
        result = stress.run(options.driver, Path(home, "base"), options.seed, load, tell=show)
    print(result)
    for what in not_done:
        print(what)
    if result.evidence:
        print(f"judge it again: pubsub-conformance check {result.evidence}/history.jsonl")
    if result.interrupted:
        print("interrupted: only what there was until then has been judged")
        return 2
    refused = any(isinstance(error, Rejected) for error in result.errors)
    if result.violations or result.leftovers or refused:
        return 1
    if not result.failed and not result.due:
        print("no message was due anywhere: nothing is proved")
        return 2
    return 2 if result.failed else 0


class _Progress:
    """Shows how far the run is, and how fast it has been in the last three seconds."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._recent: list[stress.Progress] = []

    def show(self, now: stress.Progress) -> None:
        self._recent = [*(one for one in self._recent if one.seconds > now.seconds - 3), now]
        since = now.seconds - self._recent[0].seconds
        rate = (now.published - self._recent[0].published) / since if since else 0.0
        text = (
            f"{now.doing}: {now.published} published, {rate:.0f} a second;"
            f" {now.received} received, backlog {now.backlog};"
            f" {stress.told(now.done)}, {now.violations} violations"
        )
        self._line.show(now.seconds, text)
