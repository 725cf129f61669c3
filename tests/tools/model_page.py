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

from model import BY_SPIN, CONFIGURATIONS, MODELS, NAMED, search, words

PAGE = MODELS / "rules.md"
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
REASONS = {
    "BASE-15": STRANGER,
    "CHAN-8": "it is about the flags of a descriptor",
    "CHAN-15": STRANGER,
    "CHAN-22": STRANGER,
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
    "REAP-14": "the steps after ENOENT are in the model; whether it is an error is not",
    "REAP-18": "the models have no file system that refuses to rename a directory for good",
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

## Schedules

For each broken rule, one of the shortest orders of steps that breaks a promise. The last step is
the last one before the promise is seen to be broken.

{schedules}"""


if __name__ == "__main__":
    PAGE.write_text(page(schedules()), encoding="utf-8")
