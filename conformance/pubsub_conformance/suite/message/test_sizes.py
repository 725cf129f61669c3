"""Sizes: files and lengths that are a good message if a size is cut to 32 bits."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, OpenChannel
from pubsub_conformance.oracle.base import put
from pubsub_conformance.oracle.message import MAGIC, VERSION, Message, decode, encode, fresh_id
from pubsub_conformance.oracle.queue import enqueue
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import answers, most_memory, refuses
from pubsub_conformance.suite.numbers import ENDS, LONGEST

from .support import GIB
from .test_reading import Reader, readers

LARGE = 70_000
"""A number of octets that is larger than most buffers."""

BEYOND = (2**31, 2**32, 2**32 + 2**31, 2**33, 2**35)
"""How many octets follow a message. Cut to 32 bits, the last but one and others are 0."""


def _fetch_refuses(driver: Driver, channel: OpenChannel, file: Path, what: str) -> None:
    """The driver has to refuse the file, to remove it, and to take no memory for it."""
    enqueue(channel.directory, int(file.name))
    before = most_memory(driver)
    with answers(what), refuses("invalid-message", what=what):
        driver.fetch(channel)
    grown = most_memory(driver) - before
    assert grown < GIB, f"{what}: the driver took {grown} octets of memory to refuse it"
    assert not file.exists(), f"{what}: it was reported, but not removed"


@pytest.mark.requirement("MSG-14", "MSG-13", role="subscriber")
@pytest.mark.parametrize(
    ("headers", "content"),
    [(0, 0), (0, 100), (0, LARGE), (LARGE, 100)],
    ids=["empty", "small", "large content", "large headers"],
)
def test_a_good_message_with_gigabytes_behind_it(
    driver: Driver, headers: int, content: int
) -> None:
    """A reader refuses a file that is a good message, followed by 2^31, 2^32 or more octets."""
    channel = driver.open("a")
    for beyond in BEYOND:
        message = Message(
            fresh_id(), 1, "a", {"k": "x" * headers} if headers else {}, b"c" * content
        )
        file = put(channel.directory, message, enqueue=False)
        size = file.stat().st_size + beyond
        try:
            os.truncate(file, size)
        except OSError as error:
            file.unlink()
            not_run(f"a file of {size} octets cannot be made here: {error}")
        _fetch_refuses(driver, channel, file, f"a good message with {beyond} octets behind it")
        good = Message(fresh_id(), 1, "a", {}, b"behind it")
        put(channel.directory, good)
        found = driver.fetch(channel)
        assert found == good, f"behind a file of {size} octets: expected {good}, found {found}"


def _wrapped(topic: int, headers: int, content: int, size: int) -> bytes:
    """The beginning of a file with these lengths, whose sum is `size` if it is cut to 32 bits.

    Each length is where a reader finds it that cuts each offset to 32 bits.
    """
    data = bytearray(size)
    data[:21] = struct.pack(">4sBQQ", MAGIC, VERSION, fresh_id(), 1)
    at = 21
    for length in (topic, headers, content):
        place = at % 2**32
        if place + 4 > size:
            break
        data[place : place + 4] = length.to_bytes(4, "big")
        at += 4 + length
    return bytes(data)


@readers("MSG-13")
def test_lengths_whose_sum_leaves_32_bits(driver: Driver, role: str) -> None:
    """A reader refuses lengths whose sum is the size of the file if it is cut to 32 bits."""
    reader = Reader(role, driver)
    reader.check_good()
    for size in (33, 36, 40, 64, 100, 1000):
        for topic in (0, 1, 4, 8):
            for headers in (0, 2, 2**31 - 4, 2**31, 2**32 - 20, 2**32 - 8, 2**32 - 4, 2**32 - 1):
                content = (size - 33 - topic - headers) % 2**32
                if 33 + topic + headers + content == size:
                    continue  # the sum is right
                data = _wrapped(topic, headers, content, size)
                what = f"a file of {size} octets with the lengths {topic}, {headers}, {content}"
                with answers(what), refuses("invalid-message", what=what):
                    reader.read(data)
    reader.check_good()


@readers("MSG-1")
def test_fields_of_any_length(driver: Driver, role: str) -> None:
    """A reader reads topics, keys, strings and contents of lengths at and around powers of two, and
    any number of headers."""
    reader = Reader(role, driver)
    for length in (*ENDS, 4095, 4096, 4097, 32767, 32768, 32769, 65535, 65536, 65537):
        text = "x" * length
        some = [
            Message(fresh_id(), length, "a", {}, bytes(length)),
            Message(fresh_id(), length, "a", {text: length}, b""),
            Message(fresh_id(), length, "a", {"k": text, "é" * length: "\x7f"}, text.encode()),
        ]
        if length <= LONGEST:
            some.append(Message(fresh_id(), 1, text, {}, text.encode()))
        if length < 5000:
            headers = {f"{n}": n for n in range(length)}
            some.append(Message(fresh_id(), 1, "a", headers, b""))
        for message in some:
            reader.check(encode(message), message, f"a length of {length} octets")


@pytest.mark.requirement("MSG-17", role="codec")
def test_numbers_at_the_ends_of_their_range(driver: Driver) -> None:
    """Encoding and decoding keep ids and timestamps where 8, 16, 31, 32, 53, 63 and 64 bits end."""
    ends = sorted(
        {end for bits in (8, 16, 31, 32, 53, 63, 64) for end in (2**bits - 1, 2**bits, 2**bits + 1)}
    )
    for number in (end for end in ends if end < 2**64):
        for message in (
            Message(number, 1, "a", {}, b""),
            Message(2**64 - number or 1, number, "a", {"n": min(number, 2**53 - 1)}, b""),
        ):
            encoded = driver.encode(message)
            for found in (decode(encoded), driver.decode(encoded)):
                assert found == message, f"expected {message}, found {found}"
