"""What stands in the base while an operation is disturbed, and who lives there besides.

A scene is built anew for each point: channels of the kit's own and of bystanders, which are driver
processes that have nothing to do with the operation. They must not come to harm.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pubsub_conformance.driver import Driver, DriverError, OpenChannel, Rejected
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base, Channel
from pubsub_conformance.oracle.message import InvalidMessage, Message, decode, fresh_id
from pubsub_conformance.oracle.queue import fill, resize, waiting
from pubsub_conformance.oracle.topics import matches

Command = Sequence[str]

READS = 1000  # of one queue: more than any scene puts there, zeros aside


class Participant(Driver):
    """A driver that is given less time: no operation of a scene takes a second."""

    reply_seconds = 6.0
    close_seconds = 6.0


@dataclass
class Receiver:
    """A channel that is alive and stays so."""

    name: str  # of its owner
    pattern: str
    directory: Path
    oracle: Channel | None = None
    driver: Driver | None = None
    handle: OpenChannel | None = None
    queue: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self.queue = identity(self.directory / "queue")

    def drain(self) -> tuple[list[Message], list[str]]:
        """All that it can fetch, and what is wrong with that."""
        if self.oracle:
            return drain(self.oracle)
        assert self.driver
        assert self.handle
        messages: list[Message] = []
        faults: list[str] = []
        for _ in range(READS):
            try:
                message = self.driver.fetch(self.handle)
            except Rejected as error:
                faults.append(str(error))
                if error.code in ("channel-lost", "channel-closed"):
                    break
                continue
            if message is None:
                break
            messages.append(message)
        return messages, faults


def identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def drain(channel: Channel) -> tuple[list[Message], list[str]]:
    """What a channel of the kit's own yields; ids that find no file are told (PUB-8)."""
    messages: list[Message] = []
    faults: list[str] = []
    while True:
        try:
            octets = os.read(channel.read_end, 4096)
        except BlockingIOError:
            return messages, faults
        if len(octets) % 8:
            faults.append(f"the queue held {len(octets)} octets, which are no ids")
        for at in range(0, len(octets), 8):
            id = int.from_bytes(octets[at : at + 8], "big")
            if id == 0:
                continue
            file = channel.directory / str(id)
            try:
                message = decode(file.read_bytes())
                file.unlink()
            except FileNotFoundError:
                faults.append(f"the queue held the id {id}, and there is no such file")
            except InvalidMessage as error:
                faults.append(f"the file {id} is not a message: {error}")
            else:
                if message.id != id:
                    faults.append(f"the file {id} holds the id {message.id}")
                messages.append(message)


class Scene:
    """One base, its inhabitants, and the process that is to be disturbed."""

    def __init__(self, stage: Stage, base_is_there: bool) -> None:
        self.stage = stage
        self.base = Base(stage.path)
        self.receivers: list[Receiver] = []
        self.oracles: list[Channel] = []
        self.channel: OpenChannel | None = None  # of the victim
        self.full: Channel | None = None
        self.dead: list[Path] = []
        self.held: tuple[subprocess.Popen[bytes], Path] | None = None
        self.buried = 0  # ids that were in its queue when it died
        self.planted: set[Path] = set()  # what may be there that is not as it should be
        self.closed: set[Path] = set()  # channels that were closed in between
        if base_is_there:
            self.base.make()
            self.populate()
        self.victim = Participant(stage.command, stage.path)

    def populate(self) -> None:
        """The kit's own channel, and one of each bystander."""
        self.add_oracle("kit", "+")
        for label, driver in self.stage.bystanders.items():
            if "subscriber" in driver.hello.roles:
                opened = driver.open("+")
                self.receivers.append(
                    Receiver(label, "+", opened.directory, driver=driver, handle=opened)
                )

    def add_oracle(self, name: str, pattern: str) -> Channel:
        channel = self.base.open(pattern)
        self.oracles.append(channel)
        self.receivers.append(Receiver(name, pattern, channel.directory, oracle=channel))
        return channel

    def add_full(self) -> None:
        """A channel of the kit's own that is alive and has no room."""
        self.full = self.base.open("a.+")
        self.oracles.append(self.full)
        resize(self.full.write_end, 1)
        fill(self.full.directory)

    def add_dead(self) -> Path:
        """A channel whose owner has died with a message unread."""
        dead = self.base.dead_channel("a.+", self.stage.dead_pid)
        (dead / str(fresh_id())).write_bytes(b"")
        self.planted.add(dead)
        self.dead.append(dead)
        return dead

    def add_held(self, pattern: str) -> None:
        """A channel that a process of its own reads, or rather holds.

        Not the kit: what it starts meanwhile, for another scene, has its descriptors for a moment.
        """
        directory = self.base.dead_channel(pattern, self.stage.dead_pid)
        script = 'exec 3<>"$0"; echo; read forever'
        holder = subprocess.Popen(
            ["sh", "-c", script, directory / "queue"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdout
        holder.stdout.readline()
        self.held = holder, directory

    def let_die(self) -> None:
        """Kill that process; what its queue took until then goes with it, and was counted."""
        assert self.held
        holder, directory = self.held
        self.held = None
        if taken := waiting(directory):
            self.buried += taken
            for message in directory.glob("[1-9]*"):
                message.unlink()
        self.dead.append(directory)
        holder.kill()
        holder.communicate()

    def forget(self, channel: Channel) -> None:
        """This channel of the kit's own is about to be closed."""
        self.receivers = [one for one in self.receivers if one.oracle is not channel]
        self.closed.add(channel.directory)

    def matching(self, topic: str) -> list[Receiver]:
        return [one for one in self.receivers if matches(one.pattern, topic)]

    def living(self) -> set[Path]:
        """The directories of all channels that are alive beside the victim's."""
        own = {channel.directory for channel in self.oracles if not channel.closed}
        own |= {self.held[1]} if self.held else set()
        return (own | {one.directory for one in self.receivers}) - self.closed

    def close(self) -> None:
        """End what the scene has begun; the bystanders live on, for the next one."""
        if self.held:
            self.let_die()
        with contextlib.suppress(DriverError):
            self.victim.kill()
            self.victim.close()
        for channel in self.oracles:
            channel.stop_reading()
        for receiver in self.receivers:
            if receiver.driver in self.stage.bystanders.values():
                assert receiver.handle
                try:
                    receiver.driver.close_channel(receiver.handle)  # type: ignore[union-attr]
                except (Rejected, DriverError):
                    self.stage.replace(receiver.name)


@dataclass
class Stage:
    """Where one worker's scenes follow one another, and the processes that outlive them."""

    where: Path
    command: Command
    others: dict[str, Command]  # who goes on besides the same implementation
    bystanders: dict[str, Driver] = field(default_factory=dict)
    dead_pid: int = 0
    slow_clock: bool = False  # an implementation counts whole seconds: what is stale must be older

    def __post_init__(self) -> None:
        self.path = self.where / "parent" / "base"  # the parent is missing as well at first use
        self.dead_pid = dead_pid()

    @property
    def commands(self) -> dict[str, Command]:
        return {"the same implementation": self.command, **self.others}

    @contextlib.contextmanager
    def scene(self, base_is_there: bool = True) -> Iterator[Scene]:
        self._clear()
        for label in self.commands:
            if label not in self.bystanders:
                self.replace(label)
        scene = Scene(self, base_is_there)
        try:
            yield scene
        finally:
            scene.close()

    def replace(self, label: str) -> None:
        """Start this bystander (again)."""
        if label in self.bystanders:
            with contextlib.suppress(DriverError):
                self.bystanders[label].kill()
                self.bystanders.pop(label).close()
        self.bystanders[label] = Participant(self.commands[label], self.path)

    def _clear(self) -> None:
        shutil.rmtree(self.where / "parent", ignore_errors=True)

    def close(self) -> None:
        for driver in self.bystanders.values():
            with contextlib.suppress(DriverError):
                driver.kill()
                driver.close()
        self._clear()
