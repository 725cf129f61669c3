"""Streams: `produce` and `consume`."""

from __future__ import annotations

import zlib

import pytest

from pubsub_conformance.driver import Driver, OpenChannel
from pubsub_conformance.driver.produced import content_of
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import a_message
from pubsub_conformance.suite.helpers import Start, refuses
from pubsub_conformance.waiting import now

from .support import LONG_SECONDS, finds

pytestmark = pytest.mark.timing

SHORT_SECONDS = 0.2
"""A limit that runs out."""


def expect_times(spans: list[tuple[int, int]], before: int, after: int) -> None:
    """The spans have to follow one another, between `before` and `after` (in nanoseconds)."""
    times = [before, *(time for span in spans for time in span), after]
    assert times == sorted(times), (
        f"the times of {len(spans)} lines do not rise from {before} to {after}"
        f" (nanoseconds of CLOCK_MONOTONIC): {times}"
    )


@pytest.mark.requirement("DRIVER-12", "DRIVER-13")
def test_produce_says_when(start: Start) -> None:
    """The times of the lines rise, within the time of the request; the totals span them."""
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
    """The times of the lines rise, within those of the totals and of the request."""
    driver = start()
    with finds("see the table of `consume`"):
        channel = driver.open("times")
        for _ in range(5):
            put(channel.directory, a_message("times"))
        before = now()
        stream = driver.consume(channel, count=5, within=driver.limits.reply_seconds)
        spans = [(line.start, line.end) for line in stream]
        done = stream.finish()
        after = now()
    expect_times(spans, before, after)
    expect_times([(done.start, spans[0][0])], before, after)
    expect_times([(spans[-1][1], done.end)], before, after)


@pytest.mark.requirement("DRIVER-13")
def test_produce(start: Start, base: Base) -> None:
    """`produce` publishes the messages that DRIVER.md describes, with the sizes in turn, and
    reports each with its count."""
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
    """With the report "totals", `produce` writes only the last line."""
    driver = start()
    with base.open("stream"), finds('see the table of `produce`, "report"'):
        stream = driver.produce("stream", "p1", 3, [10], report="totals")
        lines = list(stream)
    assert lines == []
    assert stream.finish()[:2] == (3, 3)


@pytest.mark.requirement("DRIVER-13")
def test_produce_at_a_rate(start: Start) -> None:
    """`produce` publishes no message earlier than its rate allows."""
    driver = start()
    with finds("see `rate` under `Messages of produce`"):
        lines = list(driver.produce("stream", "p1", 6, [0], rate=50))
    for line in lines:
        late = (line.start - lines[0].start) / 1e9 - line.n / 50
        # The driver counts from a moment a little before the first start.
        assert late > -0.01, f"message {line.n} came {-late:.3f} s too early"


@pytest.mark.requirement("DRIVER-13")
def test_produce_that_is_refused(start: Start) -> None:
    """An error of the caller, such as an invalid topic, ends `produce`."""
    driver = start()
    with (
        finds("an invalid topic ends the stream; it is no line of it"),
        refuses("invalid-topic", what="produce to the topic 'a b'"),
    ):
        list(driver.produce("a b", "p", 3, [0]))


def contents() -> list[bytes]:
    """Contents that differ in size and octets."""
    return [b"", b"123456789", b"\0" * 3, bytes(range(256)) * 300]


def filled(driver: Driver) -> OpenChannel:
    """Have the driver open a channel, and put one message of each content into it."""
    channel = driver.open("stream.=")
    for number, content in enumerate(contents()):
        message = a_message(f"stream.{number}", content, {"number": number, "text": "ü"})
        put(channel.directory, message)
    return channel


@pytest.mark.requirement("DRIVER-14")
def test_consume(start: Start) -> None:
    """`consume` reports topic, headers, size and CRC-32 of each message, in order, and ends after
    `idle` seconds without one."""
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
    assert found == expected, f"expected {expected} (CRC-32 as in zlib, unsigned), found {found}"
    assert done.messages == len(expected)
    waited = (done.end - lines[-1].end) / 1e9
    assert waited > SHORT_SECONDS * 0.9, f"it stopped after {waited:.3f} s without a message"


@pytest.mark.requirement("DRIVER-14")
def test_consume_totals(start: Start) -> None:
    """With the report "totals", `consume` writes only the last line."""
    driver = start()
    with finds('see the table of `consume`, "report"'):
        stream = driver.consume(
            filled(driver), count=4, report="totals", within=driver.limits.reply_seconds
        )
        lines = list(stream)
    assert lines == []
    assert stream.finish().messages == 4


@pytest.mark.requirement("DRIVER-14")
def test_consume_stops_at_its_count(start: Start) -> None:
    """After `count` messages `consume` ends, and the next message stays in the channel."""
    driver = start()
    with finds("stop at `count`, whatever the other limits are"):
        channel = filled(driver)
        lines = list(driver.consume(channel, count=3, idle=LONG_SECONDS, deadline=LONG_SECONDS))
        rest = driver.fetch(channel)
    assert len(lines) == 3
    assert rest is not None
    assert rest.topic == "stream.3"


@pytest.mark.requirement("DRIVER-14")
def test_consume_stops_at_its_deadline(start: Start) -> None:
    """`consume` ends after `deadline` seconds, and not before."""
    driver = start()
    with finds("`deadline` counts from the beginning, with messages or without"):
        quiet = driver.open("quiet")
        done = driver.consume(quiet, idle=LONG_SECONDS, deadline=SHORT_SECONDS).finish()
    took = (done.end - done.start) / 1e9
    assert SHORT_SECONDS * 0.9 < took < LONG_SECONDS / 2, f"it stopped after {took:.3f} s"


@pytest.mark.requirement("DRIVER-14")
def test_consume_goes_on_after_a_bad_message(start: Start) -> None:
    """`consume` reports a file that is no message in a line, and goes on with the next message."""
    driver = start()
    with finds("`invalid-message` and `damaged-queue` do not end the stream"):
        channel = driver.open("stream")
        put(channel.directory, b"no message")
        put(channel.directory, a_message("stream", b"good"))
        stream = driver.consume(channel, idle=SHORT_SECONDS)
        lines = [line.error.code if line.error else line.size for line in stream]
    assert lines == ["invalid-message", 4]
    assert stream.finish().messages == 1
