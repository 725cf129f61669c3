"""The channels beside that of the disturbed process: alive, full, dead, or held until they die."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pubsub_conformance.driver import Driver, OpenChannel, Rejected
from pubsub_conformance.oracle.base import Base, Channel
from pubsub_conformance.oracle.message import InvalidMessage, Message, decode, fresh_id
from pubsub_conformance.oracle.queue import fill, open_queue, resize, waiting
from pubsub_conformance.oracle.record import Cut, Record, parts, words
from pubsub_conformance.oracle.topics import matches

_ALL = 2**20
"""Octets: more than a queue holds."""

FETCHES = 1000
"""The most fetches from one channel: no scene puts so many messages into one."""


@dataclass
class Receiver:
    """A channel that stays alive, of the kit (`oracle`) or of a bystander (`driver`, `handle`)."""

    owner: str
    pattern: str
    directory: Path
    oracle: Channel | None = None
    driver: Driver | None = None
    handle: OpenChannel | None = None
    queue: tuple[int, int] = (0, 0)
    """Which file the queue was when the channel was opened."""

    @classmethod
    def of(cls, owner: str, driver: Driver, pattern: str) -> Receiver:
        """Have a bystander open a channel. Raises Rejected and DriverError."""
        handle = driver.open(pattern)
        return cls(owner, pattern, handle.directory, driver=driver, handle=handle)

    def __post_init__(self) -> None:
        self.queue = identity(self.directory / "queue")

    def drain(self) -> tuple[list[Message], list[str]]:
        """Fetch all messages. Returns them, and what was wrong. Raises DriverError."""
        if self.oracle:
            return drain(self.oracle)
        assert self.driver
        assert self.handle
        messages: list[Message] = []
        faults: list[str] = []
        for _ in range(FETCHES):
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

    def close(self) -> None:
        """Close a bystander's channel. Raises Rejected and DriverError."""
        assert self.driver
        assert self.handle
        self.driver.close_channel(self.handle)


def identity(path: Path) -> tuple[int, int]:
    """Device and inode number of a file. Raises OSError."""
    status = path.lstat()
    return status.st_dev, status.st_ino


def drain(channel: Channel) -> tuple[list[Message], list[str]]:
    """Fetch all messages of a channel of the kit. Returns them, and what was wrong.

    Unlike `Channel.fetch`, this reports an id that has no file (PUB-8).
    """
    messages: list[Message] = []
    faults: list[str] = []
    while True:
        try:
            octets = os.read(channel.read_end, _ALL)
        except BlockingIOError:
            return messages, faults
        for part in parts(octets, channel.directory) if channel.is_marked else words(octets):
            if part == 0:
                continue
            if isinstance(part, Cut):
                faults.append(f"the queue held {len(part.octets)} octets of a word or a record")
                continue
            if isinstance(part, Record):
                try:
                    messages.append(decode(part.octets))
                except InvalidMessage as error:
                    faults.append(f"a record is not a message: {error}")
                continue
            id, file = part, channel.directory / str(part)
            try:
                message = decode(file.read_bytes())
                file.unlink()
            except FileNotFoundError:
                faults.append(f"the queue held the id {id}, which has no file")
            except InvalidMessage as error:
                faults.append(f"the file {id} is not a message: {error}")
            else:
                if message.id != id:
                    faults.append(f"the file {id} holds the id {message.id}")
                messages.append(message)


class Holder:
    """A process that reads a channel, until it is killed.

    The kit cannot be that reader: a process that it starts at this moment, for another scene, has
    its descriptors for a while, and the queue would outlive their closing.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        script = 'exec 3<>"$0"; echo; read forever'
        self._process = subprocess.Popen(
            ["sh", "-c", script, directory / "queue"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout
        self._process.stdout.readline()

    def kill(self) -> int:
        """Remove the messages of the channel, and kill its reader. Returns how many there were."""
        if taken := waiting(self.directory):
            for message in self.directory.glob("[1-9]*"):
                message.unlink()
        self.end()
        return taken

    def end(self) -> None:
        """Kill the reader."""
        self._process.kill()
        self._process.communicate()


class Channels:
    """All channels of a scene but that of the disturbed process."""

    def __init__(self, base: Base, dead_pid: int) -> None:
        self.base = base
        self.receivers: list[Receiver] = []
        self.oracles: list[Channel] = []
        """The channels of the kit, with `full`."""
        self.full: Channel | None = None
        self.dead: list[Path] = []
        self.held: Holder | None = None
        self.revived: Holder | None = None
        self.lost = 0
        """How many messages died with the holder. They were counted."""
        self.planted: set[Path] = set()
        """Entries that need not be as the specification says."""
        self.closed: set[Path] = set()
        """Channels that were closed while the disturbed process was stopped."""
        self.writer: int | None = None
        """The write end of a queue that the kit keeps, as a publisher does."""
        self._dead_pid = dead_pid

    def add_oracle(self, owner: str, pattern: str, *, inline: bool = False) -> Channel:
        """Open a channel of the kit; with `inline` it is marked."""
        channel = self.base.open(pattern, inline=inline)
        self.oracles.append(channel)
        self.receivers.append(Receiver(owner, pattern, channel.directory, oracle=channel))
        return channel

    def add_full(self) -> None:
        """Open a channel of the kit whose queue has no room."""
        self.full = self.base.open("a.+")
        self.oracles.append(self.full)
        resize(self.full.write_end, 1)
        fill(self.full.directory)

    def add_dead(self) -> Path:
        """Make a channel whose owner died with a message unread."""
        dead = self.base.dead_channel("a.+", self._dead_pid)
        (dead / str(fresh_id())).write_bytes(b"")
        self.planted.add(dead)
        self.dead.append(dead)
        return dead

    def add_held(self, pattern: str) -> None:
        """Make a channel whose reader `kill_holder` kills."""
        self.held = Holder(self.base.dead_channel(pattern, self._dead_pid))

    def kill_holder(self) -> None:
        """Kill the reader of the held channel, if there still is one."""
        if self.held:
            self.lost += self.held.kill()
            self.dead.append(self.held.directory)
            self.held = None

    def revive(self, directory: Path) -> None:
        """Have a process read the queue in this directory, until `let_go`."""
        self.revived = Holder(directory)

    def let_go(self) -> None:
        """Kill the process that reads the revived channel, if there is one."""
        if self.revived:
            self.revived.end()
            self.revived = None

    def keep_writer(self, directory: Path) -> None:
        """Open the queue in this directory for writing, until the end of the scene."""
        self.writer = open_queue(directory)

    def close_all(self) -> None:
        """Close all channels of receivers."""
        for receiver in self.receivers:
            if receiver.oracle:
                receiver.oracle.close()
            else:
                receiver.close()
        self.receivers.clear()

    def close_oracle(self, channel: Channel) -> None:
        """Close a channel of the kit. It receives nothing from then on."""
        self.receivers = [each for each in self.receivers if each.oracle is not channel]
        self.closed.add(channel.directory)
        channel.close()

    def matching(self, topic: str) -> list[Receiver]:
        """The receivers whose patterns match the topic."""
        return [receiver for receiver in self.receivers if matches(receiver.pattern, topic)]

    def living(self) -> set[Path]:
        """The directories of all channels that are alive."""
        own = {channel.directory for channel in self.oracles if not channel.closed}
        own |= {self.held.directory} if self.held else set()
        return (own | {receiver.directory for receiver in self.receivers}) - self.closed

    def stop(self) -> None:
        """Kill the holder, and close the queues that the kit reads."""
        self.kill_holder()
        self.let_go()
        if self.writer is not None:
            os.close(self.writer)
        for channel in self.oracles:
            channel.stop_reading()
