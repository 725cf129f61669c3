"""The kit's oracle: the vectors, round trips, and its two sides against each other."""

import base64
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pubsub_conformance import vectors
from pubsub_conformance.oracle.base import CHANNEL_NAME, Base, channel_name, put
from pubsub_conformance.oracle.message import (
    InvalidMessage,
    Message,
    Scalar,
    a_message,
    decode,
    decode_headers,
    encode,
)
from pubsub_conformance.oracle.queue import enqueue, fill, has_reader
from pubsub_conformance.oracle.topics import is_pattern, is_topic, matches

WORDS = st.text("ab-0", min_size=1, max_size=3)
TOPICS = st.lists(WORDS, min_size=1, max_size=8).map(".".join)
PATTERNS = st.lists(WORDS | st.sampled_from("=+"), min_size=1, max_size=8).map(".".join)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
HEADERS = st.dictionaries(
    TEXT,
    TEXT
    | st.booleans()
    | st.none()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
)
# Headers as octets that are JSON, or nearly.
STRINGS = (
    *(b'""', b'"a"', b'"b"', rb'"\u0061"', b'"\xc3\xa9"', rb'"\ud83d\ude00"'),
    *(rb'"\ud800"', rb'"\x"', b'"\n"', b'"\xff"', b"'a'"),
)
OTHERS = (
    *(b"1", b"-0", b"01", b"1.", b"1e5", b"1E+400", b"9007199254740991", b"9007199254740992"),
    *(b"true", b"false", b"null", b"True", b"NaN", b"Infinity", b"[]", b"{}", b"\xef\xbb\xbf"),
)
MARKS = (b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b" ", b"\n")
VALUES = st.sampled_from(STRINGS + OTHERS)
MEMBERS = st.lists(st.tuples(st.sampled_from(STRINGS) | VALUES, VALUES).map(b":".join), max_size=3)
OBJECTS = MEMBERS.map(lambda members: b"{" + b",".join(members) + b"}")
SOUP = st.lists(st.sampled_from(STRINGS + OTHERS + MARKS), max_size=8).map(b"".join)
HEADER_OCTETS = OBJECTS | SOUP.map(lambda soup: b"{" + soup) | st.binary()
MESSAGES = st.builds(
    Message,
    id=st.integers(1, 2**64 - 1),
    timestamp=st.integers(0, 2**64 - 1),
    topic=TOPICS,
    headers=HEADERS,
    content=st.binary(),
)


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return Base(tmp_path / "base")


@pytest.mark.parametrize("row", vectors.table("match"), ids=lambda row: str(row))
def test_match_vectors(row: dict[str, str]) -> None:
    assert matches(row["pattern"], row["topic"]) == (row["matches"] == "yes")


def test_grammar_vectors() -> None:
    assert all(is_topic(row["topic"]) for row in vectors.table("valid-topic"))
    assert not any(is_topic(row["topic"]) for row in vectors.table("invalid-topic"))
    assert all(is_pattern(row["pattern"]) for row in vectors.table("valid-pattern"))
    assert not any(is_pattern(row["pattern"]) for row in vectors.table("invalid-pattern"))


def matches_by_definition(terms: list[str], words: list[str]) -> bool:
    """TOPIC-3 to TOPIC-6 word by word: slow, and plain enough to be believed."""
    if not terms:
        return not words
    term, rest = terms[0], terms[1:]
    if term == "+":
        return any(matches_by_definition(rest, words[n:]) for n in range(1, len(words) + 1))
    return bool(words) and term in ("=", words[0]) and matches_by_definition(rest, words[1:])


@given(PATTERNS, TOPICS)
def test_matching_is_what_its_definition_says(pattern: str, topic: str) -> None:
    expected = matches_by_definition(pattern.split("."), topic.split("."))
    assert matches(pattern, topic) == expected


@pytest.mark.parametrize("vector", vectors.messages(), ids=lambda vector: vector.name)
def test_message_vectors(vector: vectors.MessageVector) -> None:
    message = decode(vector.data)
    fields = dict(vector.fields)
    assert message == Message(
        id=int(fields.pop("id")),
        timestamp=int(fields.pop("timestamp")),
        content=base64.b64decode(fields.pop("content")),
        **fields,
    )
    assert decode(encode(message)) == message


@pytest.mark.parametrize("row", vectors.table("invalid-message"), ids=lambda row: row["fault"])
def test_invalid_message_vectors(row: dict[str, str]) -> None:
    with pytest.raises(InvalidMessage):
        decode(bytes.fromhex(row["hex"]))


@given(MESSAGES)
def test_what_is_encoded_is_decoded(message: Message) -> None:
    assert decode(encode(message)) == message


@given(MESSAGES, st.data())
def test_a_cut_message_is_none(message: Message, data: st.DataObject) -> None:
    octets = encode(message)
    with pytest.raises(InvalidMessage):
        decode(octets[: data.draw(st.integers(0, len(octets) - 1))])


@given(HEADER_OCTETS)
def test_any_octets_are_decoded_or_refused(octets: bytes) -> None:
    try:
        headers = decode_headers(octets)
    except InvalidMessage:  # any other error is a fault of the oracle
        return
    assert decode_headers(json.dumps(headers).encode()) == headers


def test_equality_tells_true_from_one_but_not_one_from_one() -> None:
    def with_header(value: Scalar) -> Message:
        return Message(1, 1, "a", {"n": value}, b"")

    assert with_header(1) == with_header(1.0)
    assert with_header(1) != with_header(True)
    assert with_header(0) != with_header(False)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(InvalidMessage):
        decode_headers(b'{"k":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}")


@pytest.mark.parametrize(
    "message",
    [
        Message(0, 1, "a", {}, b""),
        Message(1, 1, "a.", {}, b""),
        Message(1, 1, "a", {"n": 2**53}, b""),
        Message(1, 1, "a", {"n": float("nan")}, b""),
        Message(1, 1, "a", {"n": "\ud800"}, b""),
        Message(1, 1, "a", {"n": [1]}, b""),  # type: ignore[dict-item]
        Message(1, 1, "a", {1: 1}, b""),  # type: ignore[dict-item]
    ],
)
def test_what_must_not_be_written_is_not_encoded(message: Message) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode(message)


def test_a_message_goes_from_publisher_to_channel(base: Base) -> None:
    with base.open("a.+") as channel, base.open("b") as other:
        first = base.publish("a.b", b"one", {"n": 1})
        second = base.publish("a.b.c", b"two")
        assert channel.files() == [str(first.id), str(second.id)]
        assert channel.fetch_all() == [first, second]
        assert other.fetch_all() == []
        assert channel.files() == []
        assert base.leftovers() == []
    assert base.leftovers() == []


def test_bad_files_are_reported_and_the_next_message_arrives(base: Base) -> None:
    with base.open("a") as channel:
        put(channel.directory, b"bad")
        put(channel.directory, a_message(id=3), name="4")
        (channel.directory / "5").symlink_to("/etc/hostname")
        enqueue(channel.directory, 5)
        enqueue(channel.directory, b"bad")
        for _ in range(4):
            with pytest.raises(InvalidMessage):
                channel.fetch()
        enqueue(channel.directory, 6)  # no such file
        good = a_message()
        put(channel.directory, good)
        assert channel.fetch() == good


def test_a_channel_is_as_the_specification_wants_it(base: Base) -> None:
    with base.open("a.=", pid=4711) as channel:
        name = CHANNEL_NAME.fullmatch(channel.directory.name)
        assert name is not None
        assert (name["pattern"], name["pid"]) == ("a.=", "4711")
        assert has_reader(channel.directory)
        assert base.channels() == [channel.directory]
        channel.stop_reading()
        assert not has_reader(channel.directory)
    assert base.channels() == []


def test_the_publisher_passes_over_dead_and_full_channels(base: Base) -> None:
    dead = base.dead_channel("a", 4711)
    with base.open("a") as full, base.open("a") as good:
        fill(full.directory)
        message = base.publish("a")
        assert full.files() == []
        assert full.fetch_all() == []
        assert good.fetch_all() == [message]
    assert base.leftovers() == [dead.name, f"{dead.name}/queue"]


@pytest.mark.parametrize(
    ("base_mode", "directory", "file", "queue"),
    [
        (0o700, 0o700, 0o600, 0o600),
        (0o755, 0o700, 0o600, 0o600),
        (0o770, 0o770, 0o640, 0o620),
        (0o1777, 0o777, 0o644, 0o622),
    ],
)
def test_modes_follow_the_base(
    base: Base, base_mode: int, directory: int, file: int, queue: int
) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    base.make(base_mode)
    with base.open("a") as channel:
        message = base.publish("a")
        assert mode(base.path) == base_mode
        assert mode(base.tmp) == mode(channel.directory) == directory
        assert mode(channel.directory / "queue") == queue
        assert mode(channel.directory / str(message.id)) == file


def test_foreign_entries_are_no_channels(base: Base) -> None:
    base.make()
    channel = base.dead_channel("a", os.getpid())
    base.dead_channel("a", os.getpid(), queue=False)
    (base.path / channel_name("a", 1)).write_bytes(b"")
    (base.path / channel_name("a" * 201, 1)).mkdir()
    os.mkfifo(base.path / channel_name("a" * 201, 1).replace("_1", "_0"))
    (base.path / channel_name("a", 1)).symlink_to(channel)
    assert base.channels() == [channel]
