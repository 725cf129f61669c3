"""The report of `run`: an outcome for each requirement."""

from __future__ import annotations

import functools
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from ...excerpt import excerpt
from ...requirements import Requirement
from ..causes import Cause, causes, failed_tests
from ..expected import Listed
from ..findings import sentence
from ..outcome import JUDGED, STYLE, Outcome, RequirementResult, TestResult
from ..verdict import Verdict, conclude
from . import count
from .last_screen import LastScreen
from .machine import platform_on

TESTS_SHOWN = 3  # with all their evidence, of those of one requirement that failed
_REASONS_SHOWN = 3  # why tests were not run
_REASON_CHARACTERS = 80
# What a reader must act on is shown with all its evidence.
SHOWN_IN_FULL = {Outcome.FAIL, Outcome.DRIVER_ERROR, Outcome.WARNING}


@dataclass
class RunReport:
    """All that the report of a run says."""

    implementation: Mapping[str, Any]  # what its driver said of it; empty without a handshake
    command: Sequence[str]
    home: str | None
    seed: int
    started: str  # ISO 8601, UTC
    seconds: float
    file_system: str
    results: Sequence[RequirementResult]
    problems: Sequence[str] = field(default_factory=list)  # why something could not be judged
    interrupted: bool = False
    requirements: str | None = None  # the file that had them, if not the kit itself
    expected: Listed = field(default_factory=dict)  # the list of expected failures
    complete: bool = False  # nothing was left out of the selection
    quiet: bool = False  # the screen does not show what passed

    @property
    def name(self) -> str:
        """The implementation and its version, or its driver if that did not say."""
        said = self.implementation
        return f"{said['implementation']} {said['version']}" if said else shlex.join(self.command)

    @property
    def outcomes(self) -> set[Outcome]:
        """The outcomes that occurred."""
        return {result.outcome for result in self.results}

    @property
    def verdict(self) -> Verdict:
        """Whether the implementation conforms."""
        return conclude(
            interrupted=self.interrupted,
            broken=bool(self.outcomes & {Outcome.FAIL, Outcome.UNEXPECTED_PASS}),
            judged=not self.problems
            and Outcome.DRIVER_ERROR not in self.outcomes
            and bool(self.outcomes & JUDGED),
        )

    @property
    def counts(self) -> dict[str, int]:
        """The number of requirements by outcome, the most serious outcome first."""
        counted = Counter(result.outcome for result in self.results)
        return {o.value: counted[o] for o in reversed(Outcome) if counted[o]}

    @functools.cached_property
    def causes(self) -> Sequence[Cause]:
        """What failed, the likely cause first, each with the requirements that fell with it."""
        return causes(self.results)

    @property
    def failures(self) -> Sequence[RequirementResult]:
        """What a reader must act on: each cause, what fell with it, and entries to strike out."""
        failed = [result for cause in self.causes for result in (cause.result, *cause.others)]
        return [*failed, *self.stale]

    def repeat(self, requirement: Requirement) -> str:
        """The command line that judges this requirement again."""
        home = ["--home", self.home] if self.home else []
        pinned = ["--requirements", self.requirements] if self.requirements else []
        options = ["--requirement", requirement.id, *pinned, *home, "--seed", str(self.seed)]
        return shlex.join(["pubsub-conformance", "run", *options, "--", *self.command])

    @property
    def stale(self) -> Sequence[RequirementResult]:
        """What is listed as an expected failure, and passes."""
        return [result for result in self.results if result.outcome is Outcome.UNEXPECTED_PASS]

    @property
    def conclusion(self) -> str:
        """The verdict, in words that follow the name."""
        if self.interrupted:
            return "was not judged: interrupted, the report is partial"
        if not self.results and self.problems:
            return str(self.verdict)
        if not self.results:
            return "was not judged: no requirement matches all of the options"
        if not self.outcomes & JUDGED:
            return "was not judged: nothing that was selected could be tested"
        if self.verdict is Verdict.BROKEN and Outcome.FAIL not in self.outcomes:
            return "passes what it should fail: the list of expected failures is out of date"
        said = str(self.verdict)
        if self.verdict is not Verdict.CONFORMS:
            return said
        if expected := self.counts.get(Outcome.EXPECTED_FAILURE.value, 0):
            said += f", but for {count(expected, 'expected failure')}"
        if missing := self.counts.get(Outcome.NOT_RUN.value, 0):
            comma = "," if expected else ""
            were = "was" if missing == 1 else "were"
            said += f"{comma} in all that could be run here"
            said += f"; {count(missing, 'requirement')} {were} not"
            if reasons := self._not_looked_at():
                said += f": {'; '.join(reasons)}"
        return said

    def _not_looked_at(self) -> list[str]:
        """Why tests were not run, the most frequent reasons first."""
        tests = {test.name: test for result in self.results for test in result.tests}
        reasons = Counter(
            excerpt(test.reason.partition("\n")[0], _REASON_CHARACTERS)
            for test in tests.values()
            if test.outcome is Outcome.NOT_RUN and test.reason
        )
        return [reason for reason, _ in reasons.most_common(_REASONS_SHOWN)]

    @property
    def next_step(self) -> str:
        """What to do next; empty if there is nothing to advise."""
        if self.causes and self.causes[0].result.outcome is not Outcome.WARNING:
            id = self.causes[0].requirement.id
            return f"mend {id} first; its text and tests: pubsub-conformance list {id}"
        if self.verdict is Verdict.CONFORMS and self.complete:
            command = shlex.join(["pubsub-conformance", "stress", "--", *self.command])
            return f"{command}, then faults, fuzz and soak"
        return ""

    def show(self, console: Console) -> None:
        """Print the table of requirements, what failed with its evidence, and one last screen."""
        section = None
        for result in self.results:
            if self.quiet and result.outcome is Outcome.PASS:
                continue
            if result.requirement.section != section:
                section = result.requirement.section
                console.print(Text(f"\n{section}", style="bold"))
            console.print(_row(result, console.width), soft_wrap=True)
        # Commands and paths are for copying: only the terminal may break them.
        for cause in self.causes:
            console.print(self._details(cause.result), soft_wrap=True)
            for other in cause.others:
                console.print(self._fell_with(cause, other), soft_wrap=True)
        for result in self.results:
            if watched := [test for test in result.tests if _was_watched_in_vain(test)]:
                console.print(_ungraded(result, watched), soft_wrap=True)
        for problem in self.problems:
            console.print(f"\nCould not be judged: {problem}", soft_wrap=True)
        console.print()
        for line in self._last_screen(console):
            console.print(line, soft_wrap=True)

    def _details(self, result: RequirementResult) -> Text:
        requirement = result.requirement
        text = _title(result)
        _add(text, "spec", f"{requirement.text}\n({requirement.file}, {requirement.section})")
        _add(text, "repeat", self.repeat(requirement))
        failed = failed_tests(result)
        for test in failed[:TESTS_SHOWN]:
            _add(text, "test", test.name)
            _add(text, "done", test.done)
            _add(text, "expected", test.expected)
            _add(text, "found", test.reason)
            _add(text, "base", test.base)
        if more := failed[TESTS_SHOWN:]:
            _add(text, "also", "\n".join(test.name for test in more))
        return text

    def _fell_with(self, cause: Cause, result: RequirementResult) -> Text:
        text = _title(result).append(f", with {cause.requirement.id}")
        _add(text, "repeat", self.repeat(result.requirement))
        for test in failed_tests(result)[:TESTS_SHOWN]:
            _add(text, "test", test.name)
            _add(text, "found", sentence(test.reason))
        return text

    def _last_screen(self, console: Console) -> Sequence[Text]:
        counted = ", ".join(f"{number} {outcome}" for outcome, number in self.counts.items())
        counted = f"{counted or 'no requirements'}; {self.seconds:.1f} s, seed {self.seed}"
        unjudged = ""
        if self.problems and self.results:
            unjudged = f"{count(len(self.problems), 'test')} could not be judged, see above"
        screen = LastScreen(console.width, wraps=console.is_terminal)
        end = [
            ("next", self.next_step, ""),
            ("", unjudged, "magenta"),
            ("", counted, ""),
            ("", f"{self.name} {self.conclusion}", _VERDICT_STYLE[self.verdict]),
        ]
        return screen.compose(self.causes, self.repeat, self.stale, end)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON, but for its head: see report.schema.json."""
        return {
            "implementation": dict(self.implementation) or None,
            "platform": platform_on(self.file_system),
            "started": self.started,
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "problems": list(self.problems),
            "counts": self.counts,
            "requirements": [_requirement_as_dict(result) for result in self.results],
        }


_VERDICT_STYLE = {
    Verdict.CONFORMS: "bold green",
    Verdict.BROKEN: "bold red",
    Verdict.UNJUDGED: "bold magenta",
}


def _title(result: RequirementResult) -> Text:
    requirement = result.requirement
    text = Text(f"\n{requirement.id} ")
    text.append(result.outcome.value, STYLE.get(result.outcome, ""))
    return text.append(f": {requirement.title}" if requirement.title else "")


def _was_watched_in_vain(test: TestResult) -> bool:
    """Whether a forced interleaving did not come about: what the driver did instead says why."""
    return test.outcome is Outcome.NOT_RUN and bool(test.done)


def _ungraded(result: RequirementResult, watched: Sequence[TestResult]) -> Text:
    text = _title(result)
    for test in watched[:TESTS_SHOWN]:
        _add(text, "test", test.name)
        _add(text, "done", test.done)
        _add(text, "found", test.reason)
    return text


def _row(result: RequirementResult, width: int) -> Text:
    """One line of the table."""
    outcome = result.outcome
    text = result.requirement.title or result.requirement.text
    if outcome is not Outcome.PASS and result.reason and outcome not in SHOWN_IN_FULL:
        text = result.reason
    line = Text(f"  {result.requirement.id:<10}")
    line.append(f"{outcome.value:<18}", STYLE.get(outcome, "dim"))
    line.append(" ".join(text.split()), "dim" if outcome is Outcome.PASS else "")
    line.truncate(width, overflow="ellipsis")
    return line


def _add(text: Text, label: str, body: str) -> None:
    if body:
        text.append(f"\n  {label:<10}", "bold")
        text.append(("\n" + " " * 12).join(body.splitlines()))


def _requirement_as_dict(result: RequirementResult) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": result.requirement.id,
        "level": result.requirement.level,
        "section": result.requirement.key,
        "outcome": result.outcome.value,
    }
    if result.reason:
        entry["reason"] = result.reason
    entry["tests"] = [test.as_dict() for test in result.tests]
    return entry
