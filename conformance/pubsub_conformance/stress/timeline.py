"""Actions at their times, one after the other, on the thread that commands a run."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from typing import Final

Action = Callable[[], object]

REPORT_SECONDS: Final = 0.25  # between two reports of progress


class Timeline:
    """Times are seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._coming: list[tuple[float, int, bool, Action]] = []
        self._number = itertools.count()

    def at(self, seconds: float, action: Action, *, owed: bool = False) -> None:
        """Do this then, or in the end if it is owed."""
        heapq.heappush(self._coming, (seconds, next(self._number), owed, action))

    def every(self, seconds: float, action: Action) -> None:
        """Do this each time that so many seconds have passed."""

        def act(at: float) -> None:
            action()
            self.at(at + seconds, lambda: act(at + seconds))

        self.at(seconds, lambda: act(seconds))

    def run(self, seconds: float, over: Callable[[float], bool], report: Action) -> None:
        """Act until the time has come, or until `over`, which waits up to so many seconds."""
        try:
            while (passed := time.monotonic() - self._began) < seconds:
                while self._coming and self._coming[0][0] <= passed:
                    heapq.heappop(self._coming)[-1]()
                report()
                soonest = min([seconds, passed + REPORT_SECONDS, *(c[0] for c in self._coming[:1])])
                if over(max(0.0, self._began + soonest - time.monotonic())):
                    return
        finally:
            for _, _, owed, action in sorted(self._coming):
                if owed:
                    action()
