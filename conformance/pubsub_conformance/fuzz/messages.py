"""Message files, drawn: valid ones, and files that differ from one in a detail (message.md).

This module draws them, and not hypothesis, which draws some hundreds a second where a driver
decodes thousands. `smaller` makes a file that fails small.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from pubsub_conformance import vectors
from pubsub_conformance.oracle.message import pack

from .target import pruned

LARGEST = 2**32 - 1
"""The largest length of a field."""

LIMIT = 2**1024 - 2**970
"""The least integer that becomes infinite as a double. It has 309 digits."""

TOPICS = (b"a", b"Z", b"a.b", b"a.b-c.0", b"news.sports", b"a" * 200, b"-", b"a." * 99 + b"a")
NO_TOPICS = (
    *(b"", b".", b"a.", b".a", b"a..b", b"=", b"a.+", b"a b", b"a\n", b"\na", b"a\0", b"a_b"),
    b"a/b",
    *(b"a" * 201, b"a" * 255, b"\xc3\xa9", b"a\xff", b"\xef\xbc\xa1", b"../a", b"a.\xd9\xa1"),
)
SPACE = (b"", b"", b"", b" ", b"\n", b"\t", b"\r\n", b" \t\n\r ")
NO_SPACE = (
    b"\x0b",
    b"\x0c",
    b"\xc2\xa0",
    b"\xe2\x80\xa8",
    b"\0",
    b"/**/",
    b"\xef\xbb\xbf",
    b"\x1c",
)
TEXT = (
    *(b"", b"a", b"b", b"k", b"key", b"x y", b"\x7f", b"'", b"//", b"{", b"}", b","),
    *(b"\xc3\xa9", b"e\xcc\x81", b"\xc2\x80", b"\xdf\xbf", b"\xe0\xa0\x80", b"\xed\x9f\xbf"),
    *(b"\xee\x80\x80", b"\xef\xbf\xbf", b"\xef\xbb\xbf", b"\xf0\x90\x80\x80", b"\xf4\x8f\xbf\xbf"),
    *(rb"\n", rb"\"", rb"\\", rb"\/", rb"\b\f\r\t", rb"\u0041", rb"\u006b", rb"\u0000", rb"\u001F"),
    *(rb"\u00e9", rb"\u00E9", rb"\uffff", rb"\ud83d\ude00", rb"\uD83D\uDE00", rb"\udbff\udfff"),
    *(rb"\\ud800", rb"\u005cn", rb"\ud7ff", rb"\ue000", b"\xf0\x9f\x98\x80"),
)
NO_TEXT = (
    *(rb"\ud800", rb"\udfff", rb"\uD800\uD800", rb"\udc00\ud800", rb"\ud800a", rb"\ud800\n"),
    *(rb"\ud83d\u0041", rb"\ud83d\ude0", rb"\ud83d\\ude00", rb"\ud83d ude00", b"\\ud83d\xf0\x9f"),
    *(b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xc0\x80", b"\xc1\xbf"),
    *(b"\xc0\xa2", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf"),
    *(b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xff", b"\xfe\xff"),
    *(b"\x80", b"\xbf", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3\xc3\xa9", b"\0", b"\n"),
    b"\x1f",
    *(b"\\", rb"\x41", rb"\u12", rb"\u12g4", rb"\U0041", rb"\'", rb"\a", rb"\0", rb"\u+041"),
    *(rb"\u 041", rb"\u00_1", rb"\u{41}", b"\\\n", rb"\v", b"\\u\xd9\xa0041", rb"\uD83D\uDE0G"),
)
INTEGERS = (
    *(b"0", b"-0", b"1", b"-1", b"10", b"9007199254740991", b"-9007199254740991", b"123456789"),
)
DOUBLES = (
    *(b"0.0", b"-0.0", b"0.5", b"1e0", b"1E+2", b"-1.5e3", b"1e-400", b"0e999999999999999999999"),
    *(b"0.000e-5", b"9007199254740992.0", b"-9007199254740993.0", b"9007199254740993e0", b"1e15"),
    *(b"1.7976931348623157e308", b"1.7976931348623158e308", b"17976931348623157e292", b"5e-324"),
    *(b"2.4703282292062327e-324", b"2.4703282292062328e-324", b"2.2250738585072011e-308", b"1e308"),
    *(b"0." + b"0" * 400 + b"1e700", b"1" + b"0" * 400 + b"e-399", b"1e-99999999999999999999"),
    *(b"0." + b"3" * 800, b"1" + b"0" * 308 + b".0", b"0" + b".0" + b"0" * 400 + b"e400"),
)
NO_NUMBERS = (
    *(b"9007199254740992", b"-9007199254740992", b"90071992547409910", b"1" * 100),
    b"1" + b"0" * 308,
    *(b"1e309", b"-1e400", b"1.8e308", b"1e99999999999999999999", b"0.001e312", b"1" * 310 + b".0"),
    *(b"1.7976931348623159e308", b"00", b"01", b"-01", b"-", b"--1", b"+1", b".5", b"1.", b"1.e1"),
    *(b"1e", b"1e+", b"1e1.0", b"0x1", b"1_0", b"0b1", b"1 2", b"NaN", b"Infinity", b"-Infinity"),
    *(b"-NaN", b"nan", b"inf", b"1f", b"1n", b"\xef\xbc\x91", b"\xd9\xa3", b"1\xd9\xa3", b"1,0"),
    b"1e5.5",
    *(b"1e-", b"-.5", b"0.", b"1.5.5", b"1ee1", b"- 1", b"1E", b"1\0", b"1 e1", b"\xe2\x88\x921"),
)
WORDS = (b"true", b"false", b"null")
NO_VALUES = (
    *(b"True", b"tru", b"truee", b"nul", b"None", b"undefined", b"nullnull", b"TRUE", b"'a'"),
    *(b"a", b""),
    *(b"[]", b"{}", b"[1]", b'{"a": 1}', b'["a"]', b"[[[[]]]]", b'{"a": {"a": {}}}', b"[", b"{"),
    b"]",
    *(b'"', b'"a', b'a"', b'"a" "b"', b"true false", b"//", b"/**/1", b"(1)", b"`a`", b":", b","),
)
NO_OBJECTS = (
    *(b" ", b"\n", b"[]", b"null", b'"k"', b"7", b"true", b"{", b"}", b"{}{}", b"{} //", b"{}\0"),
    b"{,}",
    *(b"\xef\xbb\xbf{}", b"{}\xef\xbb\xbf", b"\0{\0}", b"{\0}\0", b"\xff\xfe{\0}\0", b"{{}}"),
    b'{"a"}',
    *(b'{"a":}', b'{"a" 1}', b'{"a":1,}', b'{,"a":1}', b'{"a":1 "b":2}', b'{"a":1;"b":2}'),
    b"{a:1}",
    *(b'{"a"::1}', b'{"a":1}}', b'{"a":1', b'{"a":1,', b'{"a":1,"', b"{'a':1}", b"{1:1}"),
    b"{null:1}",
    *(b'[{"a":1}]', b'{["a"]:1}', b'{"a":1}\n{"a":1}', b'{"a":1}{', b"{/**/}", b'{"a":1,,"b":2}'),
)


class Drawing:
    """Draws message files; what it drew is spliced into what it draws later."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.seen: deque[bytes] = deque(maxlen=200)
        self.seen += (vector.data for vector in vectors.messages())
        self.seen += (bytes.fromhex(row["hex"]) for row in vectors.table("invalid-message"))
        self.faults = 0.0
        """The probability that a part of the file is a wrong one."""
        self.drawn = 0

    def octets(self) -> bytes:
        """Draw a message file."""
        self.drawn += 1
        if self.drawn % 1000 == 7:
            return self._large()
        chance = self.random.random
        self.faults = 0.0 if chance() < 0.5 else 0.1 if chance() < 0.8 else 0.4
        kind = chance()
        seen = self.random.choice(self.seen)
        data = seen if kind < 0.12 else self._packed(self._headers())
        if kind < 0.3:
            data = self._damaged(data)
        self.seen.append(data)
        return data

    def _packed(self, headers: bytes) -> bytes:
        random = self.random
        number = random.choice((1, 2**56, 2**63, 2**64 - 1, random.getrandbits(64)))
        time = random.choice((0, 2**64 - 1, random.getrandbits(64)))
        topic = self._pick(TOPICS, NO_TOPICS)
        content = random.choice((b"", b"", b"x", b"PMSG\1", random.randbytes(random.randrange(40))))
        return pack(number or 1, time, topic, headers, content)

    def _pick(self, good: tuple[bytes, ...], bad: tuple[bytes, ...]) -> bytes:
        return self.random.choice(bad if self.random.random() < self.faults else good)

    def _headers(self) -> bytes:
        random = self.random
        if random.random() < 0.1:
            return self._pick((b"", b"{}", b" { } "), NO_OBJECTS)
        parts = [self._space(), b"{"]
        for n in range(random.choice((1, 1, 1, 2, 3, 3, 8, 40))):
            parts += (b"," if n else b"", self._space(), self._string(), self._space(), b":")
            parts += (self._space(), self._value(), self._space())
        parts += (b"}", self._space())
        headers = b"".join(parts)
        if random.random() < self.faults:
            headers = self._damaged_at_random(headers)
        return headers

    def _space(self) -> bytes:
        return self._pick(SPACE, NO_SPACE) if self.random.random() < 0.3 else b""

    def _string(self) -> bytes:
        count = 1 if self.random.random() < 0.7 else self.random.randrange(5)
        return b'"%s"' % b"".join(self._pick(TEXT, NO_TEXT) for _ in range(count))

    def _value(self) -> bytes:
        kind = self.random.random()
        if kind < 0.35:
            return self._string()
        if kind < 0.45:
            return self._pick(WORDS, NO_VALUES)
        if kind < 0.55:
            return self._pick(INTEGERS, NO_NUMBERS)
        if kind < 0.65:
            return self._pick(DOUBLES, NO_NUMBERS)
        return self._number() if kind < 0.85 else self._at_the_limit()

    def _number(self) -> bytes:
        random = self.random
        text = random.choice(("", "-")) + str(
            random.getrandbits(random.choice((1, 8, 52, 53, 54, 64)))
        )
        if random.random() < 0.5:
            text += f".{random.randrange(10 ** random.choice((1, 3, 20)))}"
        if random.random() < 0.5:
            exponent = random.choice((0, 1, 20, 290, 307, 308, 309, 324, 400)) + random.randrange(3)
            text += random.choice("eE") + random.choice(("", "+", "-", "-0", "00")) + str(exponent)
        return text.encode()

    def _at_the_limit(self) -> bytes:
        """A number near the tie between the largest double and infinity, or near the largest
        integer, in one of its many spellings."""
        random = self.random
        delta = random.choice((-(10**290), -1, 0, 0, 1, 10**290))
        digits = str(LIMIT + delta if random.random() < 0.7 else 2**53 - 1 + random.randrange(3))
        digits += "0" * random.choice((0, 0, 1, 30))
        exponent = 0
        if random.random() < 0.2:  # a fraction that makes the number a little larger
            digits += ".0" + "0" * random.randrange(20) + "1"
        elif random.random() < 0.5:
            at = random.randrange(-20, len(digits) + 1)
            exponent = len(digits) - at
            digits = digits[:at] + "." + digits[at:] if at > 0 else "0." + "0" * -at + digits
            digits += "0" if digits.endswith(".") else ""
            exponent = random.choice((exponent, exponent, exponent - 1, exponent + 1))
        if exponent or random.random() < 0.5:
            digits += f"e{exponent}"
        return (random.choice(("", "-")) + digits).encode()

    # Damage.

    def _damaged(self, data: bytes) -> bytes:
        random = self.random
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            kind = random.random()
            if kind < 0.3:
                data = self._with_length(data)
            elif kind < 0.45:
                data = data[: random.randrange(len(data) + 1)]
            elif kind < 0.55:
                data += random.choice((b"\0", b"x", b"\n", data, random.randbytes(8)))
            elif kind < 0.65:
                other = random.choice(self.seen)
                data = (
                    data[: random.randrange(len(data) + 1)]
                    + other[random.randrange(len(other) + 1) :]
                )
            elif kind < 0.75 and len(data) >= 13:  # magic, version, id 0
                at, new = random.choice(
                    ((0, b"pmsg"), (4, b"\2"), (4, b"\0"), (5, bytes(8)), (0, b"\0"))
                )
                data = data[:at] + new + data[at + len(new) :]
            else:
                data = self._damaged_at_random(data)
        return data

    def _damaged_at_random(self, data: bytes) -> bytes:
        random = self.random
        at = random.randrange(len(data) + 1)
        until = at + random.choice((0, 1, 1, 1, 2, 8))
        put = random.choice(
            (b"", b"", b"\0", b'"', b"\\", b"}", b",", b"0", b"e", random.randbytes(1))
        )
        return data[:at] + put + data[until:]

    def _with_length(self, data: bytes) -> bytes:
        """Change one of the three lengths, mostly by a little or to something huge."""
        random = self.random
        field = random.randrange(3)
        at = 21
        for _ in range(field):
            at += 4 + int.from_bytes(data[at : at + 4], "big")
        if at + 4 > len(data):
            return data
        length = int.from_bytes(data[at : at + 4], "big")
        rest = len(data) - at - 4
        new = random.choice(
            (
                *(length + 1, length - 1, 0, rest, rest + 1, rest - 1, length << 8, length << 24),
                *(2**31, 2**31 - 1, LARGEST, LARGEST - 3, LARGEST - rest, random.getrandbits(32)),
            )
        )
        return data[:at] + (new & LARGEST).to_bytes(4, "big") + data[at + 4 :]

    def _large(self) -> bytes:
        """A file that could cost a reader too much time, memory or stack."""
        return self._packed(
            self.random.choice(
                (
                    b'{"k": ' + b"[" * 300_000 + b"]" * 300_000 + b"}",
                    b'{"k": ' * 200_000,
                    b'{"k": ' + b"1" * 500_000 + b"}",
                    b'{"k": 0.' + b"1" * 500_000 + b"}",
                    b'{"k": 1e' + b"1" * 500_000 + b"}",
                    b'{"k": "' + b"\\u0041" * 100_000 + b'"}',
                    b'{"k": "' + b"\\" * 500_001 + b'"}',
                    b'{"k": "' + b"a" * 500_000,
                    b"{" + b",".join(b'"%d": %d' % (n, n) for n in range(30_000)) + b"}",
                    b"{" + b",".join(b'"%d": 1' % (n % 29_999) for n in range(30_000)) + b"}",
                    b" " * 500_000 + b"{}",
                )
            )
        )


@dataclass(frozen=True)
class _Parts:
    """The parts of a file whose lengths are right."""

    id: int
    timestamp: int
    topic: bytes
    headers: bytes
    content: bytes
    rest: bytes

    def packed(self) -> bytes:
        file = pack(self.id, self.timestamp, self.topic, self.headers, self.content)
        return file + self.rest


def smaller(data: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """The file, made small while `fails` holds: part by part if its lengths are right."""
    parts = _parts(data)
    if parts is None:
        return pruned(data, fails)
    plain = {"id": 1, "timestamp": 0, "topic": b"a", "headers": b"", "content": b"", "rest": b""}
    for name, value in plain.items():
        simpler = replace(parts, **{name: value})  # type: ignore[arg-type]
        if fails(simpler.packed()):
            parts = simpler
    for name in ("topic", "headers", "content", "rest"):

        def with_part(octets: bytes, name: str = name, parts: _Parts = parts) -> _Parts:
            return replace(parts, **{name: octets})  # type: ignore[arg-type]

        parts = with_part(
            pruned(getattr(parts, name), lambda octets: fails(with_part(octets).packed()))
        )
    return parts.packed()


def _parts(data: bytes) -> _Parts | None:
    if data[:5] != b"PMSG\1":
        return None
    fields: list[bytes] = []
    rest = data[21:]
    for _ in range(3):
        size = int.from_bytes(rest[:4], "big")
        if len(rest) < 4 + size:
            return None
        fields.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    topic, headers, content = fields
    id, timestamp = (int.from_bytes(data[at : at + 8], "big") for at in (5, 13))
    return _Parts(id, timestamp, topic, headers, content, rest)
