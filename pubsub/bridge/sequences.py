"""Numbers of messages, by which an importer sees what is missing and what came before. No I/O.

An importer that subscribes to a topic gets all of it, so numbers of one topic have no gaps unless
something was lost. Numbers over all topics would have gaps for everybody who does not want all.
"""

from __future__ import annotations

import secrets
from typing import Any

_MOST = 65_536  # topics, or missing messages, that are remembered


def fresh() -> str:
    """A name that nobody else has: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def run_of(session: str) -> str:
    """What the sessions of one run of a bridge have in common, and no other run has."""
    return session[:12]


class Numbers:
    """The numbers of an exporter: 1, 2, … for each topic of a session."""

    def __init__(self, most: int = _MOST) -> None:
        self.session = run_of(fresh()) + "0000"
        self._most = most
        self._last: dict[str, int] = {}

    def next(self, topic: str) -> int:
        """The next number of this topic; `session` may be another one afterwards."""
        number = self._last.get(topic, 0) + 1
        if number == 1 and len(self._last) >= self._most:
            # A topic that is forgotten would begin again at 1: so all do, under another name.
            self.session = f"{int(self.session, 16) + 1:016x}"
            self._last.clear()
        self._last[topic] = number
        return number


class Gaps:
    """What an importer has seen of others' numbers."""

    def __init__(self, most: int = _MOST) -> None:
        self.lost = 0
        """How many are missing, of those behind the first one that was seen."""
        self._most = most
        self._last: dict[tuple[str, str], int] = {}
        self._missing: dict[tuple[str, str, int], None] = {}

    def is_new(self, session: str, topic: str, number: int) -> bool:
        """Note a number. False: it came before."""
        key = session, topic
        last = self._last.get(key)
        if last is None:
            self._forget(self._last)
        elif number <= last:
            if (session, topic, number) not in self._missing:
                return False
            del self._missing[session, topic, number]
            self.lost -= 1
            return True
        elif number > last + 1:
            self.lost += number - last - 1
            for missing in range(max(last + 1, number - self._most), number):
                self._forget(self._missing)
                self._missing[session, topic, missing] = None
        self._last[key] = number
        return True

    def _forget(self, table: dict[Any, Any]) -> None:
        """Make room for one more: what came first goes first."""
        if len(table) >= self._most:
            del table[next(iter(table))]
