"""From the outcomes of tests to the outcome of each requirement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..requirements import Requirement
from .expected import Expected


class Outcome(Enum):
    """Of a test or a requirement, from the least to the most serious.

    A proven failure outweighs a driver error, which leaves open what the implementation does.
    """

    NOT_APPLICABLE = "not applicable"
    UNTESTED = "untested"
    PASS = "pass"
    NOT_RUN = "not run"
    WARNING = "warning"
    EXPECTED_FAILURE = "expected failure"
    DRIVER_ERROR = "driver error"
    UNEXPECTED_PASS = "unexpected pass"
    FAIL = "fail"


RANK = {outcome: rank for rank, outcome in enumerate(Outcome)}
STYLE = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.UNEXPECTED_PASS: "bold red",
    Outcome.DRIVER_ERROR: "bold magenta",
    Outcome.EXPECTED_FAILURE: "yellow",
    Outcome.WARNING: "yellow",
}
JUDGED = set(Outcome) - {Outcome.NOT_APPLICABLE, Outcome.UNTESTED, Outcome.NOT_RUN}
"""The outcomes that say something about the implementation."""


@dataclass
class TestResult:
    """One test of the suite; `reason` says what was found where it did not pass."""

    __test__ = False  # pytest must not collect it

    name: str
    outcome: Outcome
    seconds: float = 0.0
    reason: str = ""
    expected: str = ""
    done: str = ""
    base: str = ""

    def as_dict(self, kind: str = "name") -> dict[str, Any]:
        """The result as JSON, with the name in the field `kind`."""
        found = {kind: self.name, "outcome": self.outcome.value, "seconds": round(self.seconds, 3)}
        for field in ("reason", "expected", "done", "base"):
            if text := getattr(self, field):
                found[field] = text
        return found


@dataclass(frozen=True)
class RequirementResult:
    """The outcome of a requirement, and the tests that led to it."""

    requirement: Requirement
    outcome: Outcome
    reason: str
    tests: Sequence[TestResult]
    judged: Sequence[Outcome] = ()
    """What each of the tests means for the requirement, such as an expected failure."""


def failure_of(requirement: Requirement, expected: Mapping[str, Expected]) -> Outcome:
    """The outcome of a requirement one of whose tests failed."""
    if requirement.id in expected:
        return Outcome.EXPECTED_FAILURE
    return Outcome.FAIL if requirement.level == "MUST" else Outcome.WARNING


def combine(
    requirement: Requirement, tests: Sequence[TestResult], expected: Mapping[str, Expected]
) -> RequirementResult:
    """The most serious outcome of the tests. `expected` has the expected failures by id."""
    if not tests:
        reason = requirement.untested or "no test of this run names it"
        return RequirementResult(requirement, Outcome.UNTESTED, reason, tests)
    judged = [
        failure_of(requirement, expected) if test.outcome is Outcome.FAIL else test.outcome
        for test in tests
    ]
    outcome, worst = max(zip(judged, tests, strict=True), key=lambda pair: RANK[pair[0]])
    reason = worst.reason
    failure = expected.get(requirement.id)
    if outcome is Outcome.PASS and failure and not failure.sometimes:
        outcome = Outcome.UNEXPECTED_PASS
        judged = [outcome if test.outcome is Outcome.PASS else test.outcome for test in tests]
        reason = f"is listed as an expected failure: {failure.reason}"
    elif outcome is Outcome.EXPECTED_FAILURE and failure:
        reason = failure.reason
    elif outcome is Outcome.NOT_RUN:
        missing = [test for test in tests if test.outcome is Outcome.NOT_RUN]
        if len(missing) < len(tests):  # the others say something, but not all there is to say
            reason = f"{len(missing)} of {len(tests)} tests: {reason}"
    return RequirementResult(requirement, outcome, reason, tests, judged)
