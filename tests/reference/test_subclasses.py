"""What was checked is what is used: subclasses may make something else of their value."""

from __future__ import annotations

import enum
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from pubsub import (
    Channel,
    InvalidHeaders,
    InvalidPattern,
    InvalidTopic,
    Message,
    fetch,
    publish,
    subscribe,
)


class Topic(str, enum.Enum):
    ORDER_PLACED = "order.placed"
    ALL_ORDERS = "order.="


class Level(enum.IntEnum):
    HIGH = 3


class Liar(str):
    """Says something else wherever it is asked."""

    def __str__(self) -> str:
        return "../outside"

    def __format__(self, spec: str) -> str:
        return "../outside"

    def encode(self, *arguments: Any, **named: Any) -> bytes:
        return b"../outside"

    def split(self, *arguments: Any) -> Any:
        return ["outside"]

    def __len__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return 1


class LyingBytes(bytes):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: Any) -> Any:
        return b"else"

    def __bytes__(self) -> bytes:
        return b"else"


class LyingInt(int):
    def __index__(self) -> int:
        return 7

    def __le__(self, other: object) -> bool:
        return True

    def __lt__(self, other: object) -> bool:
        return True

    def __gt__(self, other: object) -> bool:
        return True


def test_a_member_of_an_enumeration_names_a_channel() -> None:
    with Channel(Topic.ALL_ORDERS) as channel:
        assert type(channel.topic) is str
        assert channel.directory_path.name.startswith("order.=_")
        assert publish(Topic.ORDER_PLACED, b"x", {Topic.ORDER_PLACED: Level.HIGH}) == 1
        message = fetch(channel)
        assert message is not None
        assert message.topic == "order.placed"
        assert message.headers == {"order.placed": 3}


def test_a_str_that_lies() -> None:
    with Channel(Liar("a")) as channel:
        assert channel.directory_path.name.startswith("a_")
        assert publish(Liar("a"), b"x", {Liar("k"): Liar("v")}) == 1
        message = fetch(channel)
        assert message is not None
        assert (message.topic, message.headers) == ("a", {"k": "v"})
    assert type(Message(Liar("a"), b"").topic) is str
    for wrong in (lambda: Channel(Liar("../a")), lambda: publish(Liar("a" * 300), b"")):
        with pytest.raises((InvalidPattern, InvalidTopic)):
            wrong()


def test_names_of_headers_that_differ_only_to_themselves() -> None:  # MSG-9
    with pytest.raises(InvalidHeaders, match="twice"):
        publish("a", b"", {"k": 1, Liar("k"): 2})


@pytest.mark.parametrize(
    "content", [LyingBytes(b"octets"), bytearray(b"octets"), memoryview(b"-octets-")[1:-1]]
)
def test_content_by_its_octets(content: Any) -> None:
    message = Message("a", content)
    assert type(message.content) is bytes
    assert message.content == b"octets"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, LyingBytes])
def test_a_message_file_in_whatever_holds_octets(kind: Callable[[bytes], Any]) -> None:
    data = Message("a", b"content", {"n": 1}).to_bytes()
    assert Message.from_bytes(kind(data)).to_bytes() == data


def test_numbers_of_a_message() -> None:
    message = Message("a", b"", id=Level.HIGH, timestamp=Level.HIGH)
    assert (type(message.id), type(message.timestamp)) == (int, int)
    assert Message.from_bytes(message.to_bytes()) == message
    assert Message("a", b"", id=LyingInt(5)).id == 5
    with pytest.raises(ValueError, match="id is 1 to"):
        Message("a", b"", id=LyingInt(0))


@pytest.mark.parametrize("seconds", [Decimal("0.01"), Fraction(1, 100), Level.HIGH, True])
def test_times_of_any_kind_of_number(seconds: Any) -> None:
    with Channel("a") as channel:
        publish("a", b"")
        assert channel.wait(seconds)
        assert publish("a", b"", timeout=seconds) == 1
        if seconds < 1:
            assert subscribe(channel, lambda message: None, seconds) <= 2


def test_equality_is_that_of_json() -> None:
    def message(**headers: Any) -> Message:
        return Message("a", b"x", headers, id=1, timestamp=2)

    assert message(n=1) == message(n=1.0) == Message.from_bytes(message(n=1).to_bytes())
    assert hash(message(n=1)) == hash(message(n=1.0))
    assert message(n=1) != message(n=True)
    assert message(n=1) != "message"
    assert message(n=1) in {message(n=1)}
    long = Message("a", b"\xff" * 1000, {"k": "v" * 1000})
    assert "content_length=1000" in repr(long)
    assert len(repr(long)) < 600
    assert repr(long).isascii()  # or it could not be printed everywhere
