"""Workers: each has a driver process and a thread that sends it requests.

A worker knows its host, which is what the workers of a run have in common, and not the run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pubsub_conformance.driver import Driver, DriverError, Rejected
from pubsub_conformance.waiting import Flag, now

from . import lanes
from .lanes import Lane
from .process import Process

PAUSE: Final = 0.02  # seconds after an operation that failed, until the next one


class Host:
    """What the workers of a run have in common."""

    def __init__(
        self, command: Sequence[str], home: Path, seed: int, lane: Lane | None = None
    ) -> None:
        self.command, self.home, self.seed, self.lane = command, home, seed, lane
        self.ending = Flag()
        """Set: no worker begins anything more."""
        self.errors: list[DriverError | Rejected] = []

    def blame(self, error: DriverError | Rejected) -> None:
        """Note an error that nothing explains. It ends the run."""
        self.errors.append(error)
        self.ending.set()

    def explains(self, error: Rejected, start: int, end: int, worker: str) -> bool:
        """Whether a disturbance explains the error of an operation that began and ended then."""
        return False


HostT = TypeVar("HostT", bound=Host)


class Worker(Generic[HostT]):
    """A process and the work of its thread."""

    def __init__(self, host: HostT, name: str) -> None:
        self.host, self.name = host, name
        self.rng = random.Random(f"{host.seed} {name}")
        self.process = Process(host.command, host.home, lanes.roles(host.lane))

    @property
    def since(self) -> int:
        """When the operation that is under way began, or its last event after that."""
        return 0

    def prepare(self) -> None:
        """Get ready for an epoch."""
        self.guarded(self.ready)

    def work(self) -> None:
        """Do the work of an epoch."""
        while not self.process.aborted:
            if self.guarded(self.turn):
                return

    def guarded(self, step: Callable[[Driver], bool]) -> bool:
        """Whether it was the last step: the step returned so, or failed by itself."""
        try:
            return step(self.process.driver())
        except DriverError as error:
            killed = self.process.forget()
            self.died(killed, now())
            if killed is not None:
                return False
            self.host.blame(error)
        except Rejected as error:
            if self.host.explains(error, self.since, now(), self.name):
                self.failed(error)
                self.host.ending.wait(PAUSE)
                return False
            self.died(None, None)
            self.host.blame(error)
        return True

    def ready(self, driver: Driver) -> bool:
        return True

    def turn(self, driver: Driver) -> bool:
        """Do some of the work. Whether it was the last of the epoch.

        Raises DriverError and Rejected.
        """
        raise NotImplementedError

    def died(self, killed: int | None, end: int | None) -> None:
        """Note the operations that were under way.

        The process was killed after `killed` (None: it failed by itself) and is dead by `end`
        (None: it may go on living).
        """

    def failed(self, error: Rejected) -> None:
        """Note an operation that failed for a known reason."""

    # For other threads, once the worker's own has ended.

    def bury(self) -> None:
        """Note the death of a process that was killed while its thread was idle."""
        killed = self.process.killed
        if killed is not None:
            self.died(killed, now())

    def end(self) -> None:
        """End the process in good order."""
        try:
            self.process.end()
        except DriverError as error:
            self.host.blame(error)


@contextmanager
def crew(workers: Sequence[Worker[Any]]) -> Iterator[ThreadPoolExecutor]:
    """A thread for each worker. Whatever happens, threads and processes end."""
    try:
        with ThreadPoolExecutor(len(workers)) as pool:
            try:
                yield pool
            finally:
                for worker in workers:  # or the threads would not end
                    worker.process.abort()
    finally:
        for worker in workers:
            worker.end()
