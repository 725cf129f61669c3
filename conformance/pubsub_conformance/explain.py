"""One requirement in full: its text, the tests that check it, the mutant that showed it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from . import requirements, traceability
from .requirements import Requirement

MUTANTS = requirements.PACKAGE / "mutants.json"
"""For each MUST, how a reference broke it on trial, and which tests caught that."""


def text(requirement: Requirement) -> str:
    """The text, for people."""
    return "\n".join(_lines(requirement)) + "\n"


def _lines(requirement: Requirement) -> Iterator[str]:
    roles = ", ".join(requirement.roles)
    yield f"{requirement.id}  {requirement.title}"
    yield f"({requirement.level}; {roles}; {requirement.file})"
    yield requirement.text
    if requirement.untested:
        yield f"Untested: {requirement.untested}"
        return
    for trace in traceability.traces():
        if trace.requirement == requirement.id:
            through = f" ({', '.join(sorted(trace.roles))})" if trace.roles else ""
            yield f"\n  {trace.test}{through}\n    {trace.says}."
    for mutant in json.loads(MUTANTS.read_text(encoding="utf-8")):
        if mutant["requirement"] == requirement.id:
            yield f"\n  mutant of the reference: {mutant['mutant']};"
            yield f"    caught by {', '.join(mutant['caught_by'])}"
