"""What a soak counts: what processes have open and in memory, and what lies in the base.

In the end the last quarter of the samples is compared with the second one (the first is for getting
warm). A count grows if even the least of the last quarter is above the most of the second by more
than a margin.
"""

from __future__ import annotations

import os
import resource
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pubsub_conformance.oracle.base import CHANNEL_NAME, names_in

from .memory import anonymous

Left = Literal["nothing", "to a reaper", "to an owner"]


class Kind(NamedTuple):
    """Something that is counted."""

    what: str
    margin: float
    """By how much more it may be: noise."""
    left: Left
    """Each killed process may leave one behind, which a reaper removes once it is stale, or which
    the owner of a channel may keep as long as the channel."""
    breach: str
    """What is broken if it grows."""


PROCESS: Final = {
    "descriptors": Kind(
        "open descriptors",
        4,
        "nothing",
        "closing a channel ends with its descriptors closed (channel.md, Closing, step 2), and a"
        " publish with that of the queue (publish.md, step 4.4)",
    ),
    "memory": Kind(
        "resident memory, KiB",
        1024,
        "nothing",
        "no requirement by itself: a process that grows ends in ENOMEM",
    ),
}
BASE: Final = {
    "base": Kind(
        "entries of the base",
        10,
        "nothing",
        "CHAN-14: a closed channel is removed; REAP-1, REAP-3: opening reaps those of the dead",
    ),
    "tmp": Kind(
        "entries of tmp",
        10,
        "to a reaper",
        "PUB-14: no publish leaves its staged file; CHAN-14: no closing leaves a directory",
    ),
    "files": Kind(
        "message files in channels",
        50,
        "to an owner",
        "PUB-10: a link without an id is withdrawn; FETCH-4: the file of a yielded message is"
        " removed",
    ),
    "base size": Kind(
        "octets of the base directory itself", 8192, "nothing", "as entries of the base"
    ),
    "tmp size": Kind("octets of tmp itself", 8192, "to a reaper", "as entries of tmp"),
}
MOST_KEPT: Final = 256
"""Descriptors that a publisher keeps at most (INLINE-22)."""

ENTRY: Final = 64
"""Octets that one more entry may make a directory larger."""


@dataclass(frozen=True)
class Series:
    """One count, again and again."""

    who: str
    """A process, or the base."""
    what: str
    first: float
    median: float
    last: float
    allowed: float
    """The most of the second quarter, and the margin."""
    least: float
    """Of the last quarter."""
    breach: str

    @property
    def grows(self) -> bool:
        return self.least > self.allowed

    def __str__(self) -> str:
        return (
            f"{self.who:<6}{self.what:<36}{self.first:>10.0f}{self.median:>10.0f}{self.last:>10.0f}"
            f"  {'GROWS' if self.grows else 'flat'}"
        )

    def explain(self) -> str:
        """Why it grows, in a sentence."""
        return (
            f"{self.who}: {self.what} grow: {self.least:.0f} at least in the last quarter,"
            f" {self.allowed:.0f} allowed (the most of the second quarter, and a margin)."
            f" {self.breach[0].upper()}{self.breach[1:]}."
        )

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "grows": self.grows}


@dataclass(frozen=True)
class Kept:
    """How many descriptors of queues a publisher had open (INLINE-22)."""

    who: str
    most: int
    """In one sample."""
    allowed: int

    @property
    def too_many(self) -> bool:
        return self.most > self.allowed

    def __str__(self) -> str:
        return (
            f"{self.who:<6}{'most queues open at a time':<36}{self.most:>30}"
            f"  {'TOO MANY' if self.too_many else f'of {self.allowed}'}"
        )

    def explain(self) -> str:
        """Why these are too many, in a sentence."""
        return (
            f"{self.who}: {self.most} queues were open at a time, {self.allowed} allowed."
            f" INLINE-22: a publisher keeps at most {MOST_KEPT} descriptors, and at most an eighth"
            " of its soft limit; one more is open while it publishes."
        )

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "too_many": self.too_many}


def series_of(
    who: str, what: str, values: Sequence[float], kills: Sequence[int], *, stale: bool = False
) -> Series:
    """Compare the second and the last quarter of the values. `kills` is the number of kills by
    each. With `stale`, what the killed leave to a reaper is stale within a quarter of the time."""
    kind = {**PROCESS, **BASE}[what]
    quarter = len(values) // 4
    earlier, later = values[quarter : 2 * quarter] or values, values[-quarter or -1 :]
    margin = kind.margin
    if kills and (kind.left == "to an owner" or (kind.left == "to a reaper" and not stale)):
        died = kills[-1] - kills[quarter]
        margin += died * (ENTRY if "octets" in kind.what else 1)
    return Series(
        who,
        kind.what,
        values[0],
        statistics.median(values),
        values[-1],
        max(earlier) + margin,
        min(later),
        kind.breach,
    )


class Samples:
    """The counts so far, by who and what."""

    def __init__(self) -> None:
        self.kills: list[int] = []
        """The number of kills by each sample."""
        self.not_checked: tuple[str, ...] = ()
        if not _process_counts(os.getpid()):
            self.not_checked = ("descriptors and memory of processes: this needs /proc of Linux",)
        self._found: dict[tuple[str, str], list[float]] = {}
        self._kept: dict[str, Kept] = {}

    def take(self, pids: Mapping[str, int | None], home: Path, kills: int) -> None:
        """Count now: for these processes, by name, and the base. `kills` so far."""
        for name, pid in pids.items():
            if pid is not None and not self.not_checked:
                self._add(name, _process_counts(pid))
        self._add("base", _base_counts(home))
        self.kills.append(kills)

    def _add(self, who: str, counts: dict[str, float]) -> None:
        for what, value in counts.items():
            self._found.setdefault((who, what), []).append(value)

    def count_kept(self, publishers: Mapping[str, int | None]) -> None:
        """Count the queues that these processes have open now. None of them has channels."""
        for name, pid in publishers.items():
            if pid is not None and (kept := _kept(name, pid)):
                self._kept[name] = max(kept, self._kept.get(name, kept), key=attrgetter("most"))

    def kept(self) -> list[Kept]:
        """The most queues that each publisher had open."""
        return list(self._kept.values())

    def series(self, *, stale: bool = False) -> list[Series]:
        """All series; `stale` as in `series_of`."""
        return [
            series_of(*key, values, self.kills, stale=stale) for key, values in self._found.items()
        ]


def _process_counts(pid: int) -> dict[str, float]:
    """Empty for a process that has just died, and where the system does not say."""
    try:
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return {}
    memory = anonymous(pid)
    return {} if memory is None else {"descriptors": descriptors, "memory": memory}


def _kept(name: str, pid: int) -> Kept | None:
    """The queues that a publisher has open; None where the system does not say."""
    queues = 0
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):  # closed meanwhile
                queues += os.readlink(entry.path).removesuffix(" (deleted)").endswith("/queue")
        soft, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    except OSError:
        return None
    allowed = MOST_KEPT if soft == resource.RLIM_INFINITY else min(MOST_KEPT, soft // 8)
    return Kept(name, queues, allowed + 1)


def _base_counts(home: Path) -> dict[str, float]:
    names = os.listdir(home)
    channels = [name for name in names if CHANNEL_NAME.fullmatch(name)]
    return {
        "base": len(names),
        "tmp": len(names_in(home / "tmp")),
        "files": sum(name.isdecimal() for c in channels for name in names_in(home / c)),
        "base size": home.stat().st_size,
        "tmp size": (home / "tmp").stat().st_size,
    }
