from __future__ import annotations

import json
import mmap
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pubsub_conformance import vectors
from pubsub_conformance.oracle import message as oracle

import pubsub.message_file
from pubsub import InvalidHeaders, InvalidMessage, InvalidTopic, Message, TooLarge

IDS = st.integers(1, 2**64 - 1)
TIMESTAMPS = st.integers(0, 2**64 - 1)
TOPICS = st.lists(st.sampled_from(["a", "B-0", "news"]), min_size=1).map(".".join)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # no lone surrogates
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
HEADERS = st.dictionaries(TEXT, SCALARS, max_size=5)

# Headers as text that is JSON, nearly JSON, or JSON that only a careless decoder takes.
TOKENS = (
    *('"a"', '"b"', '"\\u0061"', '"\\ud800"', '"\\ud83d\\ude00"', '"\\x"', '"\n"', '"\x7f"', "'a'"),
    *("1", "-0", "01", "1.", ".5", "1e5", "1E+400", "-1e-400", "9007199254740992.0"),
    *("9007199254740991", "9007199254740992", "-9007199254740992", "123456789012345678901"),
    *("true", "false", "null", "True", "NaN", "Infinity", "-Infinity", "[]", "{}"),
    *("é", "\u0661", "\ufeff", "\xa0"),
)
VALUES = st.sampled_from(TOKENS) | SCALARS.map(json.dumps)
MEMBERS = st.lists(st.tuples(VALUES, VALUES).map(":".join), max_size=3).map(",".join)
OBJECTS = MEMBERS.map(lambda members: "{" + members + "}")
SOUP = st.lists(st.sampled_from([*TOKENS, *'{}[]:,"\\ \t\r\n\f']), max_size=8).map("".join)
DEEP = st.sampled_from(["[", '{"a":', '{"a":[', '{"a":{'])
NESTED = st.tuples(DEEP, st.sampled_from([10, 200_000])).map(lambda pair: pair[0] * pair[1])
HEADER_TEXTS = (OBJECTS | SOUP | NESTED).map(str.encode) | st.binary(max_size=8)


def same(ours: Message, theirs: oracle.Message) -> bool:
    return theirs == oracle.Message(ours.id, ours.timestamp, ours.topic, ours.headers, ours.content)


def check_verdict(data: bytes) -> None:
    """Both decoders yield the same message, or both refuse; nothing else is ever raised."""
    try:
        theirs = oracle.decode(data)
    except oracle.InvalidMessage:
        with pytest.raises(InvalidMessage):
            Message.from_bytes(data)
    else:
        assert same(Message.from_bytes(data), theirs)


@given(TOPICS, st.binary(), HEADERS, IDS, TIMESTAMPS)
def test_what_is_encoded_is_decoded(
    topic: str, content: bytes, headers: dict[str, Any], id: int, timestamp: int
) -> None:
    message = Message(topic, content, headers, id=id, timestamp=timestamp)
    data = message.to_bytes()
    assert same(message, oracle.decode(data))
    back = Message.from_bytes(data)
    assert same(back, oracle.decode(data))
    assert [(key, type(value)) for key, value in back.headers.items()] == [
        (key, type(value)) for key, value in headers.items()
    ]


@given(TOPICS, st.binary(), HEADERS, IDS, TIMESTAMPS)
def test_what_the_kit_encodes_is_decoded(
    topic: str, content: bytes, headers: dict[str, Any], id: int, timestamp: int
) -> None:
    message = oracle.Message(id, timestamp, topic, headers, content)
    assert same(Message.from_bytes(oracle.encode(message)), message)


@given(st.binary() | st.binary().map(lambda rest: b"PMSG\x01" + rest))
def test_any_octets_get_a_verdict(data: bytes) -> None:
    check_verdict(data)


@given(HEADER_TEXTS)
def test_any_headers_get_a_verdict(headers: bytes) -> None:
    check_verdict(oracle.pack(1, 2, b"a", headers, b"content"))


@given(
    topic=TOPICS,
    headers=HEADERS,
    content=st.binary(max_size=20),
    where=st.integers(0, 10**6),
    removed=st.integers(0, 5),
    added=st.binary(max_size=5),
)
def test_mutated_messages_get_a_verdict(
    topic: str, headers: dict[str, Any], content: bytes, where: int, removed: int, added: bytes
) -> None:
    data = Message(topic, content, headers).to_bytes()
    where %= len(data) + 1
    check_verdict(data[:where] + added + data[where + removed :])


def test_the_vectors_of_the_specification() -> None:
    for vector in vectors.messages():
        check_verdict(vector.data)
        message = Message.from_bytes(vector.data)
        assert message.headers == vector.fields["headers"], vector.name
        assert str(message.id) == vector.fields["id"], vector.name
    for row in vectors.table("invalid-message"):
        check_verdict(vectors.octets(row["hex"]))
        with pytest.raises(InvalidMessage):
            Message.from_bytes(vectors.octets(row["hex"]))


@pytest.mark.parametrize(
    "headers",
    [
        {1: "a"},
        {None: "a"},
        {"a": b"octets"},
        {"a": ["list"]},
        {"a": {}},
        {"a": ()},
        {"a": float("nan")},
        {"a": float("-inf")},
        {"a": 2**53},
        {"a": -(2**53)},
        {"a": "\ud800"},
        {"\udfff": "a"},
        [("a", 1)],
        [],
        "",
        0,
    ],
)
def test_headers_that_cannot_be_written_are_refused(headers: Any) -> None:  # MSG-15
    with pytest.raises(InvalidHeaders):
        Message("a", b"", headers).to_bytes()


@pytest.mark.parametrize("content", ["text", 5, None, [1, 2], object()])
def test_content_is_octets(content: Any) -> None:
    with pytest.raises(TypeError, match=type(content).__name__):
        Message("a", content)


def test_content_that_may_change_is_copied() -> None:
    buffer = bytearray(b"abcd")
    of_array = Message("a", buffer)
    of_view = Message("a", memoryview(buffer)[::2])
    buffer[:] = b"****"
    assert (of_array.content, of_view.content) == (b"abcd", b"ac")
    assert of_view.content_length == 2


def test_content_that_is_too_large_is_refused_by_its_length() -> None:  # MSG-16
    # 4 GiB of address space; no page of it is ever touched.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, 2**32, flags=flags, prot=mmap.PROT_READ) as pages:
        tracemalloc.start()
        try:
            with memoryview(pages) as view, pytest.raises(TooLarge, match="4294967296"):
                Message("a", view)
            assert tracemalloc.get_traced_memory()[1] < 2**20, "it was copied first"
        finally:
            tracemalloc.stop()


def test_the_largest_content_and_headers(monkeypatch: pytest.MonkeyPatch) -> None:  # MSG-16
    # Nobody has memory for the real limit.
    monkeypatch.setattr(pubsub.message_file, "MAX_FIELD_OCTETS", 10)
    Message("a", b"." * 10, {"a": ".."}).to_bytes()
    Message("a", b"." * 10, {"a": 1234}).to_bytes()
    for too_large in (
        Message("a", b"." * 11),
        Message("a", b"", {"a": "..."}),
        Message("a", b"", {"a": "é."}),
    ):
        with pytest.raises(TooLarge):
            too_large.to_bytes()
    with pytest.raises(TooLarge):
        Message("a", bytearray(11))


def test_a_new_message() -> None:
    before = time.time_ns() // 1000
    message = Message("news.sports", b"Hello, World!")
    assert before <= message.timestamp <= time.time_ns() // 1000
    assert 2**56 <= message.id < 2**64
    assert message.content_length == 13
    assert "content_length=13" in repr(message)
    assert str(message.id) in repr(message)
    assert message.headers == {}
    assert Message("a", b"").headers is not message.headers


def test_a_message_has_a_topic_not_a_pattern() -> None:
    with pytest.raises(InvalidTopic):
        Message("news.=", b"")


@pytest.mark.parametrize("field", [{"id": 0}, {"id": -1}, {"id": 2**64}, {"timestamp": 2**64}])
def test_what_does_not_fit_into_its_field_is_refused(field: dict[str, Any]) -> None:  # MSG-4
    with pytest.raises(ValueError, match="2\\^64"):
        Message("a", b"", **field)
