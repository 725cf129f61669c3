"""Message files, through `decode`: the driver has to accept what the oracle accepts, and to read
the same messages."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from pubsub_conformance.driver import Driver, DriverError
from pubsub_conformance.driver.protocol import reply_fault
from pubsub_conformance.oracle.message import InvalidMessage, Message, decode

from .messages import Drawing, smaller
from .target import Memory, Target, Violation, end

REASONS = (
    ("the length of", "MSG-1"),
    ("the magic needs", "MSG-1"),
    ("the version needs", "MSG-1"),
    ("the id needs", "MSG-1"),
    ("the timestamp needs", "MSG-1"),
    ("are left", "MSG-13"),
    ("the magic is", "MSG-2"),
    ("the version is", "MSG-3"),
    ("the id is 0", "MSG-4"),
    ("the topic is", "MSG-6"),
    ("not a key with a scalar", "MSG-7 and MSG-8"),
    ("occurs twice", "MSG-9"),
    ("not an interoperable integer", "MSG-10"),
    ("not finite as a double", "MSG-10"),
    ("a lone surrogate", "MSG-11"),
    ("follow the content", "MSG-14"),
    ("", "MSG-7"),
)
"""Words in the oracle's reason to refuse a file, and the requirement that such a file breaks."""


class Decode(Target[bytes]):
    """Fuzzes message files."""

    name = "decode"
    roles = frozenset({"codec"})
    keeps_driver = True

    def __init__(
        self, command: Sequence[str], directory: Path, against: Sequence[str] | None = None
    ) -> None:
        super().__init__(command, directory, against)
        self._other: Driver | None = None
        self._drawing: Drawing | None = None
        self._seq = 1

    def begin(self, driver: Driver) -> None:
        if self.against:
            self._other = Driver(self.against, self.home)
            self._others_memory = Memory(self._other)

    def stop(self) -> None:
        super().stop()
        if self._other:
            end(self._other, self._others_memory)
            self._other = None

    def draw(self, random: Random) -> bytes:
        if self._drawing is None:
            self._drawing = Drawing(random)
        return self._drawing.octets()

    def judge(self, driver: Driver, input: bytes) -> None:
        try:
            expected: Message | InvalidMessage = decode(input)
        except InvalidMessage as error:
            expected = error
        self._compare(driver, input, expected)
        if self._other:
            self._compare(self._other, input, expected)
            try:
                self._others_memory.check(len(input))
            except Violation:
                self.stop()
                raise

    def _compare(self, driver: Driver, input: bytes, expected: Message | InvalidMessage) -> None:
        self._seq += 1
        octets = base64.b64encode(input)
        name = driver.hello.implementation
        line = b'{"seq": %d, "op": "decode", "bytes": "%s"}\n' % (self._seq, octets)
        try:
            reply = driver.raw(line)
        except DriverError as error:
            self.stop()
            raise Violation(self.blame(input), f"{name} did not live through it: {error}") from None
        # The check of a schema takes much longer than the driver's reply: only where it matters.
        right = _shows(reply, expected) if isinstance(expected, Message) else _refuses(reply)
        if right and reply["seq"] == self._seq:
            return
        if fault := reply_fault("decode", reply):
            raise Violation("DRIVER-2", f"{name}: the reply breaks its schema: {fault}")
        if reply["seq"] != self._seq:
            raise Violation("DRIVER-2", f"{name}: seq {reply['seq']} answers {self._seq}")
        refused = reply.get("error")
        if refused and refused["code"] != "invalid-message":
            raise Violation("MSG-1", f"{name}: expected invalid-message, found {refused}")
        if isinstance(expected, Message):
            if refused:
                found = f"refused a valid file: {refused['detail']}; it holds {expected}"
            else:
                found = f"read {reply['message']}; the file holds {expected}"
            raise Violation("MSG-17", f"{name} {found}")
        if not refused:
            raise Violation(rule(expected), f"{name} accepted an invalid file: {expected}")

    def blame(self, input: bytes) -> str:
        try:
            decode(input)
        except InvalidMessage as error:
            return "MSG-12" if b"[[[[" in input or b'": {"' in input else rule(error)
        return "MSG-17"

    def smaller(self, input: bytes, fails: Callable[[bytes], bool]) -> bytes:
        return smaller(input, fails)

    def dump(self, input: bytes) -> bytes:
        return input

    def load(self, data: bytes) -> bytes:
        return data


def rule(reason: InvalidMessage) -> str:
    """The requirement that a file breaks if the oracle refuses it for this reason."""
    return next(rule for words, rule in REASONS if words in str(reason))


def _shows(reply: dict[str, Any], message: Message) -> bool:
    """Whether the reply shows the message, and nothing else."""
    fields = reply.get("message")
    return (
        isinstance(fields, dict)
        and reply.keys() == {"seq", "message"}
        and fields.keys() == {"id", "timestamp", "topic", "headers", "content"}
        and fields["id"] == str(message.id)
        and fields["timestamp"] == str(message.timestamp)
        and fields["topic"] == message.topic
        and fields["content"] == base64.b64encode(message.content).decode()
        and isinstance(fields["headers"], dict)
        and same(fields["headers"], message.headers)
    )


def _refuses(reply: dict[str, Any]) -> bool:
    """Whether the reply is the error invalid-message, and nothing else."""
    error = reply.get("error")
    return (
        isinstance(error, dict)
        and reply.keys() == {"seq", "error"}
        and error.keys() == {"code", "detail"}
        and error["code"] == "invalid-message"
        and isinstance(error["detail"], str)
    )


def same(found: Any, expected: Any) -> bool:
    """Whether headers are equal: 1.0 equals 1, but `true` does not."""
    a, b = (Message(1, 1, "a", headers, b"") for headers in (found, expected))
    return a == b
