"""From the outcomes of tests to the outcome of each requirement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple

from ..requirements import Requirement
from .expected import Listed, entry_of


class Outcome(Enum):
    """Of a test or a requirement, from the least to the most serious.

    A proven failure outweighs a driver error, which leaves open what the implementation does.
    """

    NOT_APPLICABLE = "not applicable"
    UNTESTED = "untested"
    PASS = "pass"
    NOT_RUN = "not run"
    FLAKY = "flaky"
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
    Outcome.FLAKY: "yellow",
    Outcome.WARNING: "yellow",
}
JUDGED = set(Outcome) - {
    Outcome.NOT_APPLICABLE,
    Outcome.UNTESTED,
    Outcome.NOT_RUN,
    Outcome.FLAKY,
}
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
    reasons: Mapping[str, str] = field(default_factory=dict)
    """What was found of each requirement that this test found broken; empty: `reason`, of all."""

    def about(self, requirement: str) -> TestResult:
        """What the test says of one of its requirements."""
        if not self.reasons:
            return self
        if requirement in self.reasons:
            return replace(self, reason=self.reasons[requirement], reasons={})
        return TestResult(self.name, Outcome.PASS, self.seconds)

    def as_dict(self, kind: str = "name") -> dict[str, Any]:
        """The result as JSON, with the name in the field `kind`."""
        found = {kind: self.name, "outcome": self.outcome.value, "seconds": round(self.seconds, 3)}
        for name in ("reason", "expected", "done", "base"):
            if text := getattr(self, name):
                found[name] = text
        return found


class Judged(NamedTuple):
    """What a test means for a requirement, and why."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class RequirementResult:
    """The outcome of a requirement, and the tests that led to it."""

    requirement: Requirement
    outcome: Outcome
    reason: str
    tests: Sequence[TestResult]
    judged: Sequence[Judged] = ()
    """What each of the tests means; empty: what its own outcome says."""

    @property
    def judgements(self) -> list[tuple[TestResult, Judged]]:
        """Each test, and what it means for the requirement."""
        judged = self.judged or [Judged(test.outcome, test.reason) for test in self.tests]
        return list(zip(self.tests, judged, strict=True))


def judge(requirement: Requirement, test: TestResult, listed: Listed) -> Judged:
    """What a test means for a requirement, beside the list of expected failures."""
    key = entry_of(listed, requirement.id, test.name)
    entry = listed[key] if key else None
    if entry and entry.flaky and test.outcome in {Outcome.PASS, Outcome.FAIL}:
        passed = "passed" if test.outcome is Outcome.PASS else "failed"
        return Judged(Outcome.FLAKY, f"{entry.reason} (it {passed} this time)")
    if test.outcome is not Outcome.FAIL:
        return Judged(test.outcome, test.reason)
    if entry:
        return Judged(Outcome.EXPECTED_FAILURE, entry.reason)
    return Judged(Outcome.FAIL if requirement.level == "MUST" else Outcome.WARNING, test.reason)


def combine(
    requirement: Requirement, tests: Sequence[TestResult], listed: Listed
) -> RequirementResult:
    """The most serious outcome of the tests, beside the list of expected failures."""
    if not tests:
        reason = requirement.untested or "no test of this run names it"
        return RequirementResult(requirement, Outcome.UNTESTED, reason, tests)
    judged = [judge(requirement, test, listed) for test in tests]
    keys = [entry_of(listed, requirement.id, test.name) for test in tests]
    for key in {*keys} - {None}:
        assert key
        places = [place for place, each in enumerate(keys) if each == key]
        worst = max((judged[place].outcome for place in places), key=RANK.__getitem__)
        if worst is Outcome.PASS and not listed[key].sometimes:
            reason = f"is listed as an expected failure: {listed[key].reason}"
            for place in places:
                if judged[place].outcome is Outcome.PASS:
                    judged[place] = Judged(Outcome.UNEXPECTED_PASS, reason)
    outcome, reason = max(judged, key=lambda each: RANK[each.outcome])
    if outcome is Outcome.NOT_RUN:
        missing = [test for test in tests if test.outcome is Outcome.NOT_RUN]
        if len(missing) < len(tests):  # the others say something, but not all there is to say
            reason = f"{len(missing)} of {len(tests)} tests: {reason}"
    return RequirementResult(requirement, outcome, reason, tests, judged)
