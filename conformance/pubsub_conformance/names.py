"""Names that a user gives: upper and lower case do not matter, and a wrong one lists the known."""

from __future__ import annotations

import difflib
from collections.abc import Collection

LISTED = 20
"""Of many known names, such as those of requirements, the nearest ones."""


class Unknown(ValueError):
    """There is no such name; the message lists the known ones, the nearest one first."""


def find(name: str, known: Collection[str], what: str) -> str:
    """The known name that is meant. `what` names the kind, such as "role". Raises Unknown."""
    if name in known:
        return name
    for each in known:
        if each.lower() == name.lower():
            return each
    nearest = sorted(known, key=lambda each: -_likeness(name, each))
    listed = ", ".join(nearest[:LISTED]) + (", …" if len(nearest) > LISTED else "")
    raise Unknown(f"there is no {what} {name!r}: there are {listed}")


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one.lower(), other.lower()).ratio()
