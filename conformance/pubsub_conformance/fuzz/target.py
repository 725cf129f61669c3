"""What a fuzzed target is: it draws inputs, judges them by the specification, and makes them small.

A crash, a silence and a hunger for memory are violations here, whatever the input.
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
"""What a driver may take beyond what it had at its start, and for each octet of its input. Run
times and sanitizers take much, and by large steps; a length that was believed takes gigabytes."""

Input = TypeVar("Input")
Items = TypeVar("Items", bytes, list[Any])


class Violation(Exception):
    """What the driver did breaks this requirement."""

    def __init__(self, requirement: str, what: str) -> None:
        super().__init__(f"{requirement}: {what}")
        self.requirement = requirement
        self.what = what


class Target(ABC, Generic[Input]):
    """What is fuzzed; its driver, started on a base of its own, lives through many inputs."""

    name: ClassVar[str]
    roles: ClassVar[frozenset[str]] = frozenset()  # that a driver must have
    keeps_driver: ClassVar[bool] = False  # after a wrong answer, for nothing else is changed by it

    def __init__(
        self, command: Sequence[str], directory: Path, against: Sequence[str] | None = None
    ) -> None:
        self.command = command
        self.against = against  # a second driver's, where the target has a use for it
        self.directory = directory
        self.home = directory / "base"
        self.driver: Driver | None = None

    def start(self) -> Driver:
        """The driver, started anew if need be. Raises DriverError."""
        if self.driver is None:
            self.driver = Driver(self.command, self.home)
            self.memory = Memory(self.driver)
            self.begin(self.driver)
        return self.driver

    def begin(self, driver: Driver) -> None:
        """What the target needs of a driver that was just started."""
        del driver

    def stop(self) -> None:
        """End the driver by force: it may be out of step, or hang."""
        if self.driver is not None:
            end(self.driver, self.memory)
            self.driver = None

    def attempt(self, input: Input) -> Violation | None:
        """What comes of one input. Raises DriverError for a driver that does not start."""
        driver = self.start()
        try:
            self.judge(driver, input)
        except Violation as violation:
            if not self.keeps_driver:
                self.stop()
            return violation
        except (DriverError, Rejected, FileNotFoundError) as error:
            self.stop()
            told = f"the driver did not live through it: {error}"
            if isinstance(error, Rejected):
                told = f"refused what nothing speaks against: {error}"
            elif isinstance(error, FileNotFoundError):
                told = f"gone, though the kit was at work with it: {error.filename}"
            return Violation(self.blame(input), told)
        try:
            self.memory.check(len(self.dump(input)))
        except Violation as violation:
            self.stop()
            return violation
        return None

    @abstractmethod
    def draw(self, random: Random) -> Input:
        """An input. It follows from `random`, and from nothing else but what was drawn before."""

    @abstractmethod
    def judge(self, driver: Driver, input: Input) -> None:
        """Raises Violation; DriverError for a driver that crashed, hung, or wrote garbage."""

    @abstractmethod
    def blame(self, input: Input) -> str:
        """The requirement that a driver breaks which does not live through the input."""

    @abstractmethod
    def smaller(self, input: Input, fails: Callable[[Input], bool]) -> Input:
        """The input made as small as it can be while it fails."""

    @abstractmethod
    def dump(self, input: Input) -> bytes:
        """The input as it is saved."""

    @abstractmethod
    def load(self, data: bytes) -> Input:
        """The input that was saved. Raises ValueError."""


def end(driver: Driver, memory: Memory) -> None:
    """End a driver by force, and stop looking at its memory."""
    memory.close()
    driver.kill()
    with contextlib.suppress(DriverError):
        driver.close()


class Memory:
    """The memory that a driver has taken (VmPeak), on systems that tell."""

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
        """Raises Violation (MSG-13) if that is more than an input of `size` octets explains."""
        peak = self._peak()
        if peak is None or self._at_start is None:
            return
        taken, allowed = peak - self._at_start, MEMORY_OCTETS + MEMORY_FACTOR * size
        if taken > allowed:
            raise Violation(
                "MSG-13", f"the driver took {taken >> 20} MiB of memory for {size} octets of input"
            )


def pruned(items: Items, fails: Callable[[Items], bool]) -> Items:
    """`items` without as many of them as can be left out so that it still fails."""
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
