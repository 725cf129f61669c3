"""The evidence of a failure: the test's docstring, the drivers' transcripts, the base directory."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..excerpt import folded, without_walls
from .session import HOME, STARTED

TRANSCRIPT_CHARACTERS = 6000  # of each driver's transcript, the last ones
STDERR_CHARACTERS = 2000
LISTED_ENTRIES = 100  # of a base directory


def has_seen_calls(item: pytest.Item) -> bool:
    """Whether a driver of this test was watched."""
    return any(driver.seen for driver in item.stash.get(STARTED, []))


def evidence_of(item: pytest.Item, reason: str) -> dict[str, str]:
    """What a test expected, what it did, and its base directory afterwards, as text.

    What `reason` has of a driver's stderr is not repeated.
    """
    done = []
    for driver in item.stash.get(STARTED, []):
        lines = "\n".join(folded(driver.transcript.splitlines()))
        done.append(f"driver {driver.pid}:\n{lines[-TRANSCRIPT_CHARACTERS:]}")
        stderr = without_walls("\n".join(folded(driver.stderr.strip().splitlines())))
        if stderr and stderr.splitlines()[-1] not in reason:
            done.append(f"its stderr:\n{stderr[-STDERR_CHARACTERS:]}")
        done += driver.seen[-1:]
    home = item.stash.get(HOME, None)
    kept = bool(item.config.getoption("keep"))
    doc = getattr(getattr(item, "obj", None), "__doc__", None) or ""
    return {
        "expected": " ".join(doc.split()),
        "done": "\n".join(done),
        "base": "\n".join(_listing(home, kept)) if home else "",
    }


def _listing(home: Path, kept: bool) -> Iterator[str]:
    if not home.exists():
        yield "(this test has none)"
        return
    if kept:
        yield f"kept: {home}"
    for number, path in enumerate([home, *sorted(home.rglob("*"))]):
        if number == LISTED_ENTRIES:
            yield "…"
            return
        with contextlib.suppress(OSError):
            status = path.lstat()
            name = path if path == home else path.relative_to(home)
            shown = str(name).encode(errors="backslashreplace").decode()
            yield (
                f"{stat.filemode(status.st_mode)} {status.st_nlink} {status.st_uid}"
                f" {status.st_size:>8} {shown}"
            )
