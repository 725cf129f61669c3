"""The memory of the kit in a long run: what is judged is forgotten, so it stays flat."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

FEWEST: Final = 8
"""Samples, or there is no slope."""


class Sample(NamedTuple):
    """The memory of a process when the run had come so far."""

    deliveries: int
    kib: int
    """Anonymous memory, in KiB."""


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


def slope(samples: Sequence[Sample]) -> float | None:
    """By how many KiB the memory grows in a million deliveries; None: too few samples.

    The first quarter is for getting warm.
    """
    warm = samples[len(samples) // 4 :]
    if len(samples) < FEWEST or len({sample.deliveries for sample in warm}) < 2:
        return None
    return statistics.linear_regression(*zip(*warm, strict=True)).slope * 1e6


class Memory:
    """Samples of the kit's memory."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def take(self, deliveries: int) -> None:
        """Take a sample after so many deliveries."""
        kib = anonymous(os.getpid())
        if kib is not None:
            self.samples.append(Sample(deliveries, kib))

    def __str__(self) -> str:
        """In a line; empty for a run that was too short."""
        grows = slope(self.samples)
        if grows is None:
            return ""
        first, *_, last = (sample.kib for sample in self.samples[len(self.samples) // 4 :])
        return (
            f"memory of the kit: {first} KiB after a quarter of the run, {last} KiB at the end,"
            f" {grows:+.0f} KiB per million deliveries"
        )

    def as_dict(self) -> dict[str, Any]:
        grows = slope(self.samples)
        return {
            "samples": [sample._asdict() for sample in self.samples],
            "kib_per_million_deliveries": None if grows is None else round(grows, 1),
        }
