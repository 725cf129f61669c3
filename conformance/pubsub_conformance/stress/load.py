"""The load of a stress run: how much it does, and of what kind."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from .lanes import Lane

TOPICS: Final = ("a", "a.b", "a.c", "a.b.c", "b.c")
PATTERNS: Final = (("+",), ("a.=", "=.c"), ("a.b", "a.c"), ("a.+", "+.c"))
"""Subscribers take one of each in turn: the first gets everything, and all overlap."""

LARGEST: Final = 4 * 2**20
"""Octets: many times a pipe, a page and a buffer of a standard library."""

Habit = Literal["steady", "slow", "visitor", "late"]
"""How a subscriber reads. *steady*: always. *slow*: a little, with pauses. *visitor*: it opens,
reads a little and closes, again and again. *late*: only once all is published."""

HABITS: Final[tuple[Habit, ...]] = ("steady", "slow", "visitor")

What = Literal["kill", "stop", "remove", "rename", "blocks", "inodes", "descriptors"]
"""The name of a disturbance, see `disturb`."""

DISK: Final[tuple[What, ...]] = ("blocks", "inodes")
CHAOS: Final[tuple[What, ...]] = ("remove", "rename", *DISK, "descriptors")


@dataclass(frozen=True)
class Load:
    """How much a run does, and of what. It ends by time or by number, whichever comes first."""

    publishers: int = 4
    readers: tuple[Habit, ...] = HABITS * 2
    seconds: float = math.inf
    messages: float = math.inf
    """Of all publishers together."""
    deliveries: float = math.inf
    """To all subscribers together."""
    kills: bool = True
    """Processes are killed and stopped."""
    chaos: tuple[What, ...] = ()
    """Disturbances out of CHAOS. Those of DISK need a base right below the mount point of a
    Disk."""
    calm: tuple[float, float] = (0.05, 0.6)
    """Seconds between two disturbances: at least, and at most."""
    timeouts: tuple[float | None, ...] = (None, None, None, None, 0.02, 0.2)
    """Seconds for which a publisher waits for full queues; one is drawn for each burst."""
    largest: int = LARGEST
    lane: Lane | None = None
    """None: *mixed* if the driver claims the role inline, and *files* otherwise."""

    @property
    def disturbances(self) -> tuple[What, ...]:
        return (*(("kill", "stop") if self.kills else ()), *self.chaos)

    def as_dict(self) -> dict[str, Any]:
        """Without what does not limit the run: infinity is not JSON."""
        return {name: value for name, value in asdict(self).items() if value != math.inf}


SHORT: Final = Load(readers=("late", *HABITS * 2), seconds=3.0, calm=(0.0, 0.2))
"""A run of `stress` in a few seconds: processes are stopped and killed all the time, channels come
and go, queues are full, and messages have up to 4 MiB. The seed draws everything."""
