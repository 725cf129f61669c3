"""A target of fuzzing: it draws inputs, judges the driver's reactions, and makes inputs small.

A crash, a hang, or too much memory is a violation for every input.
"""

from __future__ import annotations

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, BinaryIO, ClassVar, Generic, TypeVar

from pubsub_conformance.driver import Driver, DriverError, Rejected

MEMORY_OCTETS = 2**29
MEMORY_FACTOR = 64
"""How much memory a driver may take after its start: so much, and so many octets for each octet of
input. Run times and sanitizers take much, in large steps; a driver that believes a wrong length
takes gigabytes."""

Input = TypeVar("Input")
Items = TypeVar("Items", bytes, list[Any])


class Violation(Exception):
    """The driver broke a requirement."""

    def __init__(self, requirement: str, what: str) -> None:
        super().__init__(f"{requirement}: {what}")
        self.requirement = requirement
        self.what = what


class Target(ABC, Generic[Input]):
    """A target of fuzzing. Its driver has its own base, and gets many inputs."""

    name: ClassVar[str]
    roles: ClassVar[frozenset[str]] = frozenset()
    """The roles that a driver needs."""
    keeps_driver: ClassVar[bool] = False
    """Whether the driver stays after a violation, because that changes nothing for later inputs."""

    def __init__(
        self, command: Sequence[str], directory: Path, against: Sequence[str] | None = None
    ) -> None:
        self.command = command
        self.against = against
        """The command of a second driver, for targets that compare two."""
        self.directory = directory
        self.home = directory / "base"
        self.driver: Driver | None = None

    def start(self) -> Driver:
        """The driver, which is started if there is none. Raises DriverError."""
        if self.driver is None:
            self.driver = Driver(self.command, self.home)
            self.memory = Memory(self.driver)
            self.begin(self.driver)
        return self.driver

    def begin(self, driver: Driver) -> None:
        """Prepare a driver that was just started."""
        del driver

    def stop(self) -> None:
        """Kill the driver: it may hang, or be in a wrong state."""
        if self.driver is not None:
            end(self.driver, self.memory)
            self.driver = None

    def attempt(self, input: Input) -> Violation | None:
        """Give the driver one input. Returns the violation, if any.

        Raises DriverError if the driver does not start.
        """
        driver = self.start()
        try:
            self.judge(driver, input)
        except Violation as violation:
            if not self.keeps_driver:
                self.stop()
            return violation
        except (DriverError, Rejected, FileNotFoundError) as error:
            self.stop()
            found = f"the driver did not live through it: {error}"
            if isinstance(error, Rejected):
                found = f"the driver refused a valid request: {error}"
            elif isinstance(error, FileNotFoundError):
                found = f"gone while the kit used it: {error.filename}"
            return Violation(self.blame(input), found)
        try:
            self.memory.check(len(self.dump(input)))
        except Violation as violation:
            self.stop()
            return violation
        return None

    @abstractmethod
    def draw(self, random: Random) -> Input:
        """An input. It depends only on `random` and on earlier inputs."""

    @abstractmethod
    def judge(self, driver: Driver, input: Input) -> None:
        """Give the driver the input, and check its reaction.

        Raises Violation, and DriverError if the driver crashed, hung, or wrote garbage.
        """

    @abstractmethod
    def blame(self, input: Input) -> str:
        """The requirement that a driver breaks if it crashes or hangs on this input."""

    @abstractmethod
    def smaller(self, input: Input, fails: Callable[[Input], bool]) -> Input:
        """The input, made as small as possible while `fails` holds."""

    @abstractmethod
    def dump(self, input: Input) -> bytes:
        """The octets in which the input is saved."""

    @abstractmethod
    def load(self, data: bytes) -> Input:
        """The input that was saved in these octets. Raises ValueError."""


def end(driver: Driver, memory: Memory) -> None:
    """Kill a driver, and stop looking at its memory."""
    memory.close()
    with contextlib.suppress(DriverError):
        driver.die()


class Memory:
    """The memory that a driver has taken (VmPeak), on systems with /proc."""

    def __init__(self, driver: Driver) -> None:
        self._status: BinaryIO | None = None
        with contextlib.suppress(OSError):
            self._status = open(f"/proc/{driver.pid}/status", "rb", 0)  # noqa: SIM115
        self._at_start = self._peak()

    def _peak(self) -> int | None:
        if self._status is None:
            return None
        try:
            self._status.seek(0)
            found = re.search(rb"VmPeak:\s+(\d+) kB", self._status.read(1024))
        except OSError:  # it is gone
            return None
        return int(found[1]) * 1024 if found else None

    def close(self) -> None:
        if self._status:
            self._status.close()

    def check(self, size: int) -> None:
        """Raise Violation (MSG-13) if the driver took too much for an input of `size` octets."""
        peak = self._peak()
        if peak is None or self._at_start is None:
            return
        taken, allowed = peak - self._at_start, MEMORY_OCTETS + MEMORY_FACTOR * size
        if taken > allowed:
            raise Violation(
                "MSG-13", f"the driver took {taken >> 20} MiB of memory for {size} octets of input"
            )


def pruned(items: Items, fails: Callable[[Items], bool]) -> Items:
    """`items` without those that can be left out while `fails` holds."""
    size = len(items)
    while size:
        at = 0
        while at < len(items):
            without = items[:at] + items[at + size :]
            if fails(without):
                items = without
            else:
                at += size
        size //= 2
    return items
