"""Writes spec/model/rules.md: what in the models stands for which requirement.

    python tests/tools/model_page.py

All words are those of the models. The table is made from their text alone, and a test compares it.
The schedules are made by SPIN: one of the shortest that breaks each rule.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import forced
from model import ALSO, BY_SPIN, CONFIGURATIONS, MODELS, NAMED, search, words
from mutants.within import WITHIN

PAGE = MODELS / "rules.md"
MOST = 4
"""How many tests of one rule the page names."""
ID = re.compile(r"[A-Z]+-\d+")
IDS = r"[A-Z]+-\d+(?:, [A-Z]+-\d+)*"

# Why no rule of a model is broken for a requirement that is about other processes.
STRANGER = (
    "it is about somebody who replaces files on purpose; the cleaner of the models only removes, "
    "and a look before a step proves nothing against an attacker"
)
ROOM = "it is about how many messages a queue takes; a publisher that is wrong about it gets EAGAIN"
OCTETS = "it is about octets, which the models do not have"
ALONE = "it is about one process alone"
MODES = "it is about modes, which the models do not have"
REASONS = {
    "BASE-3": MODES,
    "BASE-8": MODES,
    "BASE-9": MODES,
    "BASE-15": STRANGER,
    "CHAN-8": "it is about the flags of a descriptor",
    "CHAN-15": STRANGER,
    "FETCH-5": STRANGER,
    "FETCH-7": STRANGER,
    "INLINE-1": (
        "the marker is in the directory before the rename that CHAN-10 is about; a marked channel "
        "of the models is marked from its opening on"
    ),
    "INLINE-2": ALONE,
    "INLINE-4": ALONE,
    "INLINE-5": STRANGER,
    "INLINE-6": OCTETS,
    "INLINE-8": OCTETS,
    "INLINE-9": OCTETS,
    "INLINE-10": "damage needs somebody who breaks INLINE-7, and then see there",
    "INLINE-12": ROOM,
    "INLINE-13": ROOM,
    "INLINE-19": "it bounds what is lost with an owner; no promise depends on the number",
    "INLINE-22": ALONE,
    "INLINE-23": ALONE,
    "INLINE-24": ALONE,
    "INLINE-25": "it is about the memory of a queue, which the models do not have",
    "PUB-16": "the steps after EPIPE are in the models; a signal is about one process alone",
    "REAP-14": "the steps after ENOENT are in the model; whether it is an error is not",
    "REAP-18": (
        "such a directory came with a container image, and no process opens its queue; what is "
        "left is a removal as in steps 3 and 4 of closing, which the model has"
    ),
}


@dataclass(frozen=True)
class Rule:
    """A rule that a macro breaks."""

    macro: str
    requirements: tuple[str, ...]
    text: str
    """What is done instead."""


def models() -> list[str]:
    """The names of the models."""
    return sorted({configuration.model for configuration in CONFIGURATIONS})


def rules(model: str) -> dict[str, Rule]:
    """The rules that a model can break, by their macros."""
    source = (MODELS / f"{model}.pml").read_text(encoding="utf-8")
    found = re.findall(
        rf"^#(?:if|elif|ifdef|ifndef) (?:defined\()?(\w+)\)? +/\* ({IDS}): (.*) \*/$",
        source,
        re.MULTILINE,
    )
    return {macro: Rule(macro, tuple(ID.findall(ids)), text) for macro, ids, text in found}


def steps(model: str) -> dict[str, list[str]]:
    """What stands for each requirement in a model: steps and assertions, without the rules."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    source = (MODELS / f"{model}.pml").read_text(encoding="utf-8").splitlines()
    for line, comment in zip(source, words(model), strict=True):
        if line.startswith("#") or not comment:
            continue
        name = NAMED.match(comment)
        text = f"*{name[1]}*" if name else re.sub(rf" \({IDS}\)$", "", plain(comment))
        for requirement in ID.findall(comment):
            if text not in found[requirement]:
                found[requirement].append(text)
    return found


def plain(step: str) -> str:
    """A step as Markdown."""
    return step.replace("<", "&lt;")


def table() -> str:
    """The table of requirements, and the list of those that have no rule."""
    titles = {
        requirement["id"]: requirement["title"]
        for requirement in json.loads((MODELS.parent / "requirements.json").read_bytes())[
            "requirements"
        ]
    }
    found_by = {
        (configuration.model, rule): name
        for configuration in CONFIGURATIONS
        for rule, name in configuration.broken.items()
    }
    rows = []
    for requirement, title in titles.items():
        for model in models():
            stands = steps(model).get(requirement, [])
            broken = [rule for rule in rules(model).values() if requirement in rule.requirements]
            if stands or broken:
                breaks = [
                    f"[`{rule.macro}`](#{rule.macro.lower()}): {rule.text} "
                    f"→ *{found_by[model, rule.macro]}*"
                    for rule in broken
                ]
                cells = [
                    f"{requirement} {title}",
                    f"`{model}`",
                    "; ".join(stands),
                    "; ".join(breaks),
                ]
                rows.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    reasons = [
        f"- {requirement}: {REASONS[requirement]}."
        for requirement in titles
        if requirement in REASONS
    ]
    return "\n".join(
        [
            "| requirement | model | what stands for it | broken rule → what finds it |",
            "|---|---|---|---|",
            *rows,
            "",
            "## No rule is broken",
            "",
            "These requirements are about several processes or the lane, and no model breaks them:",
            "",
            *reasons,
        ]
    )


def alone() -> str:
    """What finds a broken rule if the assertion that is meant for it is switched off."""
    rows = []
    for rule, (names, why) in sorted(ALSO.items()):
        meant = next(one.broken[rule] for one in CONFIGURATIONS if rule in one.broken)
        found = ", ".join(f"*{name}*" for name in names)
        rows.append(f"| [`{rule}`](#{rule.lower()}) | *{meant}* | {found} | {why} |")
    return "\n".join(
        [
            "| broken rule | found by | without it, by | for |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def forced_table() -> str:
    """For each broken rule, the mutant of the reference and the tests that force its schedule."""
    rows = []
    for macro in sorted(forced.MUTANTS):
        requirement, fault = forced.MUTANTS[macro]
        kind, tests = forced.forced_by(macro)
        named = ", ".join(f"`{test}`" for test in tests[:MOST])
        named += f" and {len(tests) - MOST} more" * (len(tests) > MOST)
        rows.append(f"| [`{macro}`](#{macro.lower()}) | {requirement}: {fault} | {kind}: {named} |")
    kinds = [f"- *{kind}*: {text}." for kind, text in forced.KINDS.items()]
    within = [
        f"| [`{macro}`](#{macro.lower()}) | {mutant.requirement}: {mutant.what} | `{test}` |"
        for macro, (mutant, test) in sorted(WITHIN.items())
    ]
    reasons = [f"- `{macro}`: {reason}." for macro, reason in sorted(forced.REASONS.items())]
    return "\n".join(
        [
            *kinds,
            "",
            "| broken rule | mutant of the reference | caught by |",
            "|---|---|---|",
            *rows,
            "",
            "A driver serves one request at a time, and no other process makes a handler raise",
            "an exception between two instructions. So tests of the reference force these:",
            "",
            "| broken rule | mutant of the reference | caught by, in `tests/reference/` |",
            "|---|---|---|",
            *within,
            "",
            "Nothing forces these:",
            "",
            *reasons,
        ]
    )


def schedules() -> str:
    """For each rule, the steps that lead to what finds it."""
    chosen = [
        (configuration, rule) for configuration in CONFIGURATIONS for rule in configuration.broken
    ]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda one: search(*one), chosen))
    parts = []
    for (configuration, macro), result in zip(chosen, results, strict=True):
        rule = rules(configuration.model)[macro]
        found = f"*{result.found}*" + (
            f" ({BY_SPIN[result.found]})" if result.found in BY_SPIN else ""
        )
        parts += [
            f"### {macro}",
            "",
            f"{', '.join(rule.requirements)} is broken: {rule.text}. "
            f"Model `{configuration.model}`, `{configuration.macros}`; found by {found}.",
            "",
            *(f"1. {plain(step)}" for step in result.schedule),
            "",
        ]
    return "\n".join(parts)


def page(schedules: str) -> str:
    """The whole page."""
    return f"""\
# Requirements, and the rules of the models

*Informative.* `tests/tools/model_page.py` makes this page from the [models](README.md). A step
whose comment names a requirement stands for it, and so does an assertion, in *italics*. The rule
that a macro breaks is found by the assertion behind the arrow. Steps have the numbers of the
specification's pages; `lane` means the steps of inline.md.

{table()}

## Found by nothing else

Each broken rule is searched again with the assertion that finds it switched off. Then nothing
finds it, except for these rules. Other assertions find them later, one after the other:

{alone()}

## On implementations

A schedule says what goes wrong in a model. For each rule, a mutant of the reference breaks the same
rule, and these tests of the conformance kit bring about the schedule and catch it:

{forced_table()}

## Schedules

For each broken rule, one of the shortest orders of steps that breaks a promise. The last step is
the last one before the promise is seen to be broken.

{schedules}"""


if __name__ == "__main__":
    PAGE.write_text(page(schedules()), encoding="utf-8")
