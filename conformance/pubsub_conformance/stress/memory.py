"""The memory of the kit in a long run: what is judged is forgotten, so it stays flat.

Python keeps most of the memory that it once needed. So the memory of the process grows with the
largest epoch so far, and only the number of objects shows whether each epoch is forgotten.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

FEWEST: Final = 8
"""Samples, or there is no slope."""


class Sample(NamedTuple):
    """The memory of a process when the run had come so far."""

    deliveries: int
    kib: int | None
    """Anonymous memory, in KiB; None where the system does not say."""
    objects: int
    """Blocks of memory in use by objects of Python."""

    def __str__(self) -> str:
        kib = "" if self.kib is None else f" in {self.kib} KiB"
        return f"{self.objects} objects{kib}"


def anonymous(pid: int) -> int | None:
    """The anonymous memory of a process, in KiB; None where the system does not say (Linux does).

    Pages of programs and libraries come and go as the system likes: they do not count.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    memory = fields.get("RssAnon") or fields.get("VmRSS")
    return int(memory.split()[0]) if memory else None


def warm(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Without the first quarter, which is for getting warm. Empty: there are too few."""
    rest = samples[len(samples) // 4 :]
    enough = len(samples) >= FEWEST and len({sample.deliveries for sample in rest}) > 1
    return rest if enough else []


def slope(samples: Sequence[Sample]) -> float | None:
    """By how many objects the memory grows in a million deliveries; None: too few samples."""
    if not (rest := warm(samples)):
        return None
    deliveries, objects = [s.deliveries for s in rest], [s.objects for s in rest]
    return statistics.linear_regression(deliveries, objects).slope * 1e6


class Memory:
    """Samples of the kit's memory."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def take(self, deliveries: int) -> None:
        """Take a sample after so many deliveries."""
        sample = Sample(deliveries, anonymous(os.getpid()), sys.getallocatedblocks())
        self.samples.append(sample)

    def __str__(self) -> str:
        """In a line; empty for a run that was too short."""
        grows = slope(self.samples)
        if grows is None:
            return ""
        first, *_, last = warm(self.samples)
        return (
            f"memory of the kit: {first} after a quarter of the run, {last} at the end,"
            f" {grows:+.0f} objects per million deliveries"
        )

    def as_dict(self) -> dict[str, Any]:
        grows = slope(self.samples)
        return {
            "samples": [sample._asdict() for sample in self.samples],
            "objects_per_million_deliveries": None if grows is None else round(grows, 1),
        }
