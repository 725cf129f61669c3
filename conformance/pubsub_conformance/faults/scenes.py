"""The scene of one disturbance: a base, channels, the process to disturb, and bystanders.

A scene is built anew for each point. The process to disturb is new as well, or one that the stage
has kept from an earlier scene of the same operation. The bystanders are driver processes that have
no part in the operation: the disturbance must not harm them.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pubsub_conformance.driver import Driver, DriverError, Limits, OpenChannel, Rejected
from pubsub_conformance.driver.protocol import PROTOCOL
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base

from .channels import Channels, Receiver

Command = Sequence[str]


class Participant(Driver):
    """A driver with shorter time limits: without strace no operation of a scene takes a second."""

    limits = Limits(reply_seconds=6.0, close_seconds=6.0)


class Scene:
    """One base with its channels, and the process that is disturbed in it."""

    def __init__(self, stage: Stage, base_exists: bool, kept: str | None) -> None:
        self.stage = stage
        self.base = Base(stage.path)
        self.channels = Channels(self.base, stage.dead_pid)
        self.victim_channel: OpenChannel | None = None
        self.goes_on = False
        """Whether the victim lives on when the scene ends."""
        if base_exists:
            self.base.make()
            self.populate()
        victim = stage.kept.pop(kept, None) if kept else None
        self.victim = victim or Participant(stage.command, stage.path)

    @property
    def own_channel(self) -> OpenChannel:
        """The channel of the victim. Only where the operation has opened one."""
        assert self.victim_channel
        return self.victim_channel

    def populate(self) -> None:
        """Open a channel of the kit, and one of each bystander that is a subscriber."""
        self.channels.add_oracle("the kit", "+")
        for label, driver in self.stage.bystanders.items():
            if "subscriber" in driver.hello.roles:
                self.channels.receivers.append(Receiver.of(label, driver, "+"))

    def keep_victim(self) -> None:
        """Have the victim close its channel, and live on. Raises Rejected and DriverError."""
        if self.victim_channel:
            with contextlib.suppress(Rejected):  # it is closed, or lost
                self.victim.close_channel(self.victim_channel)
        self.victim.request("hello", protocol=PROTOCOL)
        self.goes_on = True

    def close(self) -> None:
        """End what the scene began; the bystanders live on, for the next scene."""
        self.channels.stop()
        if not self.goes_on:
            with contextlib.suppress(DriverError):
                self.victim.die()
        for label, driver in list(self.stage.bystanders.items()):
            try:
                for receiver in self.channels.receivers:
                    if receiver.driver is driver:
                        receiver.close()
                driver.request("hello", protocol=PROTOCOL)
            except (Rejected, DriverError):  # it was harmed, with or without a channel
                self.stage.replace(label)


@dataclass
class Stage:
    """The directory in which one worker's scenes follow one another, and their bystanders."""

    where: Path
    command: Command
    others: dict[str, Command]
    """Commands of other implementations, whose processes have to go on as well."""
    bystanders: dict[str, Driver] = field(default_factory=dict)
    kept: dict[str, Driver] = field(default_factory=dict)
    """The processes that were disturbed and live on, by operation."""
    dead_pid: int = 0
    slow_clock: bool = False
    """Whether an implementation counts whole seconds, so that stale entries must be older."""

    def __post_init__(self) -> None:
        self.path = self.where / "parent" / "base"  # its first user makes the parent, too
        self.dead_pid = dead_pid()

    @property
    def commands(self) -> dict[str, Command]:
        """All implementations that have a bystander."""
        return {"the same implementation": self.command, **self.others}

    @contextlib.contextmanager
    def scene(self, base_exists: bool = True, kept: str | None = None) -> Iterator[Scene]:
        """A fresh scene. Its victim is the process that was kept for the operation `kept`, if any.

        If it goes on, it is kept again. Raises DriverError for a driver that does not start.
        """
        self._clear()
        for label in self.commands:
            if label not in self.bystanders:
                self.replace(label)
        scene = Scene(self, base_exists, kept)
        try:
            yield scene
        finally:
            scene.close()
            if kept and scene.goes_on:
                self.kept[kept] = scene.victim

    def replace(self, label: str) -> None:
        """Start this bystander, or start it again."""
        if label in self.bystanders:
            with contextlib.suppress(DriverError):
                self.bystanders.pop(label).die()
        self.bystanders[label] = Participant(self.commands[label], self.path)

    def _clear(self) -> None:
        shutil.rmtree(self.where / "parent", ignore_errors=True)

    def close(self) -> None:
        """End all processes, and remove the base."""
        for driver in (*self.bystanders.values(), *self.kept.values()):
            with contextlib.suppress(DriverError):
                driver.die()
        self._clear()
