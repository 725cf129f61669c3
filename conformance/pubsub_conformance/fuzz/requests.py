"""Lines that a driver reads: it has to reply to each as DRIVER.md says, and the next has to work.

An input is one line; @channel@ in it stands for the handle of an open channel.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from pubsub_conformance.driver import Driver, OpenChannel, Rejected, protocol
from pubsub_conformance.driver.protocol import PROTOCOL, ROLES, faults, place, reply_fault
from pubsub_conformance.excerpt import excerpt
from pubsub_conformance.oracle.base import Base

from . import messages
from .target import Target, Violation, pruned

CHANNEL = b"@channel@"
LARGEST_SEQ = 2**53 - 1

GOOD: Mapping[str, Mapping[str, str]] = {
    "hello": {"protocol": "1"},
    "match": {"pattern": '"a.="', "topic": '"a.b"'},
    "encode": {
        "message": '{"id": "7", "timestamp": "7", "topic": "a", "headers": {}, "content": "YQ=="}'
    },
    "decode": {"bytes": '"UE1TRwE="'},
    "publish": {"topic": '"a"', "content": '"YQ=="', "headers": '{"k": 1}', "timeout": "0"},
    "open": {"pattern": '"a.="'},
    "close": {"channel": '"@channel@"'},
    "fetch": {"channel": '"@channel@"'},
    "wait": {"channel": '"@channel@"', "timeout": "0"},
    "reap": {"stale_age": "3600"},
    "produce": {
        "topic": '"a"',
        "prefix": '"p"',
        "count": "1",
        "sizes": "[0]",
        "rate": "1000",
        "timeout": "0",
        "report": '"totals"',
    },
    "consume": {
        "channel": '"@channel@"',
        "count": "0",
        "idle": "0",
        "deadline": "0",
        "report": '"totals"',
    },
}
"""The fields, as JSON, of a valid request for each operation. It ends at once, also with any one
field changed."""

DEEP = 100_000
"""How deep values are nested."""
HUGE = ("1e30", "1e308", "1e400", "1" + "0" * 30, "9" * 400, "1" + "0" * 5000, "1e999999999999")
VALUES = (
    *("null", "true", "false", "0", "-0", "1", "-1", "1.0", "1.5", "-1.5", "1e-400", "1e0"),
    "-1e400",
    *("9007199254740992", "18446744073709551615", "18446744073709551616", "-9223372036854775809"),
    *('""', '"a"', '"1"', '"0"', '"-1"', '"01"', '" 1"', '"1_0"', '"+1"', '"\\u0661"', '"1\\n"'),
    *('"18446744073709551616"', '"' + "1" * 5000 + '"', '"\\u0000"', '"\\ud800"', '"\\udc00a"'),
    *('"a\\u0000b"', '"../../x"', '"a/b"', '"="', '"YQ"', '"YQ=="', '"YQ=="', '"Y==="', '"="'),
    '"YQ==\\n"',
    *('"Y Q=="', '"Y-_="', '"YQ==YQ=="', '"Y\\u0051=="', '"\\u00e9"', '"totals"', '"all"', '"ALL"'),
    *("[]", "{}", "[1]", "[[]]", '["a"]', "[0, null]", "[true]", "[-1]", "[1.5]", "[0.0]"),
    '[{"a": 1}]',
    *('{"k": []}', '{"k": {}}', '{"a": 1, "a": 2}', '{"k": "\\ud800"}', '{"id": "1"}'),
    '{"k": 1e400}',
    *('{"id": "0", "timestamp": "7", "topic": "a", "headers": {}, "content": ""}',),
    *('{"id": "1", "timestamp": "-1", "topic": "a", "headers": {}, "content": ""}',),
    *('{"id": 1, "timestamp": "1", "topic": "a", "headers": {}, "content": ""}',),
    *('{"id": "1", "timestamp": "1", "topic": "a", "headers": [], "content": ""}',),
    *('{"id": "1", "timestamp": "1", "topic": "a", "headers": {}, "content": "!"}',),
    "[" * DEEP + "]" * DEEP,
    '{"a":' * DEEP + "1" + "}" * DEEP,
    '"' + "x" * 300_000 + '"',
)
NO_VALUES = (
    *("NaN", "Infinity", "-Infinity", "01", "+1", ".5", "1.", "'a'", "nul", "True", "undefined"),
    *('"\t"', '"\\x"', '"\\u12"', '"a', "[1,]", "{,}", "[", '{"a"}', "", "0x1", "1_0", '"\0"'),
    *("[" * DEEP, '{"a":' * DEEP, "1 1", "/**/1"),
)
OPS = (
    *('"no-such-op"', '"HELLO"', '"hello "', '"__init__"', '"answer"', '"channel"', '""'),
    '"\\ud800"',
    *('"hello\\u0000"', "null", "7", '["hello"]', '{"op": "hello"}', "true"),
    '"' + "x" * 5000 + '"',
    *('"\\u0068ello"', '"d\\u00e9code"', '"%s%n"', '"<script>"', '"\\n\\r"'),
)
SEQS = (
    *("null", "true", "false", '"7"', "7.5", "-1", "1e3", "9007199254740991", "9007199254740992"),
    *("[]", "{}", '""', "1e400", "9" * 400, "18446744073709551616", "-0", "7.0", "0"),
)


class Requests(Target[bytes]):
    """Fuzzes the lines that a driver reads."""

    name = "requests"

    channel: OpenChannel | None = None

    def begin(self, driver: Driver) -> None:
        self.channel = None

    # Drawing.

    def draw(self, random: Random) -> bytes:
        while not _is_quick(line := self._line(random)):
            pass
        return line

    def _line(self, random: Random) -> bytes:
        kind = random.random()
        if kind < 0.15:
            line = self._noise(random)
        else:
            line = self._object(random, spoiled=kind < 0.3).encode("utf-8", "surrogatepass")
            if kind > 0.9:
                line = self._damaged(random, line)
        return line.replace(b"\n", b" ")

    def _noise(self, random: Random) -> bytes:
        return random.choice(
            (
                random.randbytes(random.randrange(40)),
                random.choice((*messages.NO_OBJECTS, *messages.NO_VALUES, *messages.NO_NUMBERS)),
                self._object(random).encode("utf-16-le"),
                self._object(random).encode("utf-16-be") + b"\0",  # with the newline, one more
                self._object(random).encode("utf-32-be") + b"\0\0\0",
                self._object(random).encode("utf-8-sig"),
                random.choice(VALUES).encode(),
                random.choice(NO_VALUES).encode(),
                b"[" * DEEP,
                b"[" * DEEP + b"]" * DEEP,
                b"\r",
                b"",
            )
        )

    def _object(self, random: Random, spoiled: bool = False) -> str:
        op = random.choice(tuple(GOOD))
        fields = {"seq": str(random.randrange(1000)), "op": f'"{op}"', **GOOD[op]}
        name = random.choice(tuple(fields))
        kind = random.random()
        if spoiled:
            fields[name] = random.choice(NO_VALUES)
        elif kind < 0.15:
            del fields[name]
        elif kind < 0.25:
            fields["op"] = random.choice(OPS)
        elif kind < 0.35:
            fields["seq"] = random.choice(SEQS)
        elif kind < 0.45:
            fields[random.choice(("x", "", "Seq", "\\u0000", "__class__", "\\ud800"))] = (
                random.choice(VALUES)
            )
        elif kind < 0.95:
            fields[name] = random.choice(SEQS if name == "seq" else (*VALUES, *HUGE))
        pairs = [f'"{name}": {value}' for name, value in fields.items()]
        if kind > 0.9:
            random.shuffle(pairs)
        space = random.choice(("", "", "", " ", "\t", "\r"))
        return f"{space}{{{space}{', '.join(pairs)}}}{space}"

    def _damaged(self, random: Random, line: bytes) -> bytes:
        at = random.randrange(len(line) + 1)
        if random.random() < 0.5:
            return line[:at]
        return (
            line[:at]
            + random.choice((b"\0", b"\xff", b"\xed\xa0\x80", b"\x1f", b"}", b"{"))
            + line[at:]
        )

    # Judging.

    def judge(self, driver: Driver, input: bytes) -> None:
        roles = driver.hello.roles
        if self.channel is None and "subscriber" in roles:
            self.channel = driver.open("a")
        handle = self.channel.handle.encode() if self.channel else b"c1"
        if self.channel and b'"wait"' in input:  # so that a wait ends at once
            Base(self.home).publish("a")
        line = input.replace(CHANNEL, handle)
        demand = demanded(line, roles)
        reply = driver.raw(line + b"\n")
        # A reply may repeat a seq out of range, so the schema of seq does not count.
        seq = reply.get("seq", False)
        wrong = isinstance(seq, (bool, str, list, dict))
        if wrong or (demand.seqs is not None and seq not in demand.seqs):
            expected = demand.seqs or "that of the request, or null"
            raise Violation("DRIVER-2", f"seq: expected {expected} ({demand.why}), found {reply}")
        op = "hello" if "error" in reply else demand.op
        if op and (fault := reply_fault(op, {**reply, "seq": 0})):
            raise Violation(demand.requirement, f"the reply breaks its schema: {fault}")
        code = reply.get("error", {}).get("code", "a result")
        if demand.code and code not in demand.code:
            expected = " or ".join(sorted(demand.code))
            raise Violation(
                demand.requirement, f"expected {expected} ({demand.why}), found {reply}"
            )
        self._restore(driver, reply)

    def _restore(self, driver: Driver, reply: Mapping[str, Any]) -> None:
        """Check that a good request works, and undo what the line opened or closed."""
        driver.request("hello", protocol=PROTOCOL)
        if "channel" in reply:
            driver.request("close", channel=reply["channel"])
        if self.channel is None:
            return
        try:
            for _ in range(1000):
                if driver.fetch(self.channel) is None:
                    break
        except Rejected as error:
            if error.code != "channel-closed":
                raise Violation("DRIVER-2", f"fetch, after the request: {error}") from None
            self.channel = None  # the request closed it

    def blame(self, input: bytes) -> str:
        return demanded(input, ROLES).requirement

    def smaller(self, input: bytes, fails: Callable[[bytes], bool]) -> bytes:
        return pruned(input, lambda line: _is_quick(line) and fails(line))

    def dump(self, input: bytes) -> bytes:
        return input

    def load(self, data: bytes) -> bytes:
        return data.rstrip(b"\n")


@dataclass(frozen=True)
class Demand:
    """The replies that the protocol allows."""

    why: str
    code: frozenset[str] = frozenset()
    """One of these errors; empty: any reply of the protocol."""
    seqs: tuple[float | None, ...] | None = None
    """One of these seqs; None: any."""
    op: str | None = None
    """The operation whose reply it may be, if that is known."""
    requirement: str = "DRIVER-5"


BAD = frozenset({"bad-request"})
ANY = "the line can be read in more than one way"


def demanded(line: bytes, roles: Any) -> Demand:
    """What DRIVER.md demands of the reply to a line, and no more than that."""
    doubtful = False

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal doubtful
        fields = dict(found)
        doubtful |= len(fields) != len(found)
        return fields

    def number(text: str) -> float:
        nonlocal doubtful
        value = float(text)
        doubtful |= not math.isfinite(value)
        return value

    def integer(text: str) -> float:
        return int(text) if len(text) < 300 else number(text)

    try:
        text = line.decode()
        if text.startswith("\ufeff"):  # a reader may skip a byte order mark
            return Demand(ANY)
        value = json.loads(
            text,
            object_pairs_hook=pairs,
            parse_float=number,
            parse_int=integer,
            parse_constant=_no_constant,
        )
    except RecursionError:
        if line.lstrip(b" \t\r").startswith(b"["):
            return Demand("the line is no object", BAD, (None,))
        return Demand(ANY)
    except ValueError as error:
        return Demand(f"the line is no JSON: {error}", BAD, (None,))
    if not isinstance(value, dict):
        return Demand("the line is no object", BAD, (None,))
    if doubtful:
        return Demand(ANY, op=_op(value))
    return _demanded(value, roles)


def _demanded(request: Mapping[str, Any], roles: Any) -> Demand:
    seq, op = request.get("seq"), request.get("op")
    if isinstance(seq, bool) or not isinstance(seq, (int, float)):
        return Demand("no seq can be read", BAD, (None,))
    seqs: tuple[float | None, ...] = (seq,)
    odd = not (isinstance(seq, int) and 0 <= seq <= LARGEST_SEQ)
    if odd:
        seqs = (None, seq)
    if not isinstance(op, str):
        return Demand("op is no string", BAD, seqs)
    if op not in protocol.OPS:
        codes = {"unknown-op", "bad-request"} if odd else {"unknown-op"}
        return Demand(
            "the operation does not exist", frozenset(codes), seqs, requirement="DRIVER-4"
        )
    role = protocol.OPS[op].role
    if role and role not in roles:
        return Demand(
            "the driver does not claim the operation's role", BAD | {"unknown-op"}, seqs, op
        )
    if "inline" not in roles:  # then it does not know this field
        request = {name: value for name, value in request.items() if name != "inline"}
    if fault := _fault(op, request):
        return Demand(fault, BAD, seqs, op)
    return Demand("it is a request, or similar to one", seqs=seqs, op=op, requirement="DRIVER-2")


def _fault(op: str, request: Mapping[str, Any]) -> str | None:
    """The fault of a field that is missing or of the wrong type, if there is one.

    A driver may accept or refuse a value out of range, and a field too many.
    """
    message = request.get("message")
    if op == "encode" and isinstance(message, dict) and message.get("id") == "0":
        return "an id of 0"
    for fault in faults(f"{op}.json", "request", request):
        if fault.rule in ("type", "required", "const", "enum", "format") and place(fault) != "seq":
            return excerpt(fault.message, 160)
    return None


def _is_quick(line: bytes) -> bool:
    """Whether a driver can reply to the line at once, with little memory and in one line."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return True
    if not isinstance(request, dict):
        return True

    def is_small(value: object, most: int = 1) -> bool:
        return not isinstance(value, (int, float)) or value <= most

    if request.get("report") == "all":  # the reply would have many lines
        return request.get("op") not in ("consume", "produce")
    if request.get("op") == "consume":
        return any(name in request and is_small(request[name]) for name in ("count", "deadline"))
    if request.get("op") == "produce":
        sizes = request.get("sizes")
        few = not isinstance(sizes, list) or all(is_small(size, 1000) for size in sizes)
        return few and is_small(request.get("count"))
    return True


def _op(request: Mapping[str, Any]) -> str | None:
    op = request.get("op")
    return op if isinstance(op, str) and op in protocol.OPS else None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
