"""Writing: the message files that a writer makes, and the messages that it refuses."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from pubsub_conformance import vectors
from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import (
    InvalidMessage,
    Message,
    a_message,
    decode,
    decode_headers,
    fresh_id,
    now,
)
from pubsub_conformance.suite.helpers import as_message, refuses, through

from .support import ALIKE, GOOD, KINDS, VALID, Headers


def writers(rule: str) -> pytest.MarkDecorator:
    """Run the test once through each role that writes message files."""
    return through(rule, "codec", "publisher")


@dataclass(frozen=True)
class Sections:
    """A message file in the sections of the specification's table, and the octets after them."""

    magic: bytes
    version: bytes
    id: bytes
    timestamp: bytes
    topic: bytes
    headers: bytes
    content: bytes
    rest: bytes


def cut(data: bytes) -> Sections:
    """The sections of a message file. Fails the test for a file that is too short."""
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        assert at <= len(data), f"the file ends after {len(data)} octets, {at} are needed"
        return data[at - size : at]

    def take_field() -> bytes:
        return take(int.from_bytes(take(4), "big"))

    fixed = take(4), take(1), take(8), take(8)
    fields = take_field(), take_field(), take_field()
    return Sections(*fixed, *fields, rest=data[at:])


class Writer:
    """Has the driver write messages, by `encode` or by a publish into a channel of the kit."""

    def __init__(self, role: str, driver: Driver, base: Base) -> None:
        self.role = role
        self.driver = driver
        self.base = base

    def write(
        self, topic: str = "a", content: bytes = b"", headers: Headers | None = None
    ) -> tuple[int, bytes]:
        """Have the message written. Returns its id and its file. Raises Rejected."""
        if self.role == "codec":
            message = Message(fresh_id(), now(), topic, headers or {}, content)
            return message.id, self.driver.encode(message)
        with self.base.open("+") as channel:
            count = self.driver.publish(topic, content, headers)
            files = channel.files()
            assert count == len(files) == 1, (
                f"one channel matches; the count is {count}, files in the channel: {files}"
            )
            return int(files[0]), (channel.directory / files[0]).read_bytes()

    def write_sections(
        self, topic: str = "a", content: bytes = b"", headers: Headers | None = None
    ) -> Sections:
        """Have the message written. Returns its file in sections. Raises Rejected."""
        return cut(self.write(topic, content, headers)[1])

    def check_headers(self, headers: Headers) -> None:
        """The driver has to write these headers."""
        written = self.write_sections(headers=headers).headers
        try:
            found = decode_headers(written)
        except InvalidMessage as fault:
            pytest.fail(f"{headers} was written as {written!r}, which is not valid: {fault}")
        expected = Message(1, 1, "a", headers, b"")
        assert Message(1, 1, "a", found, b"") == expected, f"{headers} was written as {written!r}"

    def error_code(self, headers: str) -> str:
        """The error for headers, given as JSON text, that a JSON library may not write."""
        if self.role == "codec":
            line = '{"seq": 1, "op": "encode", "message": {"id": "1", "timestamp": "1", '
            line += f'"topic": "a", "headers": {headers}, "content": ""}}}}'
        else:
            line = f'{{"seq": 1, "op": "publish", "topic": "a", "headers": {headers}, '
            line += '"content": ""}'
        reply = self.driver.raw(line.encode() + b"\n")
        return str(reply["error"]["code"]) if "error" in reply else f"accepted: {reply}"


@writers("MSG-1")
def test_a_writer_keeps_to_the_layout(driver: Driver, base: Base, role: str) -> None:
    """A writer writes each field in its place, after its length, and nothing after the content."""
    writer = Writer(role, driver, base)
    for topic, content, headers in (
        ("a", b"", None),
        ("news.sports", b"Hello", {"n": 1}),
        ("a" * 200, bytes(range(256)), {"k" * 300: "v" * 70_000}),
        ("a", b"\0" * 1_000_000, None),
    ):
        found = writer.write_sections(topic, content, headers)
        assert found.topic == topic.encode()
        assert found.content == content
        assert decode_headers(found.headers) == (headers or {})
        assert found.rest == b"", f"{len(found.rest)} octets follow the content"


@writers("MSG-2")
def test_a_writer_writes_the_magic(driver: Driver, base: Base, role: str) -> None:
    """A written file begins with the octets 50 4d 53 47."""
    assert Writer(role, driver, base).write_sections().magic.hex(" ") == "50 4d 53 47"


@writers("MSG-3")
def test_a_writer_writes_version_1(driver: Driver, base: Base, role: str) -> None:
    """The fifth octet of a written file is 1."""
    assert Writer(role, driver, base).write_sections().version == b"\1"


@writers("MSG-4")
def test_a_writer_writes_the_id(driver: Driver, base: Base, role: str) -> None:
    """Octets 5 to 12 of a written file are the id, big-endian and not 0; a published file has it
    as its name."""
    id, data = Writer(role, driver, base).write()
    assert int.from_bytes(cut(data).id, "big") == id
    assert id != 0


@pytest.mark.requirement("MSG-4", role="codec")
def test_an_encoder_writes_any_id(driver: Driver) -> None:
    """An encoder writes any id from 1 to 2^64 - 1."""
    for id in (1, 2**56, 2**63, 2**64 - 1):
        data = driver.encode(a_message(id=id))
        assert int.from_bytes(cut(data).id, "big") == id


@pytest.mark.requirement("MSG-5", role="codec")
def test_an_encoder_writes_the_timestamp_it_is_given(driver: Driver) -> None:
    """An encoder writes any timestamp from 0 to 2^64 - 1."""
    for timestamp in (0, GOOD.timestamp, 2**64 - 1):
        data = driver.encode(Message(GOOD.id, timestamp, "a", {}, b""))
        assert int.from_bytes(cut(data).timestamp, "big") == timestamp


@pytest.mark.requirement("MSG-5", role="publisher")
def test_a_publisher_writes_the_time(driver: Driver, base: Base) -> None:
    """A publisher writes a time between the beginning and the end of the publish, in
    microseconds."""
    slack = 1_000_000  # microseconds: the clock may be adjusted, or the source may be coarse
    writer = Writer("publisher", driver, base)
    for _ in range(2):
        before = time.time_ns() // 1000
        found = int.from_bytes(writer.write_sections().timestamp, "big")
        after = time.time_ns() // 1000
        assert before - slack <= found <= after + slack, (
            f"expected microseconds from {before} to {after}, found {found}"
        )


@writers("MSG-6")
def test_a_writer_writes_the_topic(driver: Driver, base: Base, role: str) -> None:
    """A writer writes every valid topic, and refuses every invalid one as invalid-topic."""
    writer = Writer(role, driver, base)
    for row in vectors.table("valid-topic"):
        assert writer.write_sections(row["topic"]).topic == row["topic"].encode()
    for row in vectors.table("invalid-topic"):
        with refuses("invalid-topic", what=f"{row['topic']!r} ({row['fault']})"):
            writer.write(row["topic"])


@writers("MSG-7")
def test_a_writer_writes_json_in_utf8(driver: Driver, base: Base, role: str) -> None:
    """A writer writes headers as one JSON object in UTF-8, and no headers as `{}` or no octets."""
    writer = Writer(role, driver, base)
    writer.check_headers({})
    writer.check_headers({"é": "тест 😀"})
    writer.check_headers({'"\\/\b\f\n\r\t\0\x1f\x7f': "\u2028\ufeff\uffff\U0010ffff"})
    writer.check_headers({"many": "k" * 100_000, **{str(n): n for n in range(1000)}})


@writers("MSG-8")
def test_a_writer_writes_every_kind_of_value(driver: Driver, base: Base, role: str) -> None:
    """A writer writes every kind of scalar, and refuses lists and objects as invalid-headers."""
    writer = Writer(role, driver, base)
    writer.check_headers(KINDS)
    for value in ([], [1], {}, {"k": 1}):
        with refuses("invalid-headers", what=f"the header {value}"):
            writer.write(headers={"good": 1, "k": value})


@writers("MSG-9")
def test_a_writer_writes_each_key_once(driver: Driver, base: Base, role: str) -> None:
    """A writer writes each of several similar keys once."""
    Writer(role, driver, base).check_headers(ALIKE)


@writers("MSG-10")
def test_a_writer_writes_numbers_in_range(driver: Driver, base: Base, role: str) -> None:
    """A writer writes integers up to 2^53 - 1 and finite doubles, and refuses larger numbers as
    invalid-headers."""
    writer = Writer(role, driver, base)
    for number in (
        *(0, 1, -1, 2**53 - 1, -(2**53) + 1),
        *(0.5, 0.1, -0.0, 1e16, -1e300, 5e-324, 1.7976931348623157e308),
    ):
        writer.check_headers({"n": number})
    for beyond in (2**53, -(2**53), 2**64):
        # A language whose numbers are all doubles may write a double, with fraction or exponent.
        try:
            writer.check_headers({"n": beyond})
        except Rejected as error:
            if error.code != "invalid-headers":
                pytest.fail(f"{beyond}: expected invalid-headers, found {error}")
    # A JSON library that refuses such a number makes it a bad request.
    assert writer.error_code('{"n": 1e400}') in ("invalid-headers", "bad-request")


@writers("MSG-11")
def test_a_writer_writes_no_lone_surrogate(driver: Driver, base: Base, role: str) -> None:
    """A writer writes characters beyond U+FFFF, and refuses lone surrogates as invalid-headers."""
    writer = Writer(role, driver, base)
    writer.check_headers({"\U00010000": "\U0010ffff"})
    # A JSON library that refuses such a string makes it a bad request.
    for headers in (r'{"k": "\ud800"}', r'{"\udc00": 1}', r'{"k": "\udc00\ud800"}'):
        found = writer.error_code(headers)
        assert found in ("invalid-headers", "bad-request"), f"{headers}: {found}"


@writers("MSG-15")
def test_refused_headers_are_not_written(driver: Driver, base: Base, role: str) -> None:
    """A writer refuses headers with a list or an object as invalid-headers, and leaves nothing in
    the base."""
    writer = Writer(role, driver, base)
    writer.check_headers({"k": 1})
    with base.open("+") as channel:
        values: list[object] = [[], {}, [{"k": 1}], [[1]]]
        for value in values:
            with refuses("invalid-headers", what=f"the header {value}"):
                writer.write(headers={"good": 1, "bad": value})
            assert base.leftovers() == [], "something is left in the base"
            assert channel.files() == [], "something is left in a channel"
            assert channel.fetch() is None, "something is left in a queue"
    writer.check_headers({"k": 2})


@pytest.mark.requirement("MSG-17", role="codec")
def test_what_is_encoded_is_decoded(driver: Driver) -> None:
    """`decode` yields the id, timestamp, topic, headers and content that `encode` was given."""
    messages = [as_message(vector.fields) for vector in VALID]
    messages += [
        Message(2**63, 2**63, "a", KINDS, bytes(range(256))),
        Message(1, 0, "a" * 200, ALIKE, b"\r\n\0\xff" * 250_000),
    ]
    for message in messages:
        data = driver.encode(message)
        found = driver.decode(data)
        assert found == message, f"{message} was decoded as {found}"
        assert decode(data) == message, f"{message} was encoded as {data[:200]!r}"
