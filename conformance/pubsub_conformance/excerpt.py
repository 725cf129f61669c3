"""Long texts made short: only the beginning, no walls of one character, repeated lines once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_LONGEST_UNIT = 6  # lines that are repeated together
_WALL = 100  # characters without a break


def excerpt(text: str, most: int) -> str:
    """The text; if it is longer than `most` characters, its beginning and its length."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def without_walls(text: str, most: int = _WALL) -> str:
    """The text with each run of at least so many characters cut in its middle."""
    return "".join(_without_walls(text, most))


def beginning(text: str, most: int) -> str:
    """The text without walls; if it is longer than that, its beginning and the text's length.

    However long the text is, only its beginning is looked at.
    """
    if len(text) < min(_WALL, most):
        return text
    shown = ""
    for part in _without_walls(text, _WALL):
        shown += part[: most + 1 - len(shown)]
        if len(shown) > most:
            return f"{shown[:most]}… ({len(text)} characters)"
    return shown


def _without_walls(text: str, most: int) -> Iterator[str]:
    """The parts of the text, as `without_walls` has them."""
    at = 0
    for wall in re.finditer(rf"[^\s\"',;:/\[\](){{}}]{{{most},}}", text):
        yield text[at : wall.start()]
        yield _ends(wall[0], most // 4)
        at = wall.end()
    yield text[at:]


def _ends(wall: str, kept: int) -> str:
    return f"{wall[:kept]}…({len(wall)} characters)…{wall[-kept:]}"


def folded(lines: Sequence[str]) -> Iterator[str]:
    """The lines; what is repeated but for its numbers is shown once, with its last time."""
    keys = [re.sub(r"\d+", "0", re.sub(r'"content": "[^"]*"', "", line)) for line in lines]
    at = 0
    while at < len(lines):
        covered, shortest = max(
            (_repeated(keys, at, unit), -unit) for unit in range(1, _LONGEST_UNIT)
        )
        if not covered:
            yield lines[at]
            at += 1
            continue
        unit = -shortest
        yield from lines[at : at + unit]
        yield f"… {covered // unit} times; the last:"
        at += covered
        yield from lines[at - unit : at]


def _repeated(keys: Sequence[str], at: int, unit: int) -> int:
    """How many lines from `at` on repeat the first `unit` lines, these included; 0: too few."""
    first, end = keys[at : at + unit], at + unit
    while keys[end : end + unit] == first:
        end += unit
    return end - at if end - at > 2 * unit + 1 else 0
