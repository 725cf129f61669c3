"""The message file: what writers (codec, publisher) write and readers (codec, subscriber) take.

Each rule is tested through every role that it binds: a writer is an `encode` or a publish into a
channel of the kit, a reader is a `decode` or a fetch of a file that the kit has put there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from pubsub_conformance import vectors
from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import (
    InvalidMessage,
    Message,
    Scalar,
    a_message,
    decode,
    decode_headers,
    encode,
    fresh_id,
    now,
    pack,
)
from pubsub_conformance.suite.helpers import answers, as_message, most_memory, refuses, through

VALID = vectors.messages()
INVALID = vectors.table("invalid-message")
GOOD = as_message(VALID[0].fields)
GIB = 2**30

Headers = Mapping[str, Any]


def readers(rule: str) -> pytest.MarkDecorator:
    return through(rule, "codec", "subscriber")


def writers(rule: str) -> pytest.MarkDecorator:
    return through(rule, "codec", "publisher")


# Reading.


class Reader:
    """Has octets read by `decode`, or as a file in a channel of the driver."""

    def __init__(self, role: str, driver: Driver) -> None:
        self.driver = driver
        self.channel = driver.open("+") if role == "subscriber" else None

    def read(self, data: bytes) -> Message:
        if self.channel is None:
            return self.driver.decode(data)
        # The name is the id inside, so that nothing but the fault in question is wrong.
        id = int.from_bytes(data[5:13], "big") if len(data) >= 13 else 0
        name = str(id or fresh_id())
        (self.channel.directory / name).unlink(missing_ok=True)  # not this test's business
        put(self.channel.directory, data, name=name)
        message = self.driver.fetch(self.channel)
        if message is None:
            pytest.fail(f"fetch said that the queue is empty; it held {name}, and that file")
        return message

    def check(self, data: bytes, expected: Message, what: str) -> None:
        try:
            found = self.read(data)
        except Rejected as no:
            pytest.fail(f"{what}: expected a message, found {no}")
        assert found == expected, f"{what}: expected {expected}, found {found}"

    def check_good(self) -> None:
        self.check(encode(GOOD), GOOD, "a good message")

    def check_headers(self, spelled: str, expected: Headers) -> None:
        data = with_headers(spelled.encode())
        message = Message(GOOD.id, GOOD.timestamp, GOOD.topic, expected, GOOD.content)
        self.check(data, message, f"headers {spelled[:100]!r}")


def with_headers(headers: bytes) -> bytes:
    return pack(GOOD.id, GOOD.timestamp, GOOD.topic.encode(), headers, GOOD.content)


@pytest.mark.parametrize(
    ("rule", "role"),
    [
        pytest.param(rule, role, marks=pytest.mark.requirement(rule, role=role))
        for rule in dict.fromkeys(row["rule"] for row in INVALID)
        for role in ("codec", "subscriber")
    ],
)
def test_a_reader_refuses_what_breaks_the_rule(driver: Driver, rule: str, role: str) -> None:
    """Each of the specification's invalid files that break this rule is an invalid-message."""
    reader = Reader(role, driver)
    reader.check_good()
    for row in INVALID:
        if row["rule"] == rule:
            with refuses("invalid-message", what=row["fault"]):
                reader.read(bytes.fromhex(row["hex"]))
    reader.check_good()


@readers("MSG-1")
def test_a_reader_takes_what_is_valid(driver: Driver, role: str) -> None:
    """Each of the specification's valid files is read as the message that stands below it."""
    reader = Reader(role, driver)
    for vector in VALID:
        reader.check(vector.data, as_message(vector.fields), vector.name)


@readers("MSG-5")
def test_a_reader_takes_any_timestamp(driver: Driver, role: str) -> None:
    """The smallest and the largest timestamp are read as they are."""
    reader = Reader(role, driver)
    for timestamp in (0, 1, 2**63 - 1, 2**63, 2**64 - 1):
        message = Message(GOOD.id, timestamp, "a", {}, b"")
        reader.check(encode(message), message, f"timestamp {timestamp}")


@readers("MSG-6")
def test_a_reader_takes_every_topic(driver: Driver, role: str) -> None:
    """Messages of all kinds of topics, the longest included, are read."""
    reader = Reader(role, driver)
    for row in vectors.table("valid-topic"):
        message = Message(GOOD.id, GOOD.timestamp, row["topic"], {}, b"")
        reader.check(encode(message), message, row["topic"])


@readers("MSG-7")
def test_a_reader_takes_json_however_it_is_spelled(driver: Driver, role: str) -> None:
    """White space, escapes and any Unicode character are JSON, no octets at all are no headers."""
    reader = Reader(role, driver)
    spellings: dict[str, Headers] = {
        "": {},
        "{}": {},
        " \t\r\n{ \t\r\n} \t\r\n": {},
        ' \t\r\n{ \t\r\n"k" \t\r\n: \t\r\n1 \t\r\n, \t\r\n"l" \t\r\n: \t\r\n2 \t\r\n} \n': {
            "k": 1,
            "l": 2,
        },
        r'{"\"\\\/\b\f\n\r\t": "\u0041\u00e9\u00E9"}': {'"\\/\b\f\n\r\t': "Aéé"},
        r'{"\u0000": "a\u0000b"}': {"\0": "a\0b"},
        r'{"\ud83d\ude00": "\uD83D\uDE00"}': {"😀": "😀"},
        '{"é": "тест 😀"}': {"é": "тест 😀"},
        '{"\x7f": "\u2028\ufeff\uffff\U0010ffff"}': {"\x7f": "\u2028\ufeff\uffff\U0010ffff"},
        '{"' + "k" * 100_000 + '": "' + "v" * 100_000 + '"}': {"k" * 100_000: "v" * 100_000},
    }
    for spelled, expected in spellings.items():
        reader.check_headers(spelled, expected)


KINDS: dict[str, Scalar] = {
    "string": "text",
    "empty string": "",
    "integer": 1,
    "nothing": 0,
    "fraction": 0.5,
    "yes": True,
    "no": False,
    "none": None,
}


@readers("MSG-8")
def test_a_reader_takes_every_kind_of_value(driver: Driver, role: str) -> None:
    """Strings, numbers, true, false and null are read as what they are."""
    Reader(role, driver).check_headers(json.dumps(KINDS), KINDS)


ALIKE: dict[str, Scalar] = {"k": 1, "K": 2, "": 3, " k": 4, "k\0": 5, "\u00e9": 6, "e\u0301": 7}


@readers("MSG-9")
def test_a_reader_takes_keys_that_are_alike(driver: Driver, role: str) -> None:
    """Keys that differ by case, white space or Unicode normalisation are different keys."""
    Reader(role, driver).check_headers(json.dumps(ALIKE), ALIKE)


@readers("MSG-10")
def test_a_reader_takes_every_number_in_range(driver: Driver, role: str) -> None:
    """Integers up to 2^53 - 1, and whatever has a fraction or exponent and is finite, are read."""
    reader = Reader(role, driver)
    for spelled in (
        *("0", "-0", "-1", "9007199254740991", "-9007199254740991"),
        *("0.1", "-0.0", "1.0", "1.5e3", "1E5", "1e+5", "1e-5", "0.1e-6", "0.30000000000000004"),
        *("9007199254740992.0", "1e16", "-1e300", "5e-324", "1.7976931348623157e308"),
    ):
        reader.check_headers(f'{{"n": {spelled}}}', {"n": float(spelled)})


@readers("MSG-11")
def test_a_reader_takes_surrogate_pairs(driver: Driver, role: str) -> None:
    """A pair of escaped surrogates is one character, in a key as in a value."""
    reader = Reader(role, driver)
    reader.check_headers(r'{"\ud800\udc00": "\udbff\udfff"}', {"\U00010000": "\U0010ffff"})


def nested(depth: int) -> list[bytes]:
    return [
        b'{"k":' + b"[" * depth + b"]" * depth + b"}",
        b'{"k":' * depth + b"1" + b"}" * depth,
        b"[" * depth,
        b'{"k":' + b'[{"k":' * depth,
    ]


@readers("MSG-12")
@pytest.mark.parametrize("depth", [2, 1000, 1_000_000])
def test_deep_nesting_is_refused_like_any_other(driver: Driver, role: str, depth: int) -> None:
    """Headers nested this deep are an invalid-message, and the reader lives on."""
    reader = Reader(role, driver)
    reader.check_good()
    for headers in nested(depth):
        what = f"headers nested {depth} deep: {headers[:20]!r}…"
        with answers(what), refuses("invalid-message", what=what):
            reader.read(with_headers(headers))
    with answers("a good message after that"):
        reader.check_good()


@readers("MSG-18")
def test_many_keys_take_no_time(driver: Driver, role: str) -> None:
    """Headers with 300 000 keys: a comparison of each with each would take minutes."""
    reader = Reader(role, driver)
    headers = "{" + ",".join(f'"{n}":0' for n in range(300_000)) + "}"
    with answers("a message with 300 000 header keys"):
        message = reader.read(with_headers(headers.encode()))
    assert len(message.headers) == 300_000


@readers("MSG-13")
def test_a_length_is_checked_before_memory_is_taken(driver: Driver, role: str) -> None:
    """A short file whose lengths say 2^31 octets or more does not make the reader grow."""
    reader = Reader(role, driver)
    reader.check_good()
    before = most_memory(driver)
    for size in (2**31 - 1, 2**31, 2**32 - 1):
        told = size.to_bytes(4, "big")
        start = pack(GOOD.id, 1, b"a", b"{}", b"")
        for what, at in (("topic", 21), ("headers", 26), ("content", 32)):
            what = f"the length of the {what} says {size}"
            with answers(what), refuses("invalid-message", what=what):
                reader.read(start[:at] + told + start[at + 4 :])
    grown = most_memory(driver) - before
    assert grown < GIB, f"expected less than 1 GiB of address space more, found {grown} octets"
    reader.check_good()


# Writing.


@dataclass(frozen=True)
class Sections:
    """A message file, cut up by the table of the specification."""

    magic: bytes
    version: bytes
    id: bytes
    timestamp: bytes
    topic: bytes
    headers: bytes
    content: bytes
    rest: bytes


def cut(data: bytes) -> Sections:
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
    """Has messages written by `encode`, or published into a channel of the kit."""

    def __init__(self, role: str, driver: Driver, base: Base) -> None:
        self.role = role
        self.driver = driver
        self.base = base

    def write(
        self, topic: str = "a", content: bytes = b"", headers: Headers | None = None
    ) -> tuple[int, bytes]:
        """The id, and the file."""
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
        return cut(self.write(topic, content, headers)[1])

    def check_headers(self, headers: Headers) -> None:
        written = self.write_sections(headers=headers).headers
        try:
            found = decode_headers(written)
        except InvalidMessage as fault:
            pytest.fail(f"{headers} was written as {written!r}, which is not valid: {fault}")
        expected = Message(1, 1, "a", headers, b"")
        assert Message(1, 1, "a", found, b"") == expected, f"{headers} was written as {written!r}"

    def raw(self, headers: str) -> str:
        """The error code for headers that the kit's own JSON cannot hold."""
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
    """Each field has its place and its length before it, and nothing follows the content."""
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
    """The file begins with 50 4d 53 47."""
    assert Writer(role, driver, base).write_sections().magic.hex(" ") == "50 4d 53 47"


@writers("MSG-3")
def test_a_writer_writes_version_1(driver: Driver, base: Base, role: str) -> None:
    """The fifth octet is 1."""
    assert Writer(role, driver, base).write_sections().version == b"\1"


@writers("MSG-4")
def test_a_writer_writes_the_id(driver: Driver, base: Base, role: str) -> None:
    """Octets 5 to 12 are the id, big-endian; that of a published file is its name; never 0."""
    id, data = Writer(role, driver, base).write()
    assert int.from_bytes(cut(data).id, "big") == id
    assert id != 0


@pytest.mark.requirement("MSG-4", role="codec")
def test_an_encoder_writes_any_id(driver: Driver) -> None:
    """The smallest and the largest id are written."""
    for id in (1, 2**56, 2**63, 2**64 - 1):
        data = driver.encode(a_message(id=id))
        assert int.from_bytes(cut(data).id, "big") == id


@pytest.mark.requirement("MSG-5", role="codec")
def test_an_encoder_writes_the_timestamp_it_is_given(driver: Driver) -> None:
    """The smallest and the largest timestamp are written as they are."""
    for timestamp in (0, GOOD.timestamp, 2**64 - 1):
        data = driver.encode(Message(GOOD.id, timestamp, "a", {}, b""))
        assert int.from_bytes(cut(data).timestamp, "big") == timestamp


@pytest.mark.requirement("MSG-5", role="publisher")
def test_a_publisher_writes_the_time(driver: Driver, base: Base) -> None:
    """The timestamp lies between the beginning and the end of the publish, in microseconds."""
    slack = 1_000_000  # the clock may be set a little, or be read from a coarse source
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
    """Every valid topic is written as it is; no other is written."""
    writer = Writer(role, driver, base)
    for row in vectors.table("valid-topic"):
        assert writer.write_sections(row["topic"]).topic == row["topic"].encode()
    for row in vectors.table("invalid-topic"):
        with refuses("invalid-topic", what=f"{row['topic']!r} ({row['fault']})"):
            writer.write(row["topic"])


@writers("MSG-7")
def test_a_writer_writes_json_in_utf8(driver: Driver, base: Base, role: str) -> None:
    """Headers are written as one JSON object in UTF-8; no headers as `{}` or no octets."""
    writer = Writer(role, driver, base)
    writer.check_headers({})
    writer.check_headers({"é": "тест 😀"})
    writer.check_headers({'"\\/\b\f\n\r\t\0\x1f\x7f': "\u2028\ufeff\uffff\U0010ffff"})
    writer.check_headers({"many": "k" * 100_000, **{str(n): n for n in range(1000)}})


@writers("MSG-8")
def test_a_writer_writes_every_kind_of_value(driver: Driver, base: Base, role: str) -> None:
    """Scalars are written as what they are; a list or an object is refused."""
    writer = Writer(role, driver, base)
    writer.check_headers(KINDS)
    for value in ([], [1], {}, {"k": 1}):
        with refuses("invalid-headers", what=f"the header {value}"):
            writer.write(headers={"good": 1, "k": value})


@writers("MSG-9")
def test_a_writer_writes_each_key_once(driver: Driver, base: Base, role: str) -> None:
    """Keys that are alike, but not the same, are each written once."""
    Writer(role, driver, base).check_headers(ALIKE)


@writers("MSG-10")
def test_a_writer_writes_numbers_in_range(driver: Driver, base: Base, role: str) -> None:
    """The largest integers and doubles are written; what is beyond them is refused."""
    writer = Writer(role, driver, base)
    for number in (
        *(0, 1, -1, 2**53 - 1, -(2**53) + 1),
        *(0.5, 0.1, -0.0, 1e16, -1e300, 5e-324, 1.7976931348623157e308),
    ):
        writer.check_headers({"n": number})
    for beyond in (2**53, -(2**53), 2**64):
        # Where all numbers are doubles, it may be written as one: with a fraction or exponent.
        try:
            writer.check_headers({"n": beyond})
        except Rejected as no:
            if no.code != "invalid-headers":
                pytest.fail(f"{beyond}: expected invalid-headers, found {no}")
    # A driver whose JSON library refuses such a number has no request.
    assert writer.raw('{"n": 1e400}') in ("invalid-headers", "bad-request")


@writers("MSG-11")
def test_a_writer_writes_no_lone_surrogate(driver: Driver, base: Base, role: str) -> None:
    """Characters beyond the first plane are written; half a character is refused."""
    writer = Writer(role, driver, base)
    writer.check_headers({"\U00010000": "\U0010ffff"})
    # A driver whose JSON library refuses such a string has no request.
    for headers in (r'{"k": "\ud800"}', r'{"\udc00": 1}', r'{"k": "\udc00\ud800"}'):
        found = writer.raw(headers)
        assert found in ("invalid-headers", "bad-request"), f"{headers}: {found}"


@writers("MSG-15")
def test_refused_headers_are_not_written(driver: Driver, base: Base, role: str) -> None:
    """Headers that hold a list or an object are refused as invalid-headers, and nothing is left."""
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


# Both.


@pytest.mark.requirement("MSG-17", role="codec")
def test_what_is_encoded_is_decoded(driver: Driver) -> None:
    """Decoding yields the id, timestamp, topic, headers and content that were encoded."""
    messages = [as_message(vector.fields) for vector in VALID]
    messages += [
        Message(2**63, 2**63, "a", KINDS, bytes(range(256))),
        Message(1, 0, "a" * 200, ALIKE, b"\r\n\0\xff" * 250_000),
    ]
    for message in messages:
        data = driver.encode(message)
        found = driver.decode(data)
        assert found == message, f"{message} became {found}"
        assert decode(data) == message, f"{message} was encoded as {data[:200]!r}"
