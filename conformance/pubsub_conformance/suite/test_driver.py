"""Whether a driver speaks the protocol of DRIVER.md.

Here, and here alone, a DriverError is a finding about what is tested: `finds` makes a failure of it
and adds the usual mistake. A driver's start is the slowest thing here: what a driver has to survive
anyway, one request after the other, is asked of one process.
"""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pubsub_conformance.driver import REPLY_SECONDS, Driver, DriverError, OpenChannel, Rejected
from pubsub_conformance.driver.produced import content_of
from pubsub_conformance.driver.protocol import OPS, PROTOCOL, part_of, reply_fault
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import Message, a_message, encode
from pubsub_conformance.suite.helpers import refuses
from pubsub_conformance.waiting import now

Start = Callable[..., Driver]

MANY = 200  # requests in a row: enough that an answer gone astray meets another request
LONG = 12 * 2**20  # octets of content or name that make a line just short of 16 MiB, or as base64
SHORT_SECONDS = 0.2  # a limit that is to run out
LONG_SECONDS = 60.0  # one that is not


@contextlib.contextmanager
def finds(hint: str) -> Iterator[None]:
    try:
        yield
    except DriverError as error:
        pytest.fail(f"{error}\n  hint: {hint}")


def claims(driver: Driver, role: str) -> bool:
    return role in driver.hello.roles


def ask(driver: Driver, request: Mapping[str, Any]) -> dict[str, Any]:
    return driver.raw(json.dumps(request).encode() + b"\n")


def open_some(driver: Driver) -> list[Path]:
    """Two channels, if it can, with an unread message in the first; their directories."""
    if not claims(driver, "subscriber"):
        return []
    first, second = driver.open("end.="), driver.open("+")
    put(first.directory, a_message("end.here"))
    return [first.directory, second.directory]


# Requests and replies.


@pytest.mark.requirement("DRIVER-1")
def test_hello(start: Start) -> None:
    """The same answer each time; its fields are those of the table, or `start` fails."""
    with finds("see the table of `hello`"):
        driver = start()
        first = driver.request("hello", protocol=PROTOCOL)
        second = driver.request("hello", protocol=PROTOCOL)
    assert {**first, "seq": 0} == {**second, "seq": 0}


@pytest.mark.requirement("DRIVER-1")
def test_hello_of_another_protocol(start: Start) -> None:
    """A protocol that does not exist is refused with bad-request."""
    driver = start()
    with finds("compare `protocol` in `hello` with 1"):
        reply = ask(driver, {"seq": 2, "op": "hello", "protocol": 999})
    assert reply.get("error", {}).get("code") == "bad-request", f"protocol 999: {reply}"


@pytest.mark.requirement("DRIVER-2")
def test_one_answer_to_each_request(start: Start) -> None:
    """Many requests in a row, each answered once under its own seq, and nothing else on stdout."""
    with finds(
        "flush stdout after each line, send logs to stderr, and repeat `seq` as it was sent"
    ):
        driver = start()
        for _ in range(MANY):
            driver.request("hello", protocol=PROTOCOL)
        driver.close()


@pytest.mark.requirement("DRIVER-2")
def test_any_seq(start: Start) -> None:
    """The seq of a request is repeated, whatever it was before; up to 2^53-1."""
    driver = start()
    for seq in (0, 3, 2**31, 2**53 - 1, 3):
        with finds("do not count on your own"):
            reply = ask(driver, {"seq": seq, "op": "hello", "protocol": PROTOCOL})
        assert reply.get("seq") == seq, f"`seq` belongs into 64 bits: {reply}"


@pytest.mark.requirement("DRIVER-3")
def test_every_operation_of_every_role(start: Start) -> None:
    """No operation of a role that hello claims is answered with unknown-op."""
    with finds("leave out of `roles` what is not there yet"):
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
    assert not missing, f"harmless requests of roles it claims, refused: {', '.join(missing)}"


def probes() -> dict[str, dict[str, Any]]:
    """For each operation the fields of a request that nothing speaks against."""
    message = a_message("probe", b"content", {"header": 1})
    fields = {
        "id": str(message.id),
        "timestamp": str(message.timestamp),
        "topic": message.topic,
        "headers": dict(message.headers),
        "content": base64.b64encode(message.content).decode(),
    }
    return {
        "match": {"pattern": "probe", "topic": "probe"},
        "encode": {"message": fields},
        "decode": {"bytes": base64.b64encode(encode(message)).decode()},
        "publish": {"topic": "nobody", "content": "", "headers": {}},
        "produce": {
            "topic": "nobody",
            "prefix": "p",
            "count": 1,
            "sizes": [0],
            "report": "totals",
        },
        "open": {"pattern": "probe"},
        "fetch": {},
        "wait": {"timeout": 0},
        "consume": {"deadline": 0, "report": "totals"},
        "close": {},
        "reap": {},
    }


@pytest.mark.requirement("DRIVER-4")
def test_unknown_operation(start: Start) -> None:
    """An operation that does not exist is answered with unknown-op, and the driver goes on."""
    driver = start()
    with finds("compare the whole name with a list of your own; answer, do not exit"):
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
    """A line that is no request is answered with bad-request, and the driver goes on."""
    driver = start()
    for line, seq in NO_REQUESTS:
        with finds("a request may be wrong in every way; answer bad-request and read on"):
            reply = driver.raw(line + b"\n")
            driver.request("hello", protocol=PROTOCOL)
        expect_bad_request(line.decode(), reply, seq)


def expect_bad_request(line: str, reply: Mapping[str, Any], seq: int | None) -> None:
    assert reply_fault("hello", reply) is None, f"{line} was answered with {reply}"
    found = reply.get("seq"), reply.get("error", {}).get("code")
    assert found == (seq, "bad-request"), f"{line} was answered with {reply}"


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
    """Each operation answers bad-request without one of its fields, or with a wrong one."""
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
        with finds("look at each field's type before using it"):
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
    """Operations and their fields, of which one holds a value of the wrong type, or lacks one."""
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
    """Each element of `sizes` is an integer; each field of a message is there, of its type."""
    driver = start()
    for op, fields in wrong_inside_a_field():
        role = OPS[op].role
        if role is None or not claims(driver, role):
            continue
        request = {"seq": 7, "op": op, **fields}
        with finds("look at the type of each element of a list, and of each field of an object"):
            reply = ask(driver, request)
            driver.request("hello", protocol=PROTOCOL)
        expect_bad_request(json.dumps(request), reply, 7)


@pytest.mark.requirement("DRIVER-9")
def test_long_lines(start: Start) -> None:
    """A line of 12 MiB is read, and one of 16 MiB is written where that can be asked for."""
    driver = start()
    with finds("read lines of any length, with getline or the like; write until all is written"):
        with refuses("unknown-op", what="an operation with a very long name"):
            driver.request("x" * LONG)
        if claims(driver, "codec"):
            message = a_message("long", bytes(range(256)) * (LONG // 256 - 2))
            data = driver.encode(message)
            assert driver.decode(data) == message, "the message came back changed"


@pytest.mark.requirement("DRIVER-10")
def test_64_bits(start: Start) -> None:
    """Ids and timestamps keep all their digits."""
    driver = start()
    for number in (2**56 + 1, 2**63 - 1, 2**63, 2**64 - 1):
        message = Message(number, number - 1, "digits", {}, b"")
        with finds("ids and timestamps are strings of digits, of unsigned 64-bit integers"):
            if claims(driver, "codec"):
                assert driver.decode(encode(message)) == message
                assert driver.encode(message) == encode(message)
            if claims(driver, "subscriber"):
                channel = driver.open("digits")
                put(channel.directory, message)
                assert driver.fetch(channel) == message


# The end.


@pytest.mark.requirement("DRIVER-6")
def test_end_of_stdin(start: Start) -> None:
    """The driver exits with 0 and alone; its channels are gone."""
    driver = start()
    directories = open_some(driver)
    with finds("leave the loop when reading meets the end; wait for threads and children"):
        driver.close()
    left = [str(directory) for directory in directories if directory.exists()]
    assert not left, f"channels left behind at the end of stdin: {left}"


def nothing(driver: Driver) -> None:
    """No request is at work."""


def waiting(driver: Driver) -> None:
    channel = driver.open("quiet")
    driver.begin("wait", channel=channel.handle, timeout=LONG_SECONDS)


def consuming(driver: Driver) -> None:
    """It is at work for certain: it has told of a message."""
    channel = driver.open("quiet")
    put(channel.directory, a_message("quiet"))
    next(driver.consume(channel, idle=LONG_SECONDS))


def producing(driver: Driver) -> None:
    next(driver.produce("quiet", "p", 2, [0], rate=1 / LONG_SECONDS))


@pytest.mark.requirement("DRIVER-7")
@pytest.mark.parametrize("work", [nothing, waiting, consuming, producing])
def test_sigterm(start: Start, work: Callable[[Driver], None]) -> None:
    """The driver exits with 0 and alone, at work or not; its channels are gone."""
    driver = start()
    with finds("handle SIGTERM; have `poll` watch a pipe that the handler writes to"):
        directories = open_some(driver)
        work(driver)
        driver.close(signal.SIGTERM)
    left = [str(directory) for directory in directories if directory.exists()]
    assert not left, f"channels left behind at SIGTERM: {left}"


# The base directory.


@pytest.mark.requirement("DRIVER-8")
def test_home(start: Start, base: Base) -> None:
    """Channels and messages are in the directory that PUBSUB_HOME names."""
    driver = start()
    with finds("PUBSUB_HOME is read when the process starts"):
        if claims(driver, "subscriber"):
            directory = driver.open("home").directory
            assert directory.is_dir(), f"there is no directory {directory}"
        if claims(driver, "publisher"):
            with base.open("home") as channel:
                driver.publish("home")
                assert channel.fetch(), f"nothing came to a channel in {base.path}"


@pytest.mark.requirement("DRIVER-11")
def test_channel_that_is_not_open(start: Start) -> None:
    """channel-closed for a handle that is closed or was never given; none is given twice."""
    driver = start()
    with finds("keep a table of handles; a closed one is not reused"):
        closed = driver.open("handle")
        driver.close_channel(closed)
        another = driver.open("handle")
        assert another.handle != closed.handle, f"the handle {closed.handle} was given twice"
        for op in ("fetch", "wait", "consume", "close"):
            for handle in (closed.handle, "never given"):
                with refuses("channel-closed", what=f"{op} of {handle!r}"):
                    driver.request(op, channel=handle, **probes()[op])


# Streams.


def expect_times(spans: list[tuple[int, int]], before: int, after: int) -> None:
    """One after the other, between `before` and `after`."""
    times = [before, *(time for span in spans for time in span), after]
    assert times == sorted(times), (
        f"the times of {len(spans)} lines do not rise from {before} to {after}"
        f" (nanoseconds of CLOCK_MONOTONIC): {times}"
    )


@pytest.mark.requirement("DRIVER-12", "DRIVER-13")
def test_produce_says_when(start: Start) -> None:
    """The times of the lines follow each other within the request's; totals frame them."""
    driver = start()
    with finds("see the table of `produce`"):
        before = now()
        stream = driver.produce("times", "p", 5, [0], report="all")
        spans = [(line.start, line.end) for line in stream]
        done = stream.finish()
        after = now()
    expect_times(spans, before, after)
    assert (done.start, done.end) == (spans[0][0], spans[-1][1])


@pytest.mark.requirement("DRIVER-12", "DRIVER-14")
def test_consume_says_when(start: Start) -> None:
    """The times of the lines follow each other within the request's, as do those of the totals."""
    driver = start()
    with finds("see the table of `consume`"):
        channel = driver.open("times")
        for _ in range(5):
            put(channel.directory, a_message("times"))
        before = now()
        stream = driver.consume(channel, count=5, within=REPLY_SECONDS)
        spans = [(line.start, line.end) for line in stream]
        done = stream.finish()
        after = now()
    expect_times(spans, before, after)
    expect_times([(done.start, spans[0][0])], before, after)
    expect_times([(spans[-1][1], done.end)], before, after)


@pytest.mark.requirement("DRIVER-13")
def test_produce(start: Start, base: Base) -> None:
    """Contents, headers, order and counts are as described; sizes are taken in turn."""
    driver = start()
    sizes = [0, 4, 5, 10, 1000]
    with base.open("stream.=") as first, base.open("stream.a") as second:
        with finds("see `Messages of produce`"):
            stream = driver.produce("stream.a", "p1", 12, sizes)
            lines = list(stream)
            done = stream.finish()
        messages = first.fetch_all()
        assert len(second.fetch_all()) == 12
    found = [(message.topic, dict(message.headers), message.content) for message in messages]
    expected = [
        ("stream.a", {"publisher": "p1", "n": n}, content_of("p1", n, sizes)) for n in range(12)
    ]
    assert found == expected
    assert [(line.n, line.taken) for line in lines] == [(n, 2) for n in range(12)]
    assert (done.messages, done.taken) == (12, 24)


@pytest.mark.requirement("DRIVER-13")
def test_produce_totals(start: Start, base: Base) -> None:
    """With report "totals" there is the last line alone."""
    driver = start()
    with base.open("stream"), finds('see the table of `produce`, "report"'):
        stream = driver.produce("stream", "p1", 3, [10], report="totals")
        lines = list(stream)
    assert lines == []
    assert stream.finish()[:2] == (3, 3)


@pytest.mark.requirement("DRIVER-13")
def test_produce_at_a_rate(start: Start) -> None:
    """No message is published earlier than the rate allows."""
    driver = start()
    with finds("see `rate` under `Messages of produce`"):
        lines = list(driver.produce("stream", "p1", 6, [0], rate=50))
    for line in lines:
        late = (line.start - lines[0].start) / 1e9 - line.n / 50
        # The first start is taken a little after the moment that the driver counts from.
        assert late > -0.01, f"message {line.n} came {-late:.3f} s too early"


@pytest.mark.requirement("DRIVER-13")
def test_produce_that_is_refused(start: Start) -> None:
    """An error that lies with the caller ends the stream."""
    driver = start()
    with (
        finds("an invalid topic is no event: it will not get better"),
        refuses("invalid-topic", what="produce to the topic 'a b'"),
    ):
        list(driver.produce("a b", "p", 3, [0]))


def contents() -> list[bytes]:
    return [b"", b"123456789", b"\0" * 3, bytes(range(256)) * 300]


def filled(driver: Driver) -> OpenChannel:
    """A channel of the driver with one message of each content, put there by the kit."""
    channel = driver.open("stream.=")
    for number, content in enumerate(contents()):
        message = a_message(f"stream.{number}", content, {"number": number, "text": "ü"})
        put(channel.directory, message)
    return channel


@pytest.mark.requirement("DRIVER-14")
def test_consume(start: Start) -> None:
    """Topic, headers, size and CRC-32 of each message, in order; an idle queue ends it."""
    driver = start()
    with finds("see the table of `consume`"):
        stream = driver.consume(filled(driver), idle=SHORT_SECONDS)
        lines = list(stream)
        done = stream.finish()
    found = [(line.topic, line.headers, line.size, line.crc, line.error) for line in lines]
    expected = [
        (f"stream.{number}", {"number": number, "text": "ü"}, len(data), zlib.crc32(data), None)
        for number, data in enumerate(contents())
    ]
    assert found == expected, "the CRC-32 is zlib's, unsigned"
    assert done.messages == len(expected)
    waited = (done.end - lines[-1].end) / 1e9
    assert waited > SHORT_SECONDS * 0.9, f"it stopped after {waited:.3f} s without a message"


@pytest.mark.requirement("DRIVER-14")
def test_consume_totals(start: Start) -> None:
    """With report "totals" there is the last line alone."""
    driver = start()
    with finds('see the table of `consume`, "report"'):
        stream = driver.consume(filled(driver), count=4, report="totals", within=REPLY_SECONDS)
        lines = list(stream)
    assert lines == []
    assert stream.finish().messages == 4


@pytest.mark.requirement("DRIVER-14")
def test_consume_stops_at_its_count(start: Start) -> None:
    """After `count` messages it stops, and the next one is still to be had."""
    driver = start()
    with finds("stop at `count`, whatever else was asked for"):
        channel = filled(driver)
        lines = list(driver.consume(channel, count=3, idle=LONG_SECONDS, deadline=LONG_SECONDS))
        rest = driver.fetch(channel)
    assert len(lines) == 3
    assert rest is not None
    assert rest.topic == "stream.3"


@pytest.mark.requirement("DRIVER-14")
def test_consume_stops_at_its_deadline(start: Start) -> None:
    """After `deadline` seconds it stops, and not before."""
    driver = start()
    with finds("`deadline` counts from the beginning, messages or not"):
        quiet = driver.open("quiet")
        done = driver.consume(quiet, idle=LONG_SECONDS, deadline=SHORT_SECONDS).finish()
    took = (done.end - done.start) / 1e9
    assert SHORT_SECONDS * 0.9 < took < LONG_SECONDS / 2, f"it stopped after {took:.3f} s"


@pytest.mark.requirement("DRIVER-14")
def test_consume_goes_on_after_a_bad_message(start: Start) -> None:
    """A file that is no message is an event of its own; what follows it comes too."""
    driver = start()
    with finds("`invalid-message` and `damaged-queue` do not end the stream"):
        channel = driver.open("stream")
        put(channel.directory, b"no message")
        put(channel.directory, a_message("stream", b"good"))
        stream = driver.consume(channel, idle=SHORT_SECONDS)
        lines = [line.error.code if line.error else line.size for line in stream]
    assert lines == ["invalid-message", 4]
    assert stream.finish().messages == 1
