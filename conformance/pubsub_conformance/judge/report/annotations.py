"""Failures as workflow commands of GitHub Actions: a step that prints them gets annotations."""

from __future__ import annotations

from collections.abc import Iterator

from ...excerpt import excerpt
from ..causes import failed_tests
from ..outcome import Outcome, RequirementResult
from .run import RunReport

FOUND_CHARACTERS = 1000


def annotate(report: RunReport) -> str:
    """A line for each failure, the likely causes first: GitHub shows ten of a step."""
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: RunReport) -> Iterator[str]:
    for problem in report.problems:
        yield _command("error", "Could not be judged", problem)
    causes = report.causes
    for result in (*(cause.result for cause in causes), *report.stale):
        yield _annotation(report, result)
    for cause in causes:
        for result in cause.others:
            yield _annotation(report, result, f", with {cause.requirement.id}")


def _annotation(report: RunReport, result: RequirementResult, more: str = "") -> str:
    requirement = result.requirement
    level = "warning" if result.outcome is Outcome.WARNING else "error"
    title = f"{requirement.id} {requirement.title}{more}"
    return _command(level, title, _message(report, result))


def _message(report: RunReport, result: RequirementResult) -> str:
    tests = failed_tests(result)
    found = tests[0].reason if tests else result.reason
    sentence = " ".join(result.requirement.text.split())
    return "\n".join(
        [sentence, excerpt(found, FOUND_CHARACTERS), report.repeat(result.requirement)]
    )


def _command(level: str, title: str, message: str) -> str:
    return f"::{level} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
