"""The search for a schedule that fails, and for a short one."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pubsub_conformance.driver import Driver, DriverError
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.queue import unfit

from . import steps
from .world import KIT, Broken, Step, World

SCHEDULES: Final = 15
STEPS: Final = 40  # fewer than the 64 ids that every queue holds: it is full only after `Fill`

SHORTEN_SECONDS: Final = 15.0
"""For shortening a schedule that fails."""

ENABLED: Final = 0.7
"""The share of the kinds of steps that a schedule draws from. Some faults show only where many
steps of a few kinds come together."""

DRIVERS: Final = ("d1", "d2")
PATTERNS: Final = ("a", "=", "+", "a.b", "a.=", "+.b")
TOPICS: Final = ("a", "b", "a.b", "a.c.b")
LENGTHS: Final = (0, 250, 5000, 30_000)  # of a content, in repetitions of a short text: many pages


@dataclass(frozen=True)
class Failure:
    """A schedule that fails."""

    error: Broken | DriverError
    place: str
    """Where the search ended."""
    steps: Sequence[Step] = ()
    script: Sequence[str] = ()
    base: str = ""

    @property
    def requirement(self) -> str | None:
        """None: the driver failed, and nothing is known."""
        return self.error.requirement if isinstance(self.error, Broken) else None

    def __str__(self) -> str:
        script = "\n".join(self.script)
        return f"{self.error}\nreplay it with this script:\n\n{script}\n\nthe base:\n{self.base}"


def _kinds(rng: random.Random) -> tuple[Callable[[], Step], ...]:
    """Each draws a step of its kind."""

    def anybody() -> str:
        return rng.choice((KIT, *DRIVERS))

    def which() -> int:
        return rng.randrange(8)

    def litter() -> Step:
        what = rng.choice((*steps.LITTER, *DRIVERS))
        return steps.Kill(what) if what in DRIVERS else steps.Litter(what)

    return (
        lambda: steps.Open(anybody(), rng.choice(PATTERNS), rng.random() < 0.5),
        lambda: steps.Close(which()),
        lambda: steps.Publish(anybody(), rng.choice(TOPICS)),
        lambda: steps.Publish(anybody(), rng.choice(TOPICS), rng.choice(LENGTHS)),
        lambda: steps.Send(which(), rng.choice((1, 250))),
        lambda: steps.Clean(which()),
        lambda: steps.Fetch(which()),
        lambda: steps.Drain(which()),
        lambda: steps.Fill(which()),
        lambda: steps.Plant(which(), rng.choice(steps.PLANTS)),
        litter,
        lambda: steps.Reap(rng.choice(DRIVERS)),
    )


def schedule(rng: random.Random, roles: Collection[str]) -> list[Step]:
    """Draw the steps of one schedule."""
    kinds = [kind for kind in _kinds(rng) if rng.random() < ENABLED] or _kinds(rng)
    drawn: list[Step] = [
        steps.Open(party, rng.choice(PATTERNS), rng.random() < 0.5) for party in (*DRIVERS, KIT)
    ]
    drawn += [rng.choice(kinds)() for _ in range(STEPS)]
    drawn.append(steps.End())
    if "inline" not in roles:
        drawn = [
            replace(step, inline=False) if isinstance(step, steps.Open) else step for step in drawn
        ]
    return [step for step in drawn if "reaper" in roles or not isinstance(step, steps.Reap)]


def attempt(
    command: Sequence[str],
    under: str | None,
    roles: Collection[str],
    steps: Sequence[Step],
    place: str = "",
) -> Failure | None:
    """How these steps fail, in a new base in the directory `under`."""
    with tempfile.TemporaryDirectory(
        prefix="pubsub-", dir=under, ignore_cleanup_errors=True
    ) as directory:
        world = World(command, Path(directory, "base"), roles)
        try:
            for step in steps:
                world.do(step)
        except (Broken, DriverError) as error:
            done = [step for step, _ in world.done]
            place = f"{place}, step {len(done)}"
            return Failure(error, place, done, world.script(), world.base.tree())
        finally:
            world.close()
    return None


def shortened(
    command: Sequence[str], under: str | None, roles: Collection[str], failure: Failure
) -> Failure:
    """What is left when no step can be struck out, or the time is over."""
    deadline = time.monotonic() + SHORTEN_SECONDS
    size = len(failure.steps) // 2
    while size:
        found = False
        for start in range(len(failure.steps) - size, -1, -size):
            if time.monotonic() > deadline:
                return failure
            rest = [*failure.steps[:start], *failure.steps[start + size :]]
            shorter = attempt(command, under, roles, rest)
            if shorter and shorter.requirement == failure.requirement:
                failure, found = replace(shorter, place=failure.place), True
        size = size if found and size == 1 else size // 2
    return failure


def search(command: Sequence[str], under: str | None, seed: int) -> Failure | None:
    """A short schedule that fails; None: the whole search found none."""
    try:
        with (
            tempfile.TemporaryDirectory(prefix="pubsub-", dir=under) as home,
            Driver(command, Path(home)) as driver,
        ):
            roles = driver.hello.roles
            with Base(Path(home, "probe")).open("fit") as channel:
                if unfit(channel.write_end):  # nobody marks a channel here (INLINE-3)
                    roles = roles - {"inline"}
    except DriverError as error:
        return Failure(error, "the start")
    for number in range(SCHEDULES):
        drawn = schedule(random.Random(f"{seed} schedule {number}"), roles)
        failure = attempt(command, under, roles, drawn, f"schedule {number + 1}")
        if failure:
            return shortened(command, under, roles, failure)
    return None
