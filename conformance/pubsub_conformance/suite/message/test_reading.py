"""Reading: which message files a reader accepts, and which ones it refuses."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

import pytest

from pubsub_conformance import vectors
from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.oracle.base import put
from pubsub_conformance.oracle.message import (
    Message,
    encode,
    fresh_id,
    pack,
)
from pubsub_conformance.suite.helpers import answers, as_message, most_memory, refuses, through

from .support import ALIKE, GIB, GOOD, INVALID, KINDS, VALID, Headers


def readers(rule: str) -> pytest.MarkDecorator:
    """Run the test once through each role that reads message files."""
    return through(rule, "codec", "subscriber")


class Reader:
    """Has the driver read octets, by `decode` or as a file in a channel of the driver."""

    def __init__(self, role: str, driver: Driver) -> None:
        self.driver = driver
        self.channel = driver.open("+") if role == "subscriber" else None

    def read(self, data: bytes) -> Message:
        """The message that the driver reads. Raises Rejected."""
        if self.channel is None:
            return self.driver.decode(data)
        # The file has the id as its name, so that it has no other fault than the one under test.
        id = int.from_bytes(data[5:13], "big") if len(data) >= 13 else 0
        name = str(id or fresh_id())
        (self.channel.directory / name).unlink(missing_ok=True)  # what was there is for other tests
        put(self.channel.directory, data, name=name)
        message = self.driver.fetch(self.channel)
        if message is None:
            pytest.fail(f"the queue held the id {name}, whose file exists; fetch found no message")
        return message

    def check(self, data: bytes, expected: Message, what: str) -> None:
        """The driver has to read this message from these octets."""
        try:
            found = self.read(data)
        except Rejected as error:
            pytest.fail(f"{what}: expected a message, found {error}")
        assert found == expected, f"{what}: expected {expected}, found {found}"

    def check_good(self) -> None:
        """The driver has to read a good message."""
        self.check(encode(GOOD), GOOD, "a good message")

    def check_headers(self, spelled: str, expected: Headers) -> None:
        """The driver has to read these headers from a message with this JSON text."""
        data = with_headers(spelled.encode())
        message = Message(GOOD.id, GOOD.timestamp, GOOD.topic, expected, GOOD.content)
        self.check(data, message, f"headers {spelled[:100]!r}")


def with_headers(headers: bytes) -> bytes:
    """The file of a good message that has these octets for headers."""
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
    """A reader refuses, as invalid-message, each invalid file of the specification that breaks
    this rule."""
    reader = Reader(role, driver)
    reader.check_good()
    for row in INVALID:
        if row["rule"] == rule:
            with refuses("invalid-message", what=row["fault"]):
                reader.read(bytes.fromhex(row["hex"]))
    reader.check_good()


@readers("MSG-1")
def test_a_reader_takes_what_is_valid(driver: Driver, role: str) -> None:
    """A reader reads each valid file of the specification as the message that it contains."""
    reader = Reader(role, driver)
    for vector in VALID:
        reader.check(vector.data, as_message(vector.fields), vector.name)


@readers("MSG-5")
def test_a_reader_takes_any_timestamp(driver: Driver, role: str) -> None:
    """A reader reads any timestamp from 0 to 2^64 - 1."""
    reader = Reader(role, driver)
    for timestamp in (0, 1, 2**63 - 1, 2**63, 2**64 - 1):
        message = Message(GOOD.id, timestamp, "a", {}, b"")
        reader.check(encode(message), message, f"timestamp {timestamp}")


@readers("MSG-6")
def test_a_reader_takes_every_topic(driver: Driver, role: str) -> None:
    """A reader reads messages of every valid topic, up to the longest."""
    reader = Reader(role, driver)
    for row in vectors.table("valid-topic"):
        message = Message(GOOD.id, GOOD.timestamp, row["topic"], {}, b"")
        reader.check(encode(message), message, row["topic"])


@readers("MSG-7")
def test_a_reader_takes_json_however_it_is_spelled(driver: Driver, role: str) -> None:
    """A reader accepts JSON with any white space, escapes and Unicode characters, and takes an
    empty field for no headers."""
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


@readers("MSG-8")
def test_a_reader_takes_every_kind_of_value(driver: Driver, role: str) -> None:
    """A reader keeps strings, numbers, `true`, `false` and `null` apart."""
    Reader(role, driver).check_headers(json.dumps(KINDS), KINDS)


@readers("MSG-9")
def test_a_reader_takes_keys_that_are_alike(driver: Driver, role: str) -> None:
    """To a reader, keys that differ by case, white space or Unicode normalisation are different."""
    Reader(role, driver).check_headers(json.dumps(ALIKE), ALIKE)


@readers("MSG-10")
def test_a_reader_takes_every_number_in_range(driver: Driver, role: str) -> None:
    """A reader accepts integers up to 2^53 - 1, and finite numbers with a fraction or exponent."""
    reader = Reader(role, driver)
    for spelled in (
        *("0", "-0", "-1", "9007199254740991", "-9007199254740991"),
        *("0.1", "-0.0", "1.0", "1.5e3", "1E5", "1e+5", "1e-5", "0.1e-6", "0.30000000000000004"),
        *("9007199254740992.0", "1e16", "-1e300", "5e-324", "1.7976931348623157e308"),
    ):
        reader.check_headers(f'{{"n": {spelled}}}', {"n": float(spelled)})
        # Readers may have a short way for short headers of plain strings and integers.
        beside = {**KINDS, "escape": "\n", "long": "x" * 5000}
        headers = f'{json.dumps(beside)[:-1]}, "n": {spelled}}}'
        reader.check_headers(headers, {**beside, "n": float(spelled)})


@readers("MSG-11")
def test_a_reader_takes_surrogate_pairs(driver: Driver, role: str) -> None:
    """A reader reads a pair of escaped surrogates as one character, in keys and in values."""
    reader = Reader(role, driver)
    reader.check_headers(r'{"\ud800\udc00": "\udbff\udfff"}', {"\U00010000": "\U0010ffff"})


@readers("MSG-11")
def test_a_reader_takes_the_characters_beside_surrogates(driver: Driver, role: str) -> None:
    """A reader reads the first and the last characters of each length in UTF-8, and those before
    and after the surrogates, escaped or not."""
    reader = Reader(role, driver)
    before_and_after = 0xCFFF, 0xD000, 0xD7FF, 0xE000
    for code in (0x7F, 0x80, 0x7FF, 0x800, *before_and_after, 0xFFFD, 0xFFFE, 0xFFFF):
        reader.check_headers(f'{{"{chr(code)}": "\\u{code:04X}"}}', {chr(code): chr(code)})
    for code in (0x10000, 0x3FFFF, 0x40000, 0xFFFFF, 0x100000, 0x10FFFF):
        reader.check_headers(f'{{"{chr(code)}": "x{chr(code)}"}}', {chr(code): f"x{chr(code)}"})


@readers("MSG-9")
@pytest.mark.parametrize("number", [2, 3, 16, 17, 100, 1000])
def test_a_key_comes_twice_among_many(driver: Driver, role: str, number: int) -> None:
    """A reader refuses a key that comes twice among keys of many lengths, wherever they are."""
    reader = Reader(role, driver)
    keys = [f"{i}{'k' * (i * 7 % 40)}" for i in range(number)]
    reader.check_headers(_with_keys(keys), dict.fromkeys(keys, 1.0))
    for at in {0, number // 2, number - 1}:
        for again in {0, number // 2, number}:
            twice = [*keys[:again], keys[at], *keys[again:]]
            with refuses("invalid-message", what=f"{number} keys, and key {at} before {again}"):
                reader.read(with_headers(_with_keys(twice).encode()))
    reader.check_good()


def _with_keys(keys: list[str]) -> str:
    return "{" + ", ".join(f'"{key}": 1' for key in keys) + "}"


def nested(depth: int) -> list[bytes]:
    """Headers with lists and objects nested this deep, some of them not closed."""
    return [
        b'{"k":' + b"[" * depth + b"]" * depth + b"}",
        b'{"k":' * depth + b"1" + b"}" * depth,
        b"[" * depth,
        b'{"k":' + b'[{"k":' * depth,
    ]


@readers("MSG-12")
@pytest.mark.parametrize("depth", [2, 1000, 1_000_000])
def test_deep_nesting_is_refused_like_any_other(driver: Driver, role: str, depth: int) -> None:
    """A reader refuses nested headers as invalid-message at any depth, and goes on."""
    reader = Reader(role, driver)
    reader.check_good()
    for headers in nested(depth):
        what = f"headers nested {depth} deep: {headers[:20]!r}…"
        with answers(what), refuses("invalid-message", what=what):
            reader.read(with_headers(headers))
    with answers("a good message after nested headers"):
        reader.check_good()


# Two words of two letters with the same hash: that of Java and of many a C library (times 31), and
# Bernstein's (times 33). Any words of these have the same hash, too.
HASH_ALIKE = {"times 31": ("Aa", "BB"), "times 33": ("Ez", "FY")}


def _keys(kind: str) -> Iterable[str]:
    if kind in HASH_ALIKE:
        return map("".join, itertools.product(HASH_ALIKE[kind], repeat=17))
    return map(str, range(300_000))


@readers("MSG-18")
@pytest.mark.parametrize("kind", ["numbers", *HASH_ALIKE])
def test_many_keys_take_no_time(driver: Driver, role: str, kind: str) -> None:
    """A reader reads 131 072 headers and more in time, even if somebody has chosen keys with the
    same hash; comparing each key with each would take minutes."""
    reader = Reader(role, driver)
    keys = list(_keys(kind))
    headers = "{" + ",".join(f'"{key}":0' for key in keys) + "}"
    with answers(f"a message with {len(keys)} header keys ({kind})"):
        message = reader.read(with_headers(headers.encode()))
    assert len(message.headers) == len(keys)


@readers("MSG-13")
def test_a_length_is_checked_before_memory_is_taken(driver: Driver, role: str) -> None:
    """A reader refuses a short file that claims 2^31 octets or more, and allocates no memory for
    them."""
    reader = Reader(role, driver)
    reader.check_good()
    before = most_memory(driver)
    for size in (2**31 - 1, 2**31, 2**32 - 1):
        claimed = size.to_bytes(4, "big")
        start = pack(GOOD.id, 1, b"a", b"{}", b"")
        for what, at in (("topic", 21), ("headers", 26), ("content", 32)):
            what = f"the length of the {what} says {size}"
            with answers(what), refuses("invalid-message", what=what):
                reader.read(start[:at] + claimed + start[at + 4 :])
    grown = most_memory(driver) - before
    assert grown < GIB, f"the address space grew by {grown} octets; less than 1 GiB was expected"
    reader.check_good()
