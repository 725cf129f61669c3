"""Requests and replies, one line each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.driver.protocol import OPS, PROTOCOL, part_of, reply_fault
from pubsub_conformance.oracle.base import put
from pubsub_conformance.oracle.message import Message, a_message, decode, encode
from pubsub_conformance.suite.helpers import Start, refuses

from .support import claims, finds, probes

MANY = 200
"""Requests in a row: so many that a reply to the wrong request would be seen."""

LONG = 12 * 2**20
"""Octets of a name, or of a content, whose line is long: 12 MiB, or 16 MiB in base64."""


def ask(driver: Driver, request: Mapping[str, Any]) -> dict[str, Any]:
    """Send the request as it is, valid or not. Returns the reply."""
    return driver.raw(json.dumps(request).encode() + b"\n")


@pytest.mark.requirement("DRIVER-1")
def test_hello(start: Start) -> None:
    """`hello` gets the same reply each time, with the fields that DRIVER.md lists."""
    with finds("see the table of `hello`"):
        driver = start()
        first = driver.request("hello", protocol=PROTOCOL)
        second = driver.request("hello", protocol=PROTOCOL)
    assert {**first, "seq": 0} == {**second, "seq": 0}


@pytest.mark.requirement("DRIVER-1")
def test_hello_of_another_protocol(start: Start) -> None:
    """`hello` with a protocol version that does not exist gets the error bad-request."""
    driver = start()
    with finds("compare `protocol` in `hello` with 1"):
        reply = ask(driver, {"seq": 2, "op": "hello", "protocol": 999})
    assert reply.get("error", {}).get("code") == "bad-request", f"protocol 999: {reply}"


@pytest.mark.requirement("DRIVER-2")
def test_one_answer_to_each_request(start: Start) -> None:
    """Each of many requests gets one reply with its own `seq`; stdout has nothing else."""
    with finds(
        "flush stdout after each line, send logs to stderr, and repeat `seq` as it was sent"
    ):
        driver = start()
        for _ in range(MANY):
            driver.request("hello", protocol=PROTOCOL)
        driver.close()


@pytest.mark.requirement("DRIVER-2")
def test_any_seq(start: Start) -> None:
    """A reply repeats the `seq` of its request, up to 2^53 - 1, in whatever order they come."""
    driver = start()
    for seq in (0, 3, 2**31, 2**53 - 1, 3):
        with finds("repeat the `seq` of the request; do not count requests"):
            reply = ask(driver, {"seq": seq, "op": "hello", "protocol": PROTOCOL})
        assert reply.get("seq") == seq, f"the request had the seq {seq}, the reply is {reply}"


@pytest.mark.requirement("DRIVER-3")
def test_every_operation_of_every_role(start: Start) -> None:
    """The driver accepts every operation of each role that it claims in `hello`."""
    with finds("claim only those roles whose operations all work"):
        driver = start()
        fields = probes()
        if claims(driver, "subscriber"):
            with_channel = driver.open("probe").handle
            for name in ("fetch", "wait", "consume", "close"):
                fields[name]["channel"] = with_channel
        missing = []
        for name, op in OPS.items():
            if op.role is None or not claims(driver, op.role):
                continue
            code = None
            try:
                if op.streams:
                    driver.stream(name, dict, **fields[name]).finish()
                else:
                    driver.request(name, **fields[name])
            except Rejected as error:
                code = error.code
            if code is not None:
                missing.append(f"{name} ({op.role}): {code}")
    assert not missing, f"refused operations of roles that it claims: {', '.join(missing)}"


@pytest.mark.requirement("DRIVER-3", role="inline")
def test_the_inline_lane_of_a_publisher_or_a_subscriber(start: Start) -> None:
    """A driver that claims `inline` claims `publisher` or `subscriber`, too; with `subscriber`, it
    accepts both values of the field `inline` of `open`."""
    with finds("obey the field `inline` of `open`, and use the lane in `publish`"):
        driver = start()
        assert {"publisher", "subscriber"} & driver.hello.roles, (
            f"expected publisher or subscriber beside inline, found {sorted(driver.hello.roles)}"
        )
        if claims(driver, "subscriber"):
            for inline in (True, False):
                try:
                    reply = driver.request("open", pattern="probe", inline=inline)
                except Rejected as error:
                    pytest.fail(f"open with inline {inline}: expected a channel, found {error}")
                driver.request("close", channel=reply["channel"])


@pytest.mark.requirement("DRIVER-4")
def test_unknown_operation(start: Start) -> None:
    """An operation that does not exist gets the error unknown-op, and the driver goes on."""
    driver = start()
    with finds("compare the whole name with your list of operations; reply, do not exit"):
        for op in ("no-such-op", "HELLO", "__class__", "hello\0", "x" * 300):
            with refuses("unknown-op", what=f"the operation {op[:20]!r}"):
                driver.request(op)
            driver.request("hello", protocol=PROTOCOL)


NO_REQUESTS: list[tuple[bytes, int | None]] = [
    (b"hello", None),
    (b'{"seq": 7, "op": "hel', None),
    (b"[]", None),
    (b'"hello"', None),
    (b"7", None),
    (b"null", None),
    (b'{"seq": "seven", "op": "hello", "protocol": 1}', None),
    (b'{"seq": 7}', 7),
    (b'{"seq": 7, "op": null}', 7),
    (b'{"seq": 7, "op": ["hello"]}', 7),
    (b'{"seq": 7, "op": "hello"}', 7),
    (b'{"seq": 7, "op": "hello", "protocol": "1"}', 7),
]


@pytest.mark.requirement("DRIVER-5")
def test_no_request(start: Start) -> None:
    """A line that is no request gets the error bad-request, and the driver goes on."""
    driver = start()
    for line, seq in NO_REQUESTS:
        with finds("a line may be wrong in any way; reply bad-request and read on"):
            reply = driver.raw(line + b"\n")
            driver.request("hello", protocol=PROTOCOL)
        expect_bad_request(line.decode(), reply, seq)


def expect_bad_request(line: str, reply: Mapping[str, Any], seq: int | None) -> None:
    """The reply to the line has to be the error bad-request, with this seq."""
    assert reply_fault("hello", reply) is None, f"{line} got the reply {reply}"
    found = reply.get("seq"), reply.get("error", {}).get("code")
    assert found == (seq, "bad-request"), f"{line} got the reply {reply}"


WRONG_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "match": {"topic": 7},
    "encode": {"message": "text"},
    "decode": {"bytes": "not base64!"},
    "publish": {"content": "not base64!"},
    "produce": {"count": "many"},
    "open": {"pattern": ["probe"]},
    "fetch": {"channel": 7},
    "wait": {"timeout": "soon"},
    "consume": {"report": "nothing"},
    "close": {"channel": None},
    "reap": {"stale_age": "old"},
}


@pytest.mark.requirement("DRIVER-5")
def test_field_missing_or_of_the_wrong_type(start: Start) -> None:
    """A request that lacks a field, or has one of the wrong type, gets the error bad-request."""
    driver = start()
    seq = 100
    for op, wrong_field in WRONG_FIELDS.items():
        role = OPS[op].role
        if role is None or not claims(driver, role):
            continue
        fields = probes()[op]
        required = [
            name
            for name in part_of(f"{op}.json", "request")["required"]
            if name not in {"seq", "op"}
        ]
        with finds("check the type of each field before you use it"):
            if "channel" in required:
                fields["channel"] = driver.open("probe").handle
            without = [
                {other: value for other, value in fields.items() if other != name}
                for name in required
            ]
            for wrong in [*without, {**fields, **wrong_field}]:
                seq += 1
                request = {"seq": seq, "op": op, **wrong}
                expect_bad_request(json.dumps(request), ask(driver, request), seq)
            driver.request("hello", protocol=PROTOCOL)


def wrong_inside_a_field() -> Iterator[tuple[str, dict[str, Any]]]:
    """Operations with their fields, one of which lacks a value or holds one of a wrong type."""
    wrong_sizes: list[list[Any]] = [["10"], [10, "10"], [None], [10, [10]], [{}], [True], [1.5]]
    for sizes in wrong_sizes:
        yield "produce", {**probes()["produce"], "count": 2, "sizes": sizes}
    message = probes()["encode"]["message"]
    for name in message:
        without = {other: value for other, value in message.items() if other != name}
        for wrong in (without, {**message, name: None}, {**message, name: 7}):
            yield "encode", {"message": wrong}


@pytest.mark.requirement("DRIVER-5")
def test_wrong_type_inside_a_field(start: Start) -> None:
    """An element of `sizes` that is no integer, or a message with a missing or mistyped field,
    gets the error bad-request."""
    driver = start()
    for op, fields in wrong_inside_a_field():
        role = OPS[op].role
        if role is None or not claims(driver, role):
            continue
        request = {"seq": 7, "op": op, **fields}
        with finds("check the type of each element of a list, and of each field of an object"):
            reply = ask(driver, request)
            driver.request("hello", protocol=PROTOCOL)
        expect_bad_request(json.dumps(request), reply, 7)


@pytest.mark.requirement("DRIVER-9")
def test_long_lines(start: Start) -> None:
    """The driver reads a line of 12 MiB; with the role codec it also reads and writes 16 MiB."""
    driver = start()
    with finds("read lines of any length, with getline or the like; repeat short writes"):
        with refuses("unknown-op", what="an operation with a very long name"):
            driver.request("x" * LONG)
        if claims(driver, "codec"):
            message = a_message("long", bytes(range(256)) * (LONG // 256 - 2))
            data = driver.encode(message)
            assert driver.decode(data) == message, "the message came back changed"


@pytest.mark.requirement("DRIVER-10")
def test_64_bits(start: Start) -> None:
    """Ids and timestamps of up to 2^64 - 1 keep all their digits."""
    driver = start()
    for number in (2**56 + 1, 2**63 - 1, 2**63, 2**64 - 1):
        message = Message(number, number - 1, "digits", {}, b"")
        with finds("ids and timestamps are unsigned 64-bit integers, written as strings of digits"):
            if claims(driver, "codec"):
                assert driver.decode(encode(message)) == message
                assert decode(driver.encode(message)) == message
            if claims(driver, "subscriber"):
                channel = driver.open("digits")
                put(channel.directory, message)
                assert driver.fetch(channel) == message
