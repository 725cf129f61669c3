from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pubsub_conformance import vectors
from pubsub_conformance.oracle import topics as oracle

from pubsub import InvalidPattern, InvalidTopic
from pubsub.topics import check_pattern, check_topic, matches, overlap

WORDS = st.sampled_from(["a", "b", "A", "ab", "-", "0"])
TOPICS = st.lists(WORDS, min_size=1, max_size=7).map(".".join)
PATTERNS = st.lists(WORDS | st.sampled_from("=+"), min_size=1, max_size=6).map(".".join)

# Near the grammar, where a mistake would be: from its own characters, and those beside them.
ANYTHING = st.text(st.sampled_from("aZ09-.=+") | st.sampled_from("_/:@[`{ \n\0é\u0661\u212a"))
LONG = st.integers(190, 210).map(lambda n: "a.b" + "c" * (n - 3))


def accounts_for(terms: list[str], words: list[str]) -> bool:
    """Matching by its definition: every way to share out the words, one after the other."""
    if not terms:
        return not words
    most = {"+": len(words)}.get(terms[0], 1)
    return any(
        (terms[0] in "=+" or terms[0] == words[0]) and accounts_for(terms[1:], words[taken:])
        for taken in range(1, min(most, len(words)) + 1)
    )


def is_topic(text: str) -> bool:
    try:
        check_topic(text)
    except InvalidTopic:
        return False
    return True


def is_pattern(text: str) -> bool:
    try:
        check_pattern(text)
    except InvalidPattern:
        return False
    return True


@given(PATTERNS, TOPICS)
def test_matching_is_what_its_definition_says(pattern: str, topic: str) -> None:
    found = matches(pattern, topic)
    assert found == accounts_for(pattern.split("."), topic.split("."))
    assert found == oracle.matches(pattern, topic)


@given(st.lists(WORDS, min_size=1, max_size=7), st.data())
def test_a_topic_matches_what_generalises_it(words: list[str], data: st.DataObject) -> None:
    """Pairs made at random seldom match; these always do."""
    terms = []
    rest = list(words)
    while rest:
        term = data.draw(st.sampled_from([rest[0], "=", "+"]))
        del rest[: data.draw(st.integers(1, len(rest))) if term == "+" else 1]
        terms.append(term)
    assert matches(".".join(terms), ".".join(words))


def test_patterns_overlap_if_they_have_a_topic_in_common() -> None:
    topics = [".".join(words) for n in range(1, 6) for words in product("ab", repeat=n)]
    patterns = [".".join(terms) for n in range(1, 4) for terms in product("ab=+", repeat=n)]
    matched = {
        pattern: {topic for topic in topics if matches(pattern, topic)} for pattern in patterns
    }
    for one, other in product(patterns, repeat=2):
        assert overlap(one, other) == (not matched[one].isdisjoint(matched[other])), (one, other)
    assert overlap(".".join("+" * 100), ".".join("=" * 100))


@given(ANYTHING | TOPICS | PATTERNS | LONG)
def test_the_kit_and_the_library_agree_on_what_is_valid(text: str) -> None:
    assert is_topic(text) == oracle.is_topic(text)
    assert is_pattern(text) == oracle.is_pattern(text)


def test_the_vectors_of_the_specification() -> None:
    for row in vectors.table("match"):
        assert matches(row["pattern"], row["topic"]) == (row["matches"] == "yes"), row
    for name, judge in (("topic", is_topic), ("pattern", is_pattern)):
        assert all(judge(row[name]) for row in vectors.table(f"valid-{name}"))
        assert not any(judge(row[name]) for row in vectors.table(f"invalid-{name}"))


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("news sports", [r"invalid characters \[' '\]", r"a-zA-Z0-9\.-"]),
        ("news.=", ["invalid characters", r"a-zA-Z0-9\.-"]),
        ("news..sports", ["malformed"]),
        ("", ["empty"]),
        ("x" * 10_000, ["10000 characters"]),
    ],
)
def test_errors_tell_what_is_wrong(topic: str, words: list[str]) -> None:
    for word in words:
        with pytest.raises(ValueError, match=word) as caught:
            check_topic(topic)
        assert len(str(caught.value)) < 500, "the message repeats a text of any length"


def test_an_error_of_a_pattern_allows_the_wildcards() -> None:
    with pytest.raises(InvalidPattern, match=r"invalid characters.*a-zA-Z0-9\+=\.-"):
        check_pattern("news.*")
