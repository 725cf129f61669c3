"""What a driver has open when a test ends: nothing of the base but its open channels (BASE-16).

This is looked at after each test, for every driver that still runs, wherever the system shows the
descriptors of another process in /proc. A test that found something else is left alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..driver.group import running
from ..oracle.base import CHANNEL_NAME, MESSAGE_NAME
from ..waiting import until

REQUIREMENT = "BASE-16"

PATIENCE_SECONDS = 1.0
"""How long a thread of the driver may need to close what a request that was answered has used."""

Identity = tuple[int, int]
"""Device and inode."""


class LeftOpen(AssertionError):
    """A driver left descriptors open. The text names what they lead to."""


@dataclass(frozen=True)
class Opened:
    """A descriptor of a driver."""

    process: int
    number: int
    path: Path
    """Where it leads to; a removed file has the path that it had."""
    status: os.stat_result

    @property
    def identity(self) -> Identity:
        return self.status.st_dev, self.status.st_ino

    @property
    def is_write_end(self) -> bool:
        """Whether it can only be written to."""
        with contextlib.suppress(OSError):  # it was just closed
            shown = Path(f"/proc/{self.process}/fdinfo/{self.number}").read_text()
            flags = re.search(r"^flags:\s*([0-7]+)$", shown, re.MULTILINE)
            return flags is not None and int(flags[1], 8) & os.O_ACCMODE == os.O_WRONLY
        return False

    @property
    def is_bound_to_end(self) -> bool:
        """Whether it leads to a channel, a queue or a message: it ends with the operation."""
        if stat.S_ISDIR(self.status.st_mode):
            return self.path.parent.name == "tmp" or bool(CHANNEL_NAME.fullmatch(self.path.name))
        return self.path.name == "queue" or bool(MESSAGE_NAME.fullmatch(self.path.name))


def check(group: int, top: Path, own: set[Identity], channels: int, marked: set[Identity]) -> None:
    """Raise LeftOpen if a process of the group has more of `top` open than it needs.

    `own` are the directories and queues of its open channels, whose number is `channels`. `marked`
    are the queues of which the process may keep some for writing (INLINE-22 says how many).
    """
    left: list[Opened] = []

    def is_clean() -> bool:
        opened = [
            one for one in _opened(group, top) if not (one.identity in marked and one.is_write_end)
        ]
        left[:] = _too_many(opened, own, channels)
        return not left

    if until(is_clean, PATIENCE_SECONDS, poll=0.01):
        return
    shown = "\n".join(f"{one.number}: {one.path.relative_to(top.parent)}" for one in left)
    raise LeftOpen(
        f"expected that no descriptor stays open after the requests of this test, beside those of"
        f" {channels} open channels; found these:\n{shown}"
    )


def _too_many(opened: list[Opened], own: set[Identity], channels: int) -> list[Opened]:
    others = [one for one in opened if one.identity not in own]
    ended = [one for one in others if one.is_bound_to_end]
    # An implementation may keep the base and tmp open, once and for each channel.
    kept = [one for one in others if not one.is_bound_to_end]
    return ended or (kept if len(kept) > 2 * (1 + channels) else [])


def _opened(group: int, top: Path) -> list[Opened]:
    """The descriptors that lead into `top`, of all processes of a group."""
    return [one for process in running(group) for one in _opened_by(process, top)]


def _opened_by(process: int, top: Path) -> Iterator[Opened]:
    place = Path(f"/proc/{process}/fd")
    with contextlib.suppress(OSError):  # it has just ended, or this system does not show it
        for entry in place.iterdir():
            with contextlib.suppress(OSError):  # it was just closed
                path = Path(os.readlink(entry).removesuffix(" (deleted)"))
                if path.is_relative_to(top):
                    yield Opened(process, int(entry.name), path, entry.stat())
