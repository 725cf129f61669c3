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
        "TOPIC-4",
        "keeps a bit for each term in a word of 64 bits",
        Edit(
            "matches",
            None,
            """
            terms, reached = pattern.split("."), 1
            for word in topic.split("."):
                before, reached = reached, 0
                for n, term in enumerate(terms):
                    if term in ("=", "+", word) and before >> n % 64 & 1:
                        reached |= 1 << (n + 1) % 64
                    if term == "+" and before >> (n + 1) % 64 & 1:
                        reached |= 1 << (n + 1) % 64
            return bool(reached >> len(terms) % 64 & 1)
            """,
        ),
    ),
    Mutant(
        "TOPIC-5",
        "looks for the words between two + where the first of them comes first",
        Edit(
            "matches",
            None,
            """
            words, terms = topic.split("."), pattern.split(".")
            reached = {0}
            for i, term in enumerate(terms):
                if term == "+":
                    reached = set(range(min(reached) + 1, len(words) + 1))
                else:
                    reached = {
                        n + 1 for n in reached if n < len(words) and term in ("=", words[n])
                    }
                    if "+" in terms[i:] and reached:
                        reached = {min(reached)}
                if not reached:
                    return False
            return len(words) in reached
            """,
        ),
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
