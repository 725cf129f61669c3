"""The parts of the bridge that need no server: subjects, headers, numbers."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import ROOT

from pubsub import Channel, fetch, publish
from pubsub.bridge.command import parser
from pubsub.bridge.counters import Counters
from pubsub.bridge.envelope import (
    ESCAPED,
    MARK,
    MalformedEnvelope,
    Mark,
    block,
    decode,
    encode,
)
from pubsub.bridge.local import Export, Exporter, is_for_imports
from pubsub.bridge.outgoing import Outgoing
from pubsub.bridge.sequences import Gaps, Numbers, run_of
from pubsub.bridge.subjects import cover, joined, to_pattern, to_subject
from pubsub.delivery import deliver
from pubsub.headers import MAX_INTEGER, HeaderValue
from pubsub.message import Message
from pubsub.topics import matches

WORDS = ["a", "b", "c"]
TOPICS = [".".join(words) for n in (1, 2, 3, 4) for words in itertools.product(WORDS, repeat=n)]
PATTERNS = st.lists(st.sampled_from([*WORDS, "=", "+"]), min_size=1, max_size=4).map(".".join)
SIMPLE = PATTERNS.filter(lambda pattern: "+" not in pattern[:-1])
MARKED = Mark("0123456789abcdef", "fedcba9876543210", 7, 1764020000000000)


def covered(subject: str) -> set[str]:
    """The topics that NATS delivers to a subscription, word by word as NATS defines it."""

    def is_covered(subject: list[str], topic: list[str]) -> bool:
        if subject[:1] == [">"]:
            return bool(topic)
        if not subject or not topic:
            return subject == topic
        return subject[0] in ("*", topic[0]) and is_covered(subject[1:], topic[1:])

    return {topic for topic in TOPICS if is_covered(subject.split("."), topic.split("."))}


def matched(pattern: str) -> set[str]:
    return {topic for topic in TOPICS if matches(pattern, topic)}


@given(SIMPLE)
def test_a_subject_covers_what_the_pattern_matches(pattern: str) -> None:
    assert covered(to_subject(pattern)) == matched(pattern)
    assert to_pattern(to_subject(pattern)) == pattern


@given(PATTERNS)
def test_a_plus_in_the_middle_covers_more(pattern: str) -> None:
    assert covered(to_subject(pattern)) >= matched(pattern)


@given(st.lists(PATTERNS, min_size=1, max_size=4))
def test_joined_subjects_cover_everything_once(patterns: list[str]) -> None:
    subjects = joined(map(to_subject, patterns))
    delivered = [topic for subject in subjects for topic in covered(subject)]
    assert len(delivered) == len(set(delivered))
    assert set(delivered) >= set().union(*map(matched, patterns))
    assert covered(cover(subjects)) >= set(delivered)


def test_subjects_that_do_not_overlap_stay_as_they_are() -> None:
    assert joined(["b.>", "a.*", "a.b.c", "b.>"]) == ["a.*", "a.b.c", "b.>"]
    assert joined(["a.*.c", "a.b.>"]) == ["a.*.>"]
    assert joined(["a.*", "*.b"]) == ["*.*"]
    assert joined(["a.>", "a.b", "c"]) == ["a.>", "c"]
    assert cover(["a", "a.b"]) == ">"
    assert cover(["a.b", "a.c"]) == "a.>"


NAMES = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["Nats-Msg-Id", "nats-rollup", "Status", "description", "pubsub", "Pubsub-Headers", "A", "a"]
)
VALUES = (
    st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(["", " a", "true", "null", "1", "-", '"', "é", "a\r\nb", "\u2028", "NaN"])
    | st.booleans()
    | st.none()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.dictionaries(NAMES, VALUES))
def test_headers_arrive_with_their_types(headers: dict[str, HeaderValue]) -> None:
    encoded = encode(headers, MARKED)
    for name, value in encoded.items():
        assert name.isascii()
        assert name.strip() == name != ""
        assert value.strip() == value
        assert value.isprintable()
    decoded, mark = decode(encoded)
    assert mark == MARKED
    assert decoded == headers
    assert {name: type(value) for name, value in decoded.items()} == {
        name: type(value) for name, value in headers.items()
    }


def test_other_clients_read_plain_values() -> None:
    encoded = encode({"minute": 90, "team": "Örebro SK", "Nats-Msg-Id": "1"}, MARKED)
    assert encoded == {
        MARK: "0123456789abcdef fedcba9876543210 7 1764020000000000",
        "minute": "90",
        "team": "Örebro SK",
        ESCAPED: '{"Nats-Msg-Id": "1"}',
    }


def test_headers_of_other_clients_are_strings() -> None:
    assert decode(None) == ({}, None)
    assert decode({"minute": "90", "x": '"y"'}) == ({"minute": "90", "x": '"y"'}, None)


@pytest.mark.parametrize(
    "headers",
    [
        {MARK: ""},
        {MARK: "0123456789abcdef fedcba9876543210 7"},
        {MARK: "0123456789abcdef fedcba9876543210 0 1"},
        {MARK: f"0123456789abcdef fedcba9876543210 1 {2**64}"},
        {MARK: "0123456789abcdef fedcba9876543210 \u0667 1"},
        {MARK: "0123456789abcdef fedcba9876543210 1 1\n"},
        {MARK: "0123456789abcdef fedcba9876543210 1 1", ESCAPED: "{"},
        {MARK: "0123456789abcdef fedcba9876543210 1 1", ESCAPED: '{"a": [1]}'},
        {MARK: "0123456789abcdef fedcba9876543210 1 1", ESCAPED: '{"a": "\udcff"}'},
    ],
)
def test_a_malformed_envelope_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(MalformedEnvelope):
        decode(headers)


def test_values_that_only_look_like_json_are_strings() -> None:
    mark = {MARK: "0123456789abcdef fedcba9876543210 1 1"}
    strange = {"a": "1x", "b": '"', "c": "9" * 5000, "d": "-"}
    assert decode(mark | strange)[0] == strange


def test_headers_are_written_as_nats_has_them() -> None:
    assert block({"a": "é", "bc": ""}) == "NATS/1.0\r\na: é\r\nbc: \r\n\r\n".encode()


def test_numbers_count_each_topic() -> None:
    numbers = Numbers(most=2)
    first = numbers.session
    assert [numbers.next(topic) for topic in "aabab"] == [1, 2, 1, 3, 2]
    assert numbers.session == first
    assert numbers.next("c") == 1
    assert numbers.session != first
    assert run_of(numbers.session) == run_of(first)
    assert numbers.next("a") == 1


def test_gaps_are_counted_and_repetitions_are_told() -> None:
    gaps = Gaps()
    assert gaps.is_new("s", "a", 5)  # nobody knows what was before
    assert gaps.is_new("s", "a", 6)
    assert not gaps.is_new("s", "a", 6)
    assert not gaps.is_new("s", "a", 5)
    assert gaps.lost == 0
    assert gaps.is_new("s", "a", 10)
    assert gaps.lost == 3
    assert gaps.is_new("s", "a", 8)  # late, and new
    assert not gaps.is_new("s", "a", 8)
    assert gaps.lost == 2
    assert gaps.is_new("s", "b", 1)
    assert gaps.is_new("t", "a", 1)
    assert gaps.lost == 2


@given(st.permutations(range(1, 9)), st.integers(1, 9))
def test_each_number_is_new_once_in_any_order(order: list[int], repeated: int) -> None:
    gaps = Gaps()
    assert gaps.is_new("s", "a", 1)
    seen = {1}
    for number in [*order, *order[:repeated]]:
        assert gaps.is_new("s", "a", number) == (number not in seen)
        seen.add(number)
    assert gaps.lost == 0


def test_the_tables_are_bounded() -> None:
    gaps = Gaps(most=3)
    for topic in "abcd":
        assert gaps.is_new("s", topic, 1)
    assert gaps.is_new("s", "a", 1)  # forgotten
    assert gaps.is_new("s", "a", 1_000_000)
    assert gaps.lost == 999_998
    assert not gaps.is_new("s", "a", 2)  # too long ago
    assert gaps.is_new("s", "a", 999_999)


def test_a_burst_to_a_bridge_needs_no_files(home: Path) -> None:
    async def burst() -> None:
        counters = Counters()
        outgoing = Outgoing("0123456789abcdef", counters, to_stream=False)
        exporter = Exporter(["a"], outgoing, counters)
        exporter.open()
        try:
            for _ in range(1000):
                assert publish("a", bytes(100)) == 1
            (directory,) = home.glob("a_*")
            if (directory / "inline").exists():
                assert {*os.listdir(directory)} == {"queue", "inline", "bridge"}
            exporter.fetch_all()
            assert len(outgoing) == 1000
        finally:
            exporter.close()

    asyncio.run(burst())


@pytest.mark.parametrize("inline", [False, True])
def test_what_is_imported_reaches_no_channel_of_a_bridge(inline: bool) -> None:
    with Export("a", inline) as export, Export("+") as other, Channel("a", inline) as channel:
        marker = export.directory_path / "bridge"
        assert marker.stat().st_size == 0
        for number in range(3):  # the second time with what was kept
            outcome = deliver(Message("a", b"%d" % number), 0, is_for_imports)
            assert outcome.taken == [str(channel.directory_path)]
        assert fetch(export) is fetch(other) is None
        assert publish("a", b"local") == 3
        assert [fetched.content for fetched in iter(lambda: fetch(export), None)] == [b"local"]
    assert not marker.parent.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nats://u:secret@host", "--export", "a"], "visible to everybody"),
        (["nats://token-secret@host", "--export", "a"], "visible to everybody"),
        (["http://host", "--export", "a"], "nats://HOST:PORT"),
        (["nats://", "--export", "a"], "nats://HOST:PORT"),
        (["nats://[::1", "--export", "a"], "nats://HOST:PORT"),
        (["nats://host:99999", "--export", "a"], "nats://HOST:PORT"),
        (["nats://host/path", "--export", "a"], "nats://HOST:PORT"),
        (["nats://host,", "--export", "a"], "nats://HOST:PORT"),
        (["nats://host,nats://u:secret@host", "--export", "a"], "visible to everybody"),
        (["nats://host", "--export", "a..b"], "malformed"),
        (["nats://host", "--import", ""], "is empty"),
        (["nats://host", "--export", "a", "--stream", "a.b"], "one word"),
        (["nats://host", "--export", "a", "--timeout", "-1"], "seconds"),
    ],
)
def test_wrong_arguments_are_told_and_nothing_secret(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert said in error
    assert error.count("\n") == 1
    assert "secret" not in error


def test_without_nats_the_command_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['nats'] = None; from pubsub.commands import main;"
        " sys.exit(main(['bridge', 'nats://host', '--export', 'a']))"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False
    )
    assert (
        process.stderr
        == "pubsub bridge: nats-py is missing: pip install 'pubsub-reference[nats]'\n"
    )
    assert process.returncode == 2
