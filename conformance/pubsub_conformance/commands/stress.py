"""`stress`: many processes at the same time, some of them stopped and killed."""

from __future__ import annotations

import argparse
import math
import resource
from pathlib import Path

from ..judge.report import note
from ..linux import disk
from ..stress import run as stress
from ..stress.disturb import describe
from ..stress.load import CHAOS, DISK, HABITS, Load, What
from ..stress.result import Progress
from .options import (
    EXIT_CODES,
    Subparsers,
    add_driver,
    add_home,
    add_lane,
    add_number,
    add_seed,
)
from .outputs import JSON, SUMMARY, add_outputs, finish
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
    add_number(parser, "--seconds", "how long (default 30, without the next two)")
    add_number(parser, "--messages", "how many messages, of all publishers")
    add_number(parser, "--deliveries", "how many deliveries, to all subscribers")
    add_number(parser, "--publishers", "running at the same time (default 4)", 4)
    mix = "running at the same time (default 6): a mix of steady, slow and short-lived ones"
    add_number(parser, "--subscribers", mix, 6)
    add("--no-kills", action="store_true", help="neither stop nor kill any process")
    add(
        "--chaos",
        action="store_true",
        help="also remove the base directory while it is in use; where Linux allows it, also fill"
        " its file system and leave processes without descriptors",
    )
    add_lane(parser)
    add_outputs(parser, JSON, SUMMARY)
    add_home(parser)
    add_seed(parser)
    add_driver(parser, run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. Raises OSError (`--home`)."""
    chaos: tuple[What, ...] = ()
    not_done: list[str] = []
    if options.chaos:
        chaos = CHAOS
        if not hasattr(resource, "prlimit"):
            chaos = tuple(what for what in chaos if what != "descriptors")
            not_done.append("no process was left without descriptors: that needs prlimit of Linux")
        try:
            if options.home:
                raise disk.NoDisk("--home says where the base is to be")
            if not disk.mounted():
                disk.start_again(options.arguments)
        except (disk.NoDisk, OSError) as error:
            chaos = tuple(what for what in chaos if what not in DISK)
            not_done.append(f"no file system was filled: {error}")
    load = Load(
        publishers=options.publishers,
        readers=tuple(HABITS[i % len(HABITS)] for i in range(options.subscribers)),
        seconds=options.seconds or (math.inf if options.messages or options.deliveries else 30),
        messages=options.messages or math.inf,
        deliveries=options.deliveries or math.inf,
        kills=not options.no_kills,
        chaos=chaos,
        lane=options.lane,
    )
    note(f"seed {options.seed}")
    with disk.scratch(options.home) as home, Line() as line:
        result = stress.run(
            options.driver,
            Path(home, "base"),
            options.seed,
            load,
            tell=_Recent(line).show,
            not_done=not_done,
        )
    return finish(result, options)


class _Recent:
    """Shows how far the run is, and how fast it has been in the last three seconds."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._recent: list[Progress] = []

    def show(self, now: Progress) -> None:
        self._recent = [*(p for p in self._recent if p.seconds > now.seconds - 3), now]
        since = now.seconds - self._recent[0].seconds
        rate = (now.published - self._recent[0].published) / since if since else 0.0
        text = (
            f"{now.doing}: {now.published} published, {rate:.0f} a second;"
            f" {now.received} received, {now.backlog} octets in queues;"
            f" {describe(now.done)}, {now.violations} violations"
        )
        self._line.show(now.seconds, text)
