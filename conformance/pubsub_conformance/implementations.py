"""The implementations that a command compares, each given as NAME=COMMAND."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from .driver import Driver, DriverError, Hello
from .driver.protocol import ROLES
from .requirements import SPEC_VERSION

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

LANES: Final = ("files", "inline")
"""The lanes that a channel may have: messages by file alone, or small ones in the queue, too."""
FILES, INLINE = LANES


def in_lane(name: str, lane: str) -> str:
    """The name of an implementation in a lane. Files go without saying."""
    return name if lane == FILES else f"{name}, {lane}"


class Unusable(Exception):
    """An implementation or an option cannot be used: nothing can be compared."""


class NotGreeted(Unusable):
    """The handshake with a driver failed."""


def named(arguments: Iterable[str]) -> dict[str, list[str]]:
    """The commands by name, of arguments NAME=COMMAND. Raises Unusable."""
    commands: dict[str, list[str]] = {}
    for argument in arguments:
        name, equals, command = argument.partition("=")
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise Unusable(f"{argument!r}: {error}") from None
        if not equals or not _NAME.fullmatch(name) or not words:
            raise Unusable(f"{argument!r} is not NAME=COMMAND, such as mine=./my-driver")
        if name in commands:
            raise Unusable(f"the name {name!r} is given twice")
        commands[name] = words
    return commands


@dataclass(frozen=True)
class Implementation:
    """A command, and what the driver that it starts says of itself."""

    name: str
    command: Sequence[str]
    hello: Hello

    @classmethod
    def greet(cls, name: str, command: Sequence[str], home: Path) -> Implementation:
        """Start the driver for its hello. Raises NotGreeted."""
        try:
            driver = Driver(command, home)
        except DriverError as error:
            raise NotGreeted(f"the handshake with {name} failed\n{error}") from error
        with contextlib.suppress(DriverError):  # how it ends is a matter for a test
            driver.close()
        return cls(name, command, driver.hello)

    @classmethod
    def greet_to_judge(cls, name: str, command: Sequence[str], home: Path) -> Implementation:
        """As `greet`, and raises NotGreeted if it follows another version of the specification."""
        implementation = cls.greet(name, command, home)
        if implementation.hello.spec != SPEC_VERSION:
            raise NotGreeted(
                f"{name} implements specification {implementation.hello.spec},"
                f" this kit judges by {SPEC_VERSION}"
            )
        return implementation

    def __str__(self) -> str:
        hello = self.hello
        return f"{self.name}: {hello.implementation} {hello.version}, {hello.language}"

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes that its channels may have."""
        return LANES if self.hello.roles >= {"subscriber", INLINE} else (FILES,)

    @property
    def said(self) -> dict[str, Any]:
        """Its hello as JSON."""
        return {**asdict(self.hello), "roles": sorted(self.hello.roles, key=ROLES.index)}

    def as_dict(self) -> dict[str, Any]:
        return {"command": list(self.command), "hello": self.said}
