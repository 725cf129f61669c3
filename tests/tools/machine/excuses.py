"""The mutants that may survive, each with the reason (excused.toml)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

FILE = Path(__file__).with_name("excused.toml")

EQUIVALENT = "equivalent"  # it does the same
UNOBSERVABLE = "not observable"  # nobody outside of the process can tell it apart
ALLOWED = "allowed"  # the specification leaves it open
KINDS = (EQUIVALENT, UNOBSERVABLE, ALLOWED)


@dataclass(frozen=True)
class Excuse:
    """Of the mutants of one function that survive for the same reason."""

    implementation: str
    function: str
    kind: str
    why: str
    mutants: tuple[str, ...]  # their keys after the function's name; empty: all of the function


def load(file: Path = FILE) -> list[Excuse]:
    """Raises ValueError."""
    return [_excuse(entry) for entry in tomllib.loads(file.read_text("utf-8"))["excused"]]


def _excuse(entry: dict[str, object]) -> Excuse:
    mutants = entry.get("mutants", [])
    if not isinstance(mutants, list):
        raise ValueError(f"mutants is a list: {entry}")
    words = {name: entry.get(name) for name in ("implementation", "function", "kind", "why")}
    if words["kind"] not in KINDS or not all(isinstance(word, str) for word in words.values()):
        raise ValueError(f"an entry has an implementation, a function, a kind and a why: {entry}")
    return Excuse(**words, mutants=tuple(mutants))  # type: ignore[arg-type]


class Excuses:
    """Those of one implementation."""

    def __init__(self, excuses: list[Excuse], implementation: str) -> None:
        self._excuses = [each for each in excuses if each.implementation == implementation]
        self._of = dict(self._keys())

    def _keys(self) -> Iterator[tuple[str, Excuse]]:
        for excuse in self._excuses:
            for mutant in excuse.mutants:
                yield f"{excuse.function} | {mutant}", excuse
            if not excuse.mutants:
                yield excuse.function, excuse

    def of(self, key: str) -> Excuse | None:
        """The excuse of the mutant with this key, or of its whole function."""
        return self._of.get(key) or self._of.get(key.partition(" | ")[0])

    def __iter__(self) -> Iterator[Excuse]:
        return iter(self._excuses)
