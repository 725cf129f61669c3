"""A driver process and its successors, which any thread may disturb."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from pubsub_conformance.driver import Driver, DriverError
from pubsub_conformance.waiting import now


class Process:
    """A driver process; when it was killed, a new one takes its place.

    `driver`, `forget` and `end` are for one thread, the others for any.
    """

    def __init__(self, command: Sequence[str], home: Path, roles: Collection[str]) -> None:
        """`roles` are those that the driver has to claim."""
        self.command, self.home, self.roles = command, home, roles
        self.lives = 0
        """The number of processes so far."""
        self.aborted = False
        self._lock = threading.Lock()
        self._driver: Driver | None = None
        self._killed: int | None = None

    def driver(self) -> Driver:
        """The driver; a new one if there is none. Raises DriverError."""
        if self._driver is None:
            driver = Driver(self.command, self.home)
            if missing := sorted(set(self.roles) - driver.hello.roles):
                driver.close()
                raise DriverError(f"the driver does not claim the roles {', '.join(missing)}")
            self.lives += 1
            with self._lock:
                self._driver, self._killed = driver, None
            if self.aborted:  # too late for abort() to see it
                self.kill()
        return self._driver

    def forget(self) -> int | None:
        """After a DriverError, drop the process. Returns its `killed`."""
        with self._lock:
            killed, self._driver, self._killed = self._killed, None, None
        return killed

    def end(self) -> None:
        """End the process in good order. Raises DriverError."""
        with self._lock:
            driver, self._driver = self._driver, None
        if driver:
            driver.close()

    @property
    def current(self) -> Driver | None:
        with self._lock:
            return self._driver

    @property
    def killed(self) -> int | None:
        """The time just before the process was killed, if it was."""
        with self._lock:
            return self._killed

    @property
    def pid(self) -> int | None:
        """None: no process is at work."""
        with self._lock:
            return self._driver.pid if self._driver and self._killed is None else None

    def abort(self) -> None:
        """Kill the process, and any that is only starting."""
        self.aborted = True
        self.kill()

    def kill(self) -> bool:
        with self._lock:
            if self._driver is None or self._killed is not None:
                return False
            self._killed = now()
            self._driver.kill()
            return True

    def signal(self, number: signal.Signals) -> bool:
        with self._lock:
            if self._driver is None or self._killed is not None:
                return False
            try:
                os.killpg(self._driver.pid, number)
            except (ProcessLookupError, PermissionError):  # it has just died by itself
                return False
            return True

    def limit(self, slack: int) -> Callable[[], object] | None:
        """Let the process open only so many files more (Linux).

        Returns the action that undoes it; None if no process is at work.
        """
        with self._lock:
            if self._driver is None or self._killed is not None:
                return None
            pid = self._driver.pid
            try:
                taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
                free = (number for number in itertools.count() if number not in taken)
                most = next(itertools.islice(free, slack, None))
                before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
            except OSError:  # it has just died by itself
                return None

        def undo() -> None:
            with suppress(OSError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

        return undo
