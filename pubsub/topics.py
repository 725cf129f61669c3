"""The grammar of topics and patterns, and matching (spec/topics.md). No I/O."""

from __future__ import annotations

import re
from functools import lru_cache

MAX_TOPIC_OCTETS = 200  # TOPIC-1, TOPIC-2

WORD = r"[A-Za-z0-9-]+"
TERM = rf"(?:{WORD}|=|\+)"
PATTERN = rf"{TERM}(?:\.{TERM})*"

_topic = re.compile(rf"{WORD}(?:\.{WORD})*").fullmatch
_pattern = re.compile(PATTERN).fullmatch


class InvalidTopic(ValueError):
    """The caller's topic does not match the grammar (TOPIC-1)."""


class InvalidPattern(ValueError):
    """The caller's pattern does not match the grammar (TOPIC-2)."""


def check_topic(topic: str) -> str:
    """The topic, as a plain `str`. Raises InvalidTopic (TOPIC-1), TypeError."""
    if type(topic) is not str:  # as `plain` does, which is a call more in each publish
        topic = plain(topic, "topic")
    _check_topic(topic)
    return topic


def check_pattern(pattern: str) -> str:
    """The pattern, as a plain `str`. Raises InvalidPattern (TOPIC-2), TypeError."""
    pattern = plain(pattern, "topic")  # as the argument of Channel is called
    _check_pattern(pattern)
    return pattern


def plain(text: str, name: str) -> str:
    """The characters of a `str`, whatever a subclass of it makes of them (an enumeration's member).

    What was checked is then what is used. Raises TypeError, which calls the argument by `name`.
    """
    if type(text) is str:
        return text
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, not {type(text).__name__}")
    return str.__str__(text)


@lru_cache(maxsize=1024)  # the same few topics come again and again
def _check_topic(topic: str) -> None:
    if len(topic) > MAX_TOPIC_OCTETS or not _topic(topic):
        raise InvalidTopic(
            f"Topic {_shown(topic)} {_fault(topic, 'a-zA-Z0-9.-')}: a topic is words of"
            f" [a-zA-Z0-9-] joined by dots, allowed are [a-zA-Z0-9.-] and"
            f" 1 to {MAX_TOPIC_OCTETS} characters"
        )


def _check_pattern(pattern: str) -> None:
    if len(pattern) > MAX_TOPIC_OCTETS or not _pattern(pattern):
        raise InvalidPattern(
            f"Pattern {_shown(pattern)} {_fault(pattern, 'a-zA-Z0-9+=.-')}: a pattern is words of"
            f" [a-zA-Z0-9-], or = (any one word), or + (one or more words), joined by dots, allowed"
            f" are [a-zA-Z0-9+=.-] and 1 to {MAX_TOPIC_OCTETS} characters"
        )


def matches(pattern: str, topic: str) -> bool:
    """Whether `pattern` matches `topic`, both known to be valid (TOPIC-3 to TOPIC-7)."""
    words = topic.split(".")
    # The numbers of leading words that the terms so far can match. Each term takes at most one
    # step a word, and nothing is tried twice, however many `+` there are (TOPIC-7).
    reached: set[int] | range = {0}
    for term in pattern.split("."):
        if term == "+":
            reached = range(min(reached) + 1, len(words) + 1)
        else:
            reached = {n + 1 for n in reached if n < len(words) and term in ("=", words[n])}
        if not reached:
            return False
    return len(words) in reached


def overlap(pattern: str, other: str) -> bool:
    """Whether some topic matches both patterns, both known to be valid."""
    first, second = pattern.split("."), other.split(".")
    # Numbers of terms of each that words so far can match. A word is one step in both, where a `+`
    # that has matched it may go on.
    reached = {(0, 0)}
    ahead = [(0, 0)]
    while ahead:
        m, n = ahead.pop()
        if m == len(first) or n == len(second):
            continue
        one, two = first[m], second[n]
        if one != two and not {one, two} & {"=", "+"}:
            continue
        steps = {(m + 1 - a, n + 1 - b) for a in (0, one == "+") for b in (0, two == "+")}
        ahead += steps - reached
        reached |= steps
    return (len(first), len(second)) in reached


def _fault(text: str, allowed: str) -> str:
    if not text:
        return "is empty"
    if len(text) > MAX_TOPIC_OCTETS:
        return f"has {len(text)} characters"
    foreign = sorted(set(re.sub(f"[{allowed}]", "", text)))
    return f"contains invalid characters {foreign}" if foreign else "is malformed"


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_TOPIC_OCTETS else text[:MAX_TOPIC_OCTETS] + "...")
