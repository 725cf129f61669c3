"""The lanes of a run: which channels ask for the inline lane (inline.md)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, get_args

Lane = Literal["files", "inline", "mixed"]
"""The channels that ask for the inline lane: none, all, or every other one."""

LANES: Final[tuple[Lane, ...]] = get_args(Lane)


def roles(lane: Lane | None) -> set[str]:
    """The roles that a driver needs. Without a lane, its roles decide the lane."""
    return {"publisher", "subscriber", *(["inline"] if lane in ("inline", "mixed") else [])}


def asks(lane: Lane | None, roles: Collection[str], number: int) -> bool:
    """Whether the channel of this number asks for the inline lane.

    `roles` are those of the driver. Without a lane, it is *mixed* if they include `inline`, and
    *files* otherwise.
    """
    if lane == "mixed" or (lane is None and "inline" in roles):
        return number % 2 == 1
    return lane == "inline"
