"""Topics and patterns (spec/topics.md)."""

from __future__ import annotations

from mutation import Edit, Mutant

MUTANTS = [
    Mutant(
        "TOPIC-1",
        "takes a trailing line feed (formix-pubsub)",
        Edit("_topic", r'rf"{WORD}(?:\.{WORD})*"', r'rf"{WORD}(?:\.{WORD})*\n?"'),
    ),
    Mutant(
        "TOPIC-2",
        "takes any of the characters anywhere (formix-pubsub)",
        Edit("_pattern", "PATTERN", '"[a-zA-Z0-9+=.-]+"'),
    ),
    Mutant(
        "TOPIC-3",
        "case does not count",
        Edit("matches", 'term in ("=", words[n])', 'term.lower() in ("=", words[n].lower())'),
    ),
    Mutant(
        "TOPIC-4",
        "= is one character (formix-pubsub)",
        Edit(
            "matches",
            'term in ("=", words[n])',
            '(term == words[n] or (term == "=" and len(words[n]) == 1))',
        ),
    ),
    Mutant("TOPIC-5", "+ may be no word", Edit("matches", "min(reached) + 1", "min(reached)")),
    Mutant(
        "TOPIC-6",
        "the beginning is enough",
        Edit("matches", "len(words) in reached", "bool(reached)"),
    ),
    Mutant(
        "TOPIC-7",
        "a backtracking regular expression (formix-pubsub)",
        Edit(
            "matches",
            None,
            r"""
            terms = {".": r"\.", "=": "[^.]+", "+": r"[^.]+(?:\.[^.]+)*"}
            return bool(re.fullmatch("".join(terms.get(c, c) for c in pattern), topic))
            """,
        ),
    ),
]
