"""The failed requirements, the likely cause first, each with those that fell with it.

One fault fails many tests. Where the same finding is behind several requirements, they are one
cause: the requirement that most of these tests are about leads, and the others fell with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..requirements import Requirement
from .findings import sentence, signature
from .outcome import JUDGED, RANK, Outcome, RequirementResult, TestResult

FAILED = {Outcome.FAIL, Outcome.DRIVER_ERROR, Outcome.WARNING}
# These tests do everything at once, and find the faults of every page.
_SEARCHES = ("test_stress.py", "test_lockstep.py")
# Without a driver that answers nothing else is known; the guarantees fall with every other page.
_FIRST, _LAST = "driver", "guarantee"
_SAYS_SOMETHING = re.compile(r"(?!expected|found|assert)\b[a-z]{2,}")
_IN_TMP = re.compile(r"(?<![\w/])tmp/(\d+)\b")  # a message, by its name in a listing


@dataclass(frozen=True)
class Cause:
    """A failed requirement, and those that fell with it."""

    result: RequirementResult
    test: TestResult
    """The failed test that shows the fault most plainly."""
    sentence: str
    """What this test expected and found, in one line."""
    others: Sequence[RequirementResult]
    """Each of their findings is one of this requirement too."""

    @property
    def requirement(self) -> Requirement:
        """The requirement that leads."""
        return self.result.requirement


def failed_tests(result: RequirementResult) -> list[TestResult]:
    """The tests of a requirement that failed, the plainest first.

    A proven failure is plainer than a driver error, a test of its own page plainer than a search,
    and a short one plainer than a long one.
    """
    failed = [test for test, judged in result.judgements if judged.outcome in FAILED]

    def is_less_plain(test: TestResult) -> tuple[object, ...]:
        file, _, _ = test.name.partition("::")
        of_other_page = result.requirement.key not in file
        return -RANK[test.outcome], of_other_page, _is_search(test), len(test.done)

    return sorted(failed, key=is_less_plain)


def causes(results: Sequence[RequirementResult]) -> list[Cause]:
    """What failed, the likely cause first.

    First the most serious outcomes; then what explains most requirements; then what a test of its
    own shows; then in the order of the pages, which build on each other.
    """
    failed = [result for result in results if result.outcome in FAILED]
    findings = {result.requirement.id: _findings(result) for result in failed}
    place = {result.requirement.id: place for place, result in enumerate(failed)}

    def rank(result: RequirementResult) -> tuple[object, ...]:
        key = result.requirement.key
        return (
            -RANK[result.outcome],
            _is_search(failed_tests(result)[0]),
            key != _FIRST,
            key == _LAST,
            place[result.requirement.id],
        )

    found = list(_grouped(sorted(failed, key=rank), findings))
    return sorted(
        found,
        key=lambda cause: (-RANK[cause.result.outcome], -len(cause.others), *rank(cause.result)),
    )


def _grouped(
    ranked: Sequence[RequirementResult], findings: Mapping[str, Sequence[str]]
) -> Iterator[Cause]:
    """Each requirement once: in a lead, or among those that fell with one."""

    def is_about_it(result: RequirementResult) -> tuple[int, float]:
        """How many of its tests found something, and which part of those that ran."""
        number = len(findings[result.requirement.id])
        return number, number / sum(test.outcome in JUDGED for test in result.tests)

    left = sorted(ranked, key=is_about_it, reverse=True)  # which keeps the rank
    while left:
        lead, *left = left
        own = set(findings[lead.requirement.id])
        others = [one for one in left if own.issuperset(findings[one.requirement.id])]
        left = [one for one in left if one not in others]
        test = failed_tests(lead)[0]
        in_order = [result for result in ranked if result in others]
        yield Cause(lead, test, sentence(test.reason), in_order)


def _findings(result: RequirementResult) -> list[str]:
    """What each failed test found, in the same words where it is the same."""
    return [_finding(test) for test in failed_tests(result)]


def _finding(test: TestResult) -> str:
    """A message that is left in `tmp` is one finding, whatever the test was about."""
    if _IN_TMP.search(test.reason) or any(
        name in test.reason for name in _IN_TMP.findall(test.base)
    ):
        return "a message is left in tmp"
    words = signature(sentence(test.reason))
    return words if _SAYS_SOMETHING.search(words) else test.name


def _is_search(test: TestResult) -> bool:
    return test.name.startswith(_SEARCHES)
