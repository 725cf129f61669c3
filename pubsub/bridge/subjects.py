"""NATS subjects for patterns, and one set of them in which nothing comes twice. No I/O.

A subject that is subscribed to may have `*` for one word, as `=` in a pattern, and `>` for one or
more at its end, as `+`. NATS delivers a message once for each subscription that matches.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

_TO_SUBJECT = str.maketrans("=+", "*>")
_TO_PATTERN = str.maketrans("*>", "=+")


def to_subject(pattern: str) -> str:
    """The narrowest subject that covers what a valid pattern matches.

    It is exact unless the pattern has a `+` before its end.
    """
    before, several, _ = pattern.partition("+")
    return (before + several).translate(_TO_SUBJECT)


def to_pattern(subject: str) -> str:
    """The pattern that matches what a subject covers."""
    return subject.translate(_TO_PATTERN)


def joined(subjects: Iterable[str]) -> list[str]:
    """Subjects of which no two overlap, and that cover all of these."""
    left = list(dict.fromkeys(subjects))
    disjoint: list[str] = []
    while left:
        subject = left.pop()
        for other in disjoint:
            if _overlap(subject, other):
                disjoint.remove(other)
                left.append(cover([subject, other]))
                break
        else:
            disjoint.append(subject)
    return sorted(disjoint)


def cover(subjects: Iterable[str]) -> str:
    """One subject that covers all of these; there is at least one."""
    return reduce(_cover, subjects)


def _overlap(one: str, other: str) -> bool:
    """Whether both cover some topic."""
    words, others = one.split("."), other.split(".")
    for word, its in zip(words, others, strict=False):
        if ">" in (word, its):
            return True
        if word != its and "*" not in (word, its):
            return False
    return len(words) == len(others)


def _cover(one: str, other: str) -> str:
    words, others = one.split("."), other.split(".")
    common: list[str] = []
    for word, its in zip(words, others, strict=False):
        if word == its:
            common.append(word)
        elif "*" in (word, its) and ">" not in (word, its):
            common.append("*")
        else:
            break
    if len(common) < max(len(words), len(others)):
        # `a` and `a.b` have no common subject that begins with `a.`, which needs a second word.
        del common[min(len(words), len(others)) - 1 :]
        common.append(">")
    return ".".join(common)
