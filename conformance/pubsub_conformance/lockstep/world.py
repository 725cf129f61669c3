"""The world of a schedule: drivers, the kit's own publisher and subscriber, and the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from pubsub_conformance.driver import Driver, DriverError, Rejected
from pubsub_conformance.excerpt import excerpt
from pubsub_conformance.oracle import base
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import InvalidMessage, Message, Scalar

from .model import Channel, Dead, names

T = TypeVar("T")

KIT: Final = "base"
"""The party that is the kit itself. It takes the place of a driver that lacks a role."""

NOBODY: Final = 2**31 - 1
"""The id of a process that does not exist."""

# The requirement that is broken if, after an operation, something that has to stay is gone, and
# if something is left over.
OPERATIONS: Final = {
    "publish": ("REAP-2", "PUB-14"),
    "open": ("FETCH-17", "CHAN-1"),
    "fetch": ("FETCH-17", "FETCH-4"),
    "close": ("FETCH-17", "CHAN-14"),
    "reap": ("REAP-4", "REAP-3"),
}
CHECKED: Final = sorted(
    {rule for pair in OPERATIONS.values() for rule in pair}
    | {"GUAR-1", "GUAR-2", "GUAR-3", "GUAR-4", "GUAR-5", "GUAR-6"}
    | {"PUB-10", "BASE-10", "CHAN-3", "REAP-5", "REAP-8", "FETCH-1", "FETCH-18"}
    | {"INLINE-1", "INLINE-2", "INLINE-12"}
)

_LONGEST: Final = 200  # characters of a value in a message


class Broken(AssertionError):
    """A requirement is broken."""

    def __init__(self, requirement: str, text: str) -> None:
        super().__init__(text)
        self.requirement = requirement


class Kit:
    """The kit's own publisher and subscriber, which is asked as a driver is."""

    def __init__(self, base: Base) -> None:
        self._base = base

    def open(self, pattern: str, *, inline: bool = False) -> base.Channel:
        # It looks like a channel of another container: its process does not exist here.
        return self._base.open(pattern, pid=NOBODY, inline=inline)

    def close_channel(self, channel: base.Channel) -> None:
        channel.close()

    def publish(self, topic: str, content: bytes, headers: Mapping[str, Scalar]) -> None:
        self._base.publish(topic, content, headers)

    def fetch(self, channel: base.Channel) -> Message | None:
        return channel.fetch()

    def reap(self) -> None:
        """It cannot: schedules ask it only where drivers can."""


class Step(ABC):
    """One step of a schedule. Its `repr` is the source that makes it again."""

    needs_channel: ClassVar[bool] = False

    @abstractmethod
    def run(self, world: World) -> None:
        """Take the step. Raises Broken, DriverError."""


class World:
    """What a schedule works on, and what its steps do to it."""

    def __init__(self, command: Sequence[str], home: Path, roles: Collection[str]) -> None:
        self.command, self.roles = list(command), frozenset(roles)
        self.base = Base(home)
        self.base.make()
        self.drivers: dict[str, Driver] = {}
        self.channels: list[Channel] = []
        """Those that are open."""
        self.dead: list[Dead] = []
        self.in_base = {"tmp"}
        """Names that others put into the base, or `tmp`."""
        self.in_tmp: set[str] = set()
        self.made = 0
        """The number of things that have a name so far."""
        self.done: list[tuple[Step, list[str]]] = []
        """The steps so far, and the requests that each has made."""

    def do(self, step: Step) -> None:
        """Take one step; nothing if it needs a channel and there is none.

        Raises Broken, DriverError.
        """
        if self.channels or not step.needs_channel:
            self.done.append((step, []))
            step.run(self)

    def script(self) -> list[str]:
        """The lines of a script that takes the same steps."""
        kinds = sorted({type(step).__name__ for step, _ in self.done})
        head = [
            "import tempfile",
            "from pathlib import Path",
            f"from pubsub_conformance.lockstep.steps import {', '.join(kinds)}",
            "from pubsub_conformance.lockstep.world import World",
            f"command = {self.command}",
            f"world = World(command, Path(tempfile.mkdtemp(), 'base'), {sorted(self.roles)})",
        ]
        return head + [f"world.do({step})  # {'; '.join(said)}" for step, said in self.done]

    def close(self) -> None:
        """End what is left, without a look."""
        for driver in self.drivers.values():
            with suppress(DriverError):
                driver.die()
        for channel in self.channels:
            if channel.owner == KIT:
                channel.handle.close()

    # Doing.

    def say(self, text: str) -> None:
        """What the step does, for the script."""
        self.done[-1][1].append(text)

    def request(self, operation: str, text: str, call: Callable[[], T]) -> T:
        """The result of a request. The text is its source. Raises Broken, DriverError."""
        self.say(text)
        try:
            return call()
        except InvalidMessage as error:
            raise Broken("GUAR-3", f"{text}: {error}") from error
        except Rejected as error:
            meant = {"publish": "GUAR-1", "fetch": "GUAR-2"}
            invalid = "GUAR-3" if error.code == "invalid-message" else None
            requirement = invalid or meant.get(operation) or OPERATIONS[operation][1]
            raise Broken(requirement, f"{text}: expected success, found {error}") from error

    def party(self, name: str, role: str) -> tuple[str, Driver | Kit]:
        """The party for a role: the driver, started if need be, or the kit, if drivers lack it."""
        if name == KIT or role not in self.roles:
            return KIT, Kit(self.base)
        if name not in self.drivers:
            start = f"{name} = Driver(command, home)"
            self.drivers[name] = self.request(
                "open", start, lambda: Driver(self.command, self.base.path)
            )
        return name, self.drivers[name]

    def fresh(self, letter: str) -> str:
        self.made += 1
        return f"{letter}{self.made}"

    def channel(self, which: int) -> Channel:
        return self.channels[which % len(self.channels)]

    # Looking.

    def expect(self, requirement: str, what: str, found: object, expected: object) -> None:
        if found != expected:
            raise Broken(
                requirement, f"expected {what} to be {_shown(expected)}; found {_shown(found)}"
            )

    def keeps(self, requirement: str, where: str, expected: set[str], found: set[str]) -> None:
        if missing := sorted(expected - found):
            raise Broken(requirement, f"expected {where} to keep {_shown(missing)}; gone")

    def holds_only(self, requirement: str, where: str, allowed: set[str], found: set[str]) -> None:
        if more := sorted(found - allowed):
            raise Broken(requirement, f"expected nothing else in {where}; found {_shown(more)}")

    def look(self, operation: str) -> None:
        """Compare the disk with the model: nothing less, and nothing more. Raises Broken."""
        self.look_at_base(operation)
        gone, reaps = self._gone(operation)
        for channel in self.channels:
            others = "FETCH-18" if reaps and channel.owner == KIT else gone
            self.expect_files(others, channel)
            mine = gone if reaps else "CHAN-3"
            entries = names(channel.directory)
            self.keeps(mine, channel.name, channel.entries, entries)

    def _gone(self, operation: str) -> tuple[str, bool]:
        """What is broken if something is gone after the operation, and whether it reaps."""
        reaps = operation == "reap" or (operation == "open" and "reaper" in self.roles)  # REAP-1
        return OPERATIONS["reap" if reaps else operation][0], reaps

    def look_at_base(self, operation: str) -> None:
        """Compare the names in the base and in `tmp` with the model. Raises Broken."""
        gone, reaps = self._gone(operation)
        left = OPERATIONS[operation][1]
        living = {channel.directory.name for channel in self.channels}
        dead = {dead.path.name for dead in self.dead if not dead.may_be_reaped}
        maybe = {dead.path.name for dead in self.dead if dead.may_be_reaped}
        found, in_tmp = names(self.base.path), names(self.base.tmp)
        self.keeps(gone, "the base", living, found)
        self.keeps("REAP-5" if reaps else gone, "the base", dead, found)
        self.keeps("BASE-10", "the base", self.in_base, found)
        self.holds_only(left, "the base", living | dead | maybe | self.in_base, found)
        self.keeps("REAP-8" if reaps else gone, "tmp", self.in_tmp, in_tmp)
        self.holds_only(left, "tmp", self.in_tmp, in_tmp)

    def expect_files(self, requirement: str, channel: Channel) -> None:
        what = f"the number of message files in {channel.name}"
        self.expect(requirement, what, channel.messages(), channel.files)


def _shown(value: object) -> str:
    return excerpt(repr(value), _LONGEST)
