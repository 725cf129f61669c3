"""The oracle's topics and patterns (topics.md).

Every page of the oracle is written from the specification alone, and differs from the reference, so
that one misreading cannot hide the other. It is simple rather than fast.
"""

from __future__ import annotations

import functools
import re

WORD = r"[A-Za-z0-9-]+"
TERM = rf"(?:{WORD}|=|\+)"
TOPIC = re.compile(rf"{WORD}(?:\.{WORD})*")
PATTERN = re.compile(rf"{TERM}(?:\.{TERM})*")
LONGEST_TOPIC = 200
"""The most octets of a topic, and of a pattern."""


def is_topic(text: str) -> bool:
    """Whether this is a topic (TOPIC-1)."""
    return len(text) <= LONGEST_TOPIC and TOPIC.fullmatch(text) is not None


def is_pattern(text: str) -> bool:
    """Whether this is a pattern (TOPIC-2)."""
    return len(text) <= LONGEST_TOPIC and PATTERN.fullmatch(text) is not None


@functools.lru_cache(maxsize=4096)
def matches(pattern: str, topic: str) -> bool:
    """Whether the pattern matches the topic (TOPIC-4 to TOPIC-6).

    Raises ValueError if one of them is invalid.
    """
    if not (is_pattern(pattern) and is_topic(topic)):
        raise ValueError(f"not a pattern and a topic: {pattern!r}, {topic!r}")
    terms, words = pattern.split("."), topic.split(".")

    @functools.cache
    def fits(term: int, word: int) -> bool:
        """Whether the terms from this index on match the words from this index on."""
        if term == len(terms):
            return word == len(words)
        if word == len(words):
            return False
        if terms[term] == "+":  # it matches this word, and perhaps the next one as well
            return fits(term + 1, word + 1) or fits(term, word + 1)
        return terms[term] in ("=", words[word]) and fits(term + 1, word + 1)

    return fits(0, 0)
