"""Queues with any octets, in any pieces, with and without files of these ids.

A script of steps is drawn. The model does the steps of a fetch (fetch.md) on the same octets, and
each fetch has to yield what the model yields. After the last step, the channel has to work as ever.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from pubsub_conformance.driver import Driver, OpenChannel, Rejected
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import InvalidMessage, Message, a_message, decode, encode
from pubsub_conformance.oracle.queue import enqueue
from pubsub_conformance.oracle.record import MARKER, characters, length_of

from .messages import Drawing
from .target import Target, Violation, pruned
from .trees import make_special

Steps = list[Any]
"""Each step is a list: ["octets", hex], ["file", kind, id, …], ["gone", id], ["fetch"]."""

KINDS = (
    *("message", "message", "message", "octets", "octets", "octets", "other id", "directory"),
    "unreadable",
    *("symlink", "dangling", "loop", "FIFO", "socket", "device", "hard link", "empty", "sparse"),
)
IDS = (1, 2, 255, 256, 2**56 + 1, 2**63, 2**64 - 1, 0x0101010101010101)
CHARACTERS = b"fVd3"
"""What stands in an input for the characters of a marked channel, which it does not know."""

TARGET = "outside"
"""The directory beside the base that links lead to."""


class Queues(Target[Steps]):
    """Fuzzes the octets of queues, and the files of their ids."""

    name = "queue"
    roles = frozenset({"subscriber"})
    keeps_driver = True
    is_marked = False
    """Whether the queues are those of marked channels."""

    channel: OpenChannel | None = None
    drawing: Drawing | None = None

    def begin(self, driver: Driver) -> None:
        self.channel = None

    def draw(self, random: Random) -> Steps:
        if self.drawing is None:
            self.drawing = Drawing(random)
        ids = [*random.sample(IDS, 4), random.getrandbits(64) or 1]
        steps: Steps = []
        for _ in range(random.choice((1, 3, 6, 12, 30))):
            kind = random.random()
            if kind < 0.4:
                steps.append(["octets", self._octets(random, ids).hex()])
            elif kind < 0.65:
                steps.append(self._file(random, random.choice(ids)))
            elif kind < 0.7:
                steps.append(["gone", random.choice(ids)])
            else:
                steps.append(["fetch"])
        return steps

    def _octets(self, random: Random, ids: list[int]) -> bytes:
        octets = b"".join(
            random.choice((*ids, 0, random.getrandbits(64))).to_bytes(8, "big")
            for _ in range(random.choice((1, 1, 2, 5)))
        )
        kind = random.random()
        if kind < 0.15:  # a piece; the rest may follow
            octets = octets[: random.randrange(1, len(octets))]
        elif kind < 0.25:
            octets = octets[random.randrange(1, len(octets)) :]
        elif kind < 0.35:
            octets = random.randbytes(random.randrange(1, 40))
        return octets

    def _file(self, random: Random, id: int) -> list[Any]:
        assert self.drawing is not None
        kind = random.choice(KINDS)
        if kind == "octets":
            data = self.drawing.octets()
            data = data if len(data) < 2**16 else b""
            if random.random() < 0.5:
                data = data[:5] + id.to_bytes(8, "big") + data[13:]
            return ["file", kind, id, data.hex()]
        return ["file", kind, id]

    def blame(self, input: Steps) -> str:
        return "FETCH-7" if any(step[0] == "file" for step in input) else "FETCH-2"

    def smaller(self, input: Steps, fails: Callable[[Steps], bool]) -> Steps:
        steps = pruned(input, fails)
        for at in range(len(steps)):
            if steps[at][0] == "octets":
                steps = _with_fewer_octets(steps, at, fails)
        return steps

    def dump(self, input: Steps) -> bytes:
        return json.dumps(input).encode()

    def load(self, data: bytes) -> Steps:
        steps = json.loads(data)
        if not isinstance(steps, list):
            raise ValueError("an input for queues is a list of steps")
        return steps

    def judge(self, driver: Driver, input: Steps) -> None:
        base = Base(self.home)
        if self.channel is None:
            self.channel = driver.open("queue", inline=self.is_marked)
        try:
            run = _Run(driver, self.channel, base, self.directory / TARGET)
            run.is_marked = self.is_marked
            for step in input:
                run.step(*step)
            run.drain()
            run.leave()
        except Violation:
            channel, self.channel = self.channel, None
            driver.close_channel(channel)
            raise


def _with_fewer_octets(steps: Steps, at: int, fails: Callable[[Steps], bool]) -> Steps:
    def with_octets(octets: bytes) -> Steps:
        return [*steps[:at], ["octets", octets.hex()], *steps[at + 1 :]]

    octets = bytes.fromhex(steps[at][1])
    return with_octets(pruned(octets, lambda fewer: fails(with_octets(fewer))))


class _Run:
    """One script, on the disk and in the model."""

    def __init__(self, driver: Driver, channel: OpenChannel, base: Base, outside: Path) -> None:
        self.driver = driver
        self.channel = channel
        self.base = base
        self.outside = outside
        self.outside.mkdir(exist_ok=True)
        self.is_marked = False
        self.pending = b""
        """The octets in the queue."""
        self.files: dict[int, str] = {}
        """The kind of the file that an id has as its name."""
        self.messages: dict[int, Message] = {}
        """The message in that file, if it is one."""
        self.rule = ""
        """The requirement for the result of the fetch."""
        self.skipped = ""
        """The requirement for ids that the fetch skipped."""

    def step(self, kind: str, *fields: Any) -> None:
        """Do one step of the script. Raises Violation."""
        if kind == "octets":
            octets = bytes.fromhex(fields[0])
            # So that it fits into the smallest FIFO, whose room is counted in pages.
            most = 16_000 if self.is_marked else 400
            if self.is_marked:
                octets = octets.replace(CHARACTERS, characters(self.channel.directory))
            if octets and len(self.pending) + len(octets) <= most:
                enqueue(self.channel.directory, octets)
                self.pending += octets
        elif kind == "file":
            self.put(*fields)
        elif kind == "gone":
            self.remove(fields[0])
        else:
            self.fetch()

    def path(self, id: int) -> Path:
        return self.channel.directory / str(id)

    def remove(self, id: int) -> None:
        kind = self.files.pop(id, None)
        self.messages.pop(id, None)
        if kind == "directory":
            shutil.rmtree(self.path(id))
        elif kind is not None:
            self.path(id).unlink()

    def put(self, kind: str, id: int, data: str = "") -> None:
        """Make something that has the id as its name, and note the message if it is one."""
        self.remove(id)
        path = self.path(id)
        message = a_message("queue", b"content of %d" % id, {"id": str(id)}, id)
        octets = encode(message)
        good = self.outside / "message"
        if kind in ("symlink", "hard link"):
            good.unlink(missing_ok=True)
            good.write_bytes(octets)
        if kind in ("message", "unreadable"):
            path.write_bytes(octets)
        elif kind == "other id":
            path.write_bytes(encode(a_message("queue", id=id % (2**64 - 1) + 1)))
        elif kind == "octets":
            path.write_bytes(bytes.fromhex(data))
        elif kind == "empty":
            path.touch()
        elif kind == "sparse":  # zeros follow the message; they take no room
            path.write_bytes(octets)
            os.truncate(path, len(octets) + 2**20)
        elif kind == "directory":
            path.mkdir()
            (path / "file").write_bytes(octets)
        elif kind == "symlink":
            path.symlink_to(good)
        elif kind == "dangling":
            path.symlink_to(self.outside / "nothing")
        elif kind == "loop":
            path.symlink_to(path)
        elif kind == "hard link":
            os.link(good, path)
        else:
            try:
                make_special(path, kind)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP):
                    raise
                return
        self.files[id] = kind
        if kind == "unreadable":
            path.chmod(0)
        elif kind == "octets":
            with contextlib.suppress(InvalidMessage):
                self.messages[id] = decode(bytes.fromhex(data))
        if kind in ("message", "hard link") or (kind == "unreadable" and os.geteuid() == 0):
            self.messages[id] = message

    def expected(self) -> Message | str | None:
        """What the next fetch has to yield: a message, an error code, or nothing."""
        while self.pending:
            octets, self.pending = self.pending[:8], self.pending[8:]
            if len(octets) < 8:
                self.rule = "FETCH-9"
                return "damaged-queue"
            if self.is_marked:
                length = length_of(octets, characters(self.channel.directory))
                if length is not None:
                    return self._expected_of_record(octets, length)
            id = int.from_bytes(octets, "big")
            if id not in self.files:
                self.skipped = "FETCH-10" if id == 0 else "FETCH-3"
                continue
            kind = self.files[id]
            if kind != "directory":
                del self.files[id]
            message = self.messages.pop(id, None)
            if message and message.id == id:
                self.rule = "FETCH-1"
                return message
            special = ("directory", "symlink", "dangling", "loop", "FIFO", "socket", "device")
            self.rule = "FETCH-7" if kind in special else "FETCH-6" if message else "FETCH-5"
            if kind == "unreadable":
                self.rule = "FETCH-19"
            return "invalid-message"
        return None

    def _expected_of_record(self, word: bytes, length: int) -> Message | str:
        """What a fetch of the record that this word begins has to yield."""
        octets, self.pending = self.pending[:length], self.pending[length:]
        if len(octets) < length:
            self.rule = "INLINE-10"
            return "damaged-queue"
        try:
            self.rule = "INLINE-8"
            return decode(octets[: int.from_bytes(word[6:], "big")])
        except InvalidMessage:
            self.rule = "INLINE-9"
            return "invalid-message"

    def fetch(self) -> Message | str | None:
        """Fetch, and compare with the model. Returns the result. Raises Violation."""
        self.rule, self.skipped = "FETCH-2", ""
        expected = self.expected()
        found = self._found(expected)
        if found is None and expected == "damaged-queue" and self.skipped:
            found = self._found(expected)  # FETCH-22: the first may end behind the last whole word
        if found != expected:
            rule = self.skipped if found is None and self.skipped else self.rule
            raise Violation(rule, f"fetch: expected {expected}, found {found}")
        own = {"queue", MARKER} if self.is_marked else {"queue"}
        names = {entry.name for entry in self.channel.directory.iterdir()} - own
        due = set(map(str, self.files))
        if left := names - due:
            rule = "FETCH-4" if isinstance(found, Message) else "FETCH-5"
            raise Violation(rule, f"left behind after the fetch: {sorted(left)}")
        if lost := due - names:
            raise Violation(
                "FETCH-17", f"removed, though their ids had not been fetched: {sorted(lost)}"
            )
        return found

    def _found(self, expected: Message | str | None) -> Message | str | None:
        """The result of a fetch. Raises Violation."""
        try:
            return self.driver.fetch(self.channel)
        except Rejected as error:
            if error.code not in ("invalid-message", "damaged-queue"):
                raise Violation(self.rule, f"fetch: expected {expected}, found {error}") from None
            return error.code

    def drain(self) -> None:
        """Fetch until the queue is empty. Raises Violation."""
        while self.pending:
            self.fetch()
        self.fetch()
        # A fetch removes a link, and leaves its target.
        good = self.outside / "message"
        if good.exists():
            decode(good.read_bytes())

    def leave(self) -> None:
        """An honest message has to arrive; then the files are removed. Raises Violation."""
        message = self.base.publish("queue", b"honest")
        self.rule = "FETCH-1"
        found = self.driver.fetch(self.channel)
        if found != message:
            raise Violation("FETCH-3", f"then an honest message: expected it, found {found}")
        if self.path(message.id).exists():
            raise Violation("FETCH-4", "then an honest message: its file is left behind")
        for id in list(self.files):
            self.remove(id)
