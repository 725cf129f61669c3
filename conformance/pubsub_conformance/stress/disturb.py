"""Disturbances: a process is killed or stopped, the base goes away, something is short.

Their moments follow from the seed. An operation may fail meanwhile with the error that fits.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pubsub_conformance.driver import Rejected
from pubsub_conformance.judge.events import Event, Removed
from pubsub_conformance.linux.disk import Disk
from pubsub_conformance.waiting import now

from .load import Load, What
from .process import Process
from .timeline import Action, Timeline

LONGEST_STOP: Final = 1.0  # seconds

LONGEST_SHORTAGE: Final = 1.0
"""Seconds for which the file system is full, or a process may open no more files."""

SLACK: Final = (0, 0, 0, 1, 2, 3)
"""The number of descriptors, inodes or blocks that are left; one is drawn each time. An operation
that takes several has to fail at each of them."""

REMOVALS: Final = 20
"""Tries to empty a base that others fill; after that it is renamed away."""


@dataclass
class World:
    """What disturbances have at hand beside a process."""

    home: Path
    disk: Disk | None
    note: Callable[[Event], object]
    renamed: int = 0


@dataclass(frozen=True)
class Disturbance:
    """One kind of disturbance."""

    counted: str
    """Its name in the plural."""
    often: int
    """How often it is drawn, in proportion."""
    begin: Callable[[World, Process, int], Action | None]
    """Begins it, with so much slack. Returns the action that ends it; None if it cannot begin
    now."""
    errno: str | None = None
    """What operations may fail with meanwhile. Each may also be a base that cannot be used
    (BASE-3)."""
    loses: bool = False
    """Channels may be lost by it. It is over at once."""
    of_process: bool = True
    """It concerns one process, and not all."""
    takes: str = ""
    """The resource that it takes away. Two that take the same never last at the same time."""


def _kill(world: World, victim: Process, slack: int) -> Action | None:
    return (lambda: None) if victim.kill() else None  # nothing has to be undone


def _stop(world: World, victim: Process, slack: int) -> Action | None:
    go_on = functools.partial(victim.signal, signal.SIGCONT)
    return go_on if victim.signal(signal.SIGSTOP) else None


def _remove(world: World, victim: Process, slack: int, tries: int = REMOVALS) -> Action | None:
    """File by file under those who work in it, and then as a whole."""
    start = now()
    world.renamed += 1
    away = world.home.with_name(f"{world.home.name}-{world.renamed}")
    try:
        for _ in range(tries):
            with suppress(OSError):  # somebody put something new there
                shutil.rmtree(world.home)
                break
        else:
            world.home.rename(away)
    except FileNotFoundError:  # nobody has made it since the last time
        return None
    world.note(Removed(start, now()))
    return functools.partial(shutil.rmtree, away, ignore_errors=True)


def _shrink(world: World, victim: Process, slack: int, what: str) -> Action | None:
    assert world.disk
    world.disk.shrink(**{what: slack})
    return world.disk.grow


def _limit(world: World, victim: Process, slack: int) -> Action | None:
    return victim.limit(slack)


_rename = functools.partial(_remove, tries=0)
_blocks = functools.partial(_shrink, what="blocks")
_inodes = functools.partial(_shrink, what="inodes")

DISTURBANCES: Final[dict[What, Disturbance]] = {
    "kill": Disturbance("kills", 4, _kill),
    "stop": Disturbance("stops", 6, _stop),
    "remove": Disturbance(
        "removals of the base", 1, _remove, "ENOENT", loses=True, of_process=False
    ),
    "rename": Disturbance("renames of it", 1, _rename, "ENOENT", loses=True, of_process=False),
    "blocks": Disturbance(
        "times without blocks", 1, _blocks, "ENOSPC", of_process=False, takes="disk"
    ),
    "inodes": Disturbance("without inodes", 2, _inodes, "ENOSPC", of_process=False, takes="disk"),
    "descriptors": Disturbance("without descriptors", 3, _limit, "EMFILE", takes="descriptors"),
}


def describe(done: Mapping[What, int]) -> str:
    """How often each kind of disturbance was done, in words."""
    return ", ".join(f"{n} {DISTURBANCES[what].counted}" for what, n in done.items())


class Moment(NamedTuple):
    """A disturbance to come."""

    at: float
    """Seconds since the epoch began."""
    what: What
    victim: str
    """The worker whose process is disturbed, if it is one."""
    seconds: float
    """How long it lasts."""
    slack: int
    """The number of descriptors, blocks or inodes that are left."""


def moments(seed: int, epoch: int, victims: Sequence[str], load: Load) -> Iterator[Moment]:
    """The disturbances of an epoch; without end if the load has kinds of them."""
    kinds = load.disturbances
    rng = random.Random(f"{seed} disruptions {epoch}")
    often = [DISTURBANCES[what].often for what in kinds]
    at = 0.0
    while kinds:
        at += rng.uniform(*load.calm)
        (what,) = rng.choices(kinds, often)
        # Short stops widen the gaps between two system calls, long ones fill queues.
        stop = rng.choice((rng.uniform(0.01, 0.1), rng.uniform(0.3, LONGEST_STOP)))
        seconds = stop if what == "stop" else rng.uniform(0.1, LONGEST_SHORTAGE)
        yield Moment(at, what, rng.choice(victims), seconds, rng.choice(SLACK))


@dataclass
class Trouble:
    """A time in which a disturbance explains errors, in nanoseconds."""

    what: What
    victim: str | None
    """The worker that it concerns; None: all."""
    start: int
    end: float = math.inf

    def explains(self, error: Rejected, start: int, end: int, worker: str) -> bool:
        """Whether an operation of the worker that began and ended then may fail so.

        Whether a channel was lost is judged by the history.
        """
        cause = DISTURBANCES[self.what]
        if self.start > end or (self.victim or worker) != worker or cause.errno is None:
            return False
        if error.code == "channel-lost":
            return cause.loses
        return self.end >= start and (error.code == "base-unusable" or error.errno == cause.errno)

    def excludes(self, other: Trouble) -> bool:
        """Whether the other one cannot begin now."""
        takes = DISTURBANCES[self.what].takes
        return (
            self.end == math.inf
            and bool(takes)
            and (takes, self.victim) == (DISTURBANCES[other.what].takes, other.victim)
        )


class Disturber:
    """Begins and ends the disturbances of a run."""

    def __init__(
        self,
        seed: int,
        load: Load,
        world: World,
        victims: Mapping[str, Process],
        troubles: list[Trouble],
    ) -> None:
        """`victims` are the processes by the names of their workers; `troubles` is added to."""
        self.seed, self.load, self.world = seed, load, world
        self.victims, self.troubles = victims, troubles
        self.done: dict[What, int] = dict.fromkeys(("kill", "stop", *load.disturbances), 0)
        """How many disturbances of each kind there were."""

    def disturb(self, timeline: Timeline, epoch: int) -> None:
        """Put the disturbances of an epoch on its timeline."""
        coming = moments(self.seed, epoch, list(self.victims), self.load)

        def wait_for_next() -> None:
            for moment in itertools.islice(coming, 1):
                timeline.at(moment.at, functools.partial(act, moment))

        def act(moment: Moment) -> None:
            end = self._begin(moment)
            if end:
                self.done[moment.what] += 1
                timeline.at(moment.at + moment.seconds, end, owed=True)
            wait_for_next()

        wait_for_next()

    def _begin(self, moment: Moment) -> Action | None:
        cause = DISTURBANCES[moment.what]
        trouble = Trouble(moment.what, moment.victim if cause.of_process else None, now())
        if any(other.excludes(trouble) for other in self.troubles):
            return None
        self.troubles.append(trouble)
        undo = cause.begin(self.world, self.victims[moment.victim], moment.slack)
        if undo is None:
            self.troubles.remove(trouble)
            return None
        if cause.loses:
            trouble.end = now()

        def end() -> None:
            undo()
            trouble.end = min(trouble.end, now())

        return end
