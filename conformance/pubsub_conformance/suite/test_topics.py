"""Topics and patterns (topics.md): the grammar, through every role that checks it, and matching."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

import pytest

from pubsub_conformance import vectors
from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import a_message
from pubsub_conformance.oracle.topics import LONGEST_TOPIC, matches
from pubsub_conformance.suite.helpers import answers

VALID_TOPICS = [row["topic"] for row in vectors.table("valid-topic")]
INVALID_TOPICS = vectors.table("invalid-topic")
LONGEST_PATTERN = "=." * 99 + "ab"  # 200 octets
VALID_PATTERNS = [*(row["pattern"] for row in vectors.table("valid-pattern")), LONGEST_PATTERN]
INVALID_PATTERNS = [
    *vectors.table("invalid-pattern"),
    {"pattern": LONGEST_PATTERN + "c", "fault": "201 octets"},
]

Case = tuple[str, str, bool]
"""A pattern, a topic, and whether the pattern matches it."""


def literal(cases: Iterable[Case]) -> list[Case]:
    """Those without a wildcard."""
    return [case for case in cases if not set("=+") & set(case[0])]


def with_one(cases: Iterable[Case]) -> list[Case]:
    """Those with `=` and no `+`."""
    return [case for case in cases if "=" in case[0] and "+" not in case[0]]


def with_many(cases: Iterable[Case]) -> list[Case]:
    """Those with `+`."""
    return [case for case in cases if "+" in case[0]]


def of_all_sizes() -> list[Case]:
    """Every pattern of up to three terms a, = and + with every topic of up to four words a and
    b."""

    def joined(alphabet: str, longest: int) -> list[str]:
        sizes = range(1, longest + 1)
        return [".".join(w) for n in sizes for w in itertools.product(alphabet, repeat=n)]

    return [
        (pattern, topic, matches(pattern, topic))
        for pattern in joined("a=+", 3)
        for topic in joined("ab", 4)
    ]


NUMBERS = (1, 2, 31, 32, 33, 63, 64, 65, 99, 100)
"""Of terms, around those that fit into a machine's word. A pattern has at most 100."""


def of_many_terms(numbers: Iterable[int]) -> list[Case]:
    """Patterns of so many terms, with a wildcard everywhere, nowhere or in one place; with topics
    that have a word too few or too many, or another word in that place or beside it."""
    found: dict[tuple[str, str], None] = {}  # a set that keeps its order

    def add(terms: Sequence[str], words: Sequence[str]) -> None:
        if 0 < len(words) <= LONGEST_TOPIC // 2:
            found[".".join(terms), ".".join(words)] = None

    for n in numbers:
        places = {0, 1, 30, 31, 32, 33, 62, 63, 64, 65, n - 2, n - 1} & set(range(n))
        for term in ("a", "=", "+"):
            for length in (1, n - 65, n - 64, n - 32, n - 1, n, n + 1):
                add([term] * n, ["a"] * length)
            for place in sorted(places):
                terms = ["a"] * n
                terms[place] = term
                for at in (place - 1, place, place + 1):
                    words = ["a"] * n
                    if 0 <= at < n:
                        words[at] = "b"
                    add(terms, words)
                    add(terms, [*words[:at], "b", *words[at:]])
                add(terms, ["a"] * (n - 1))
    return [(pattern, topic, matches(pattern, topic)) for pattern, topic in found]


def of_long_words() -> list[Case]:
    """A word as long as possible, and of many lengths below, with words that differ in one
    octet."""
    return [
        (pattern, topic, matches(pattern, topic))
        for n in (*NUMBERS, 127, 128, 129, 199, 200)
        for topic in ("a" * n,)
        for pattern in (topic, topic[1:] + "b", "b" + topic[1:], topic[1:] or "b", "=", "+")
    ]


def of_false_starts() -> list[Case]:
    """Words between wildcards, which begin once or twice in the topic before they are complete."""
    found = {}
    for size in (2, 3):
        for words in itertools.product("bc", repeat=size):
            whole = ".".join(words)
            begun = [".".join(words[:n]) for n in range(1, size)]
            starts = ["", *begun, *(f"{one}.{one}" for one in begun), *(f"{b}.x" for b in begun)]
            for start, end in itertools.product(starts, ("", "d", "d.d", words[0])):
                topic = ".".join(filter(None, ("a", start, whole, end)))
                for pattern in (f"+.{whole}", f"+.{whole}.+", f"+.{whole}.=", f"=.+.{whole}.+"):
                    found[pattern, topic] = matches(pattern, topic)
    return [(pattern, topic, match) for (pattern, topic), match in found.items()]


TABLE: list[Case] = [
    (row["pattern"], row["topic"], row["matches"] == "yes") for row in vectors.table("match")
]


@functools.cache
def cases() -> list[Case]:
    """All that matching is asked."""
    words = of_all_sizes() + of_long_words() + of_false_starts()
    return TABLE + of_many_terms(NUMBERS) + words


@functools.cache
def longer() -> list[Case]:
    """Topics of which the pattern matches a part only."""
    return [
        (pattern, more, False)
        for pattern, topic, match in TABLE
        if match
        for more in (f"x.{topic}", f"{topic}.x", f"x.{topic}.x")
        if not matches(pattern, more)
    ]


@functools.cache
def published() -> list[Case]:
    """Those that are published as well."""
    uniform = [case for case in of_many_terms([33, 65, 100]) if all(map(_is_uniform, case[:2]))]
    return TABLE + uniform + of_false_starts()[::29]


def _is_uniform(words: str) -> bool:
    return len({*words.split(".")}) == 1


def check_matching(driver: Driver, cases: Iterable[Case]) -> None:
    """The driver has to say for each case whether the pattern matches."""
    wrong = []
    for pattern, topic, expected in cases:
        found = driver.match(pattern, topic)
        if found != expected:
            wrong.append(f"match {pattern!r} {topic!r}: expected {expected}, found {found}")
    assert not wrong, "\n".join(wrong)


def check_verdicts(
    request: Callable[[str], object],
    code: str,
    valid: Iterable[str],
    invalid: Iterable[tuple[str, str]],
) -> None:
    """The request has to accept each valid string, and to refuse each invalid one with this code.

    `invalid` has strings with their faults. A wrong verdict does not end the test of the others.
    """
    wrong = []
    for text, fault in [*((text, "") for text in valid), *invalid]:
        found = "accepted"
        try:
            request(text)
        except Rejected as error:
            found = error.code
        if found != (code if fault else "accepted"):
            wrong.append(f"{text!r} ({fault or 'valid'}): found {found}")
    assert not wrong, "wrong verdicts:\n" + "\n".join(wrong)


def check_publishing(driver: Driver, base: Base, cases: list[Case]) -> None:
    """Every message has to reach the channels whose patterns match its topic, and no others."""
    patterns = sorted({pattern for pattern, _, _ in cases})
    wrong = []
    with ExitStack() as opened:
        channels = [opened.enter_context(base.open(pattern)) for pattern in patterns]
        for topic in sorted({topic for _, topic, _ in cases}):
            expected = {pattern for pattern in patterns if matches(pattern, topic)}
            with answers(f"publish {topic!r}"):
                driver.publish(topic)
            found = {channel.pattern for channel in channels if channel.fetch_all()}
            if found != expected:
                wrong.append(
                    f"publish {topic!r}: missing in the channels {sorted(expected - found)},"
                    f" unwanted in {sorted(found - expected)}"
                )
    assert not wrong, "\n".join(wrong)


# The grammar.


def check_topics(request: Callable[[str], object]) -> None:
    """The request has to accept valid topics only."""
    invalid = [(row["topic"], row["fault"]) for row in INVALID_TOPICS]
    check_verdicts(request, "invalid-topic", VALID_TOPICS, invalid)


def check_patterns(request: Callable[[str], object]) -> None:
    """The request has to accept valid patterns only."""
    invalid = [(row["pattern"], row["fault"]) for row in INVALID_PATTERNS]
    check_verdicts(request, "invalid-pattern", VALID_PATTERNS, invalid)


@pytest.mark.requirement("TOPIC-1", role="topics")
def test_matching_takes_valid_topics_only(driver: Driver) -> None:
    """Matching accepts each valid topic, and refuses each invalid one as invalid-topic."""
    check_topics(lambda topic: driver.match("+", topic))


@pytest.mark.requirement("TOPIC-1", role="publisher")
def test_publishing_takes_valid_topics_only(driver: Driver, base: Base) -> None:
    """Publishing accepts each valid topic, and refuses each invalid one as invalid-topic."""
    with base.open("+"):
        check_topics(driver.publish)


@pytest.mark.requirement("TOPIC-1", role="codec")
def test_encoding_takes_valid_topics_only(driver: Driver) -> None:
    """Encoding accepts each valid topic, and refuses each invalid one as invalid-topic."""
    check_topics(lambda topic: driver.encode(a_message(topic)))


@pytest.mark.requirement("TOPIC-2", role="topics")
def test_matching_takes_valid_patterns_only(driver: Driver) -> None:
    """Matching accepts each valid pattern, and refuses each invalid one as invalid-pattern."""
    check_patterns(lambda pattern: driver.match(pattern, "a.b.c"))


@pytest.mark.requirement("TOPIC-2", role="subscriber")
def test_opening_takes_valid_patterns_only(driver: Driver) -> None:
    """Opening accepts each valid pattern, and refuses each invalid one as invalid-pattern."""
    check_patterns(driver.open)


# Matching.


@pytest.mark.requirement("TOPIC-3", role="topics")
def test_a_literal_word_matches_its_equal(driver: Driver) -> None:
    """A pattern without wildcards matches the same topic and no other."""
    check_matching(driver, literal(cases()))


@pytest.mark.requirement("TOPIC-4", role="topics")
def test_an_equals_sign_matches_one_word(driver: Driver) -> None:
    """`=` matches any one word, never none or several."""
    check_matching(driver, with_one(cases()))


@pytest.mark.requirement("TOPIC-5", role="topics")
def test_a_plus_matches_words(driver: Driver) -> None:
    """`+` matches one word or more, never none."""
    check_matching(driver, with_many(cases()))


@pytest.mark.requirement("TOPIC-6", role="topics")
def test_a_part_of_a_topic_is_not_enough(driver: Driver) -> None:
    """A pattern that matches the beginning, middle or end of a topic does not match it."""
    check_matching(driver, longer() + [case for case in of_many_terms(NUMBERS) if not case[2]])


@pytest.mark.requirement("TOPIC-3", role="publisher")
def test_a_channel_of_literal_words_gets_its_topic(driver: Driver, base: Base) -> None:
    """A channel whose pattern has no wildcard gets the same topic and no other."""
    check_publishing(driver, base, literal(published()))


@pytest.mark.requirement("TOPIC-4", role="publisher")
def test_a_channel_with_an_equals_sign_gets_one_word(driver: Driver, base: Base) -> None:
    """`=` in a channel's pattern matches any one word, never none or several."""
    check_publishing(driver, base, with_one(published()))


@pytest.mark.requirement("TOPIC-5", role="publisher")
def test_a_channel_with_a_plus_gets_words(driver: Driver, base: Base) -> None:
    """`+` in a channel's pattern matches one word or more, never none."""
    check_publishing(driver, base, with_many(published()))


@pytest.mark.requirement("TOPIC-6", role="publisher")
def test_a_channel_gets_no_topic_that_its_pattern_matches_in_part(
    driver: Driver, base: Base
) -> None:
    """A channel whose pattern matches only the beginning, middle or end of a topic does not get
    it."""
    unwanted = []
    cases = longer() + [case for case in published() if not case[2]]
    with ExitStack() as opened:
        patterns = sorted({pattern for pattern, _, _ in cases})
        channels = [opened.enter_context(base.open(pattern)) for pattern in patterns]
        for topic in sorted({topic for _, topic, _ in cases}):
            with answers(f"publish {topic!r}"):
                driver.publish(topic)
            got = [channel.pattern for channel in channels if channel.fetch_all()]
            unwanted += [(p, topic) for p in got if (p, topic, False) in cases]
    assert not unwanted, f"these patterns match only a part of the topic, but got it: {unwanted}"


HOSTILE = [
    ("+." * 49 + "b", "a." * 99 + "a"),
    ("+.a." * 24 + "b", "a." * 99 + "a"),
    ("+.=." * 24 + "b", "a." * 99 + "a"),
    ("+." * 25 + "b." + "+." * 24 + "+", "a." * 99 + "a"),
]
"""Patterns and topics with astronomically many splits: a matcher that tries them all never ends."""


@pytest.mark.requirement("TOPIC-7", role="topics")
@pytest.mark.parametrize(("pattern", "topic"), HOSTILE, ids=["plus", "literal", "one", "middle"])
def test_a_hostile_pattern_is_matched_in_time(driver: Driver, pattern: str, topic: str) -> None:
    """A pattern with fifty wildcards is matched with a topic of a hundred words in time."""
    with answers(f"match {pattern!r} {topic!r}"):
        assert driver.match(pattern, topic) is False
        assert driver.match(pattern, topic[:-1] + "b") is pattern.endswith("b")


@pytest.mark.requirement("TOPIC-7", role="publisher")
@pytest.mark.parametrize(("pattern", "topic"), HOSTILE, ids=["plus", "literal", "one", "middle"])
def test_a_hostile_pattern_does_not_hang_a_publisher(
    driver: Driver, base: Base, pattern: str, topic: str
) -> None:
    """A channel whose pattern has fifty wildcards keeps no message from another channel."""
    with base.open(pattern) as hostile, base.open("+") as other:
        with answers(f"publish {topic!r} past a channel {pattern!r}"):
            count = driver.publish(topic)
        assert count == 1
        assert len(other.fetch_all()) == 1
        assert hostile.fetch_all() == []
