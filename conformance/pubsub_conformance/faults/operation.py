"""An operation that is disturbed: it arranges its scene, makes one request, and judges it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pubsub_conformance.linux.strace import Call

from .scenes import Scene
from .verdict import Verdict

WAIT_SECONDS = 0.05  # for room that does not come, or for a message

BIG = b"0123456789abcdef" * 32768  # half a MiB: more than a reader or writer may take at once


class Operation:
    """One request, and what it needs."""

    roles: tuple[str, ...]
    base_is_there = True
    stops: tuple[Callable[[Call], bool], ...] = ()
    """Something happens in between: the process is stopped after the first call of which this
    holds. There are two, if possible, so that calls of either's name can be disturbed, too."""

    def arrange(self, scene: Scene) -> None:
        """Puts into the base what this operation needs there."""

    def between(self, scene: Scene) -> None:
        """What others do while the process is stopped."""

    def request(self, scene: Scene) -> object:
        raise NotImplementedError

    def judge(self, verdict: Verdict) -> None:
        """What the process that was not killed said and did; what was killed, if that matters."""

    def again(self, verdict: Verdict) -> None:
        """The same operation, once the fault is gone."""


def list_directory(path: Path) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
