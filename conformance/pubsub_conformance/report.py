"""From the outcomes of tests to a verdict per requirement, and how it is shown."""

import json
import os
import platform
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from pubsub_conformance import __version__
from pubsub_conformance.judge.expected import Expected
from pubsub_conformance.requirements import SPEC_VERSION, Requirement

REPORT_VERSION = 1
PIPED_COLUMNS = 100  # where no terminal says how wide it is
TESTS_TOLD = 3  # with all their evidence, of those of one requirement that failed


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
# What a reader must act on is shown with all its evidence.
TOLD_IN_FULL = {Outcome.FAIL, Outcome.DRIVER_ERROR, Outcome.WARNING}
JUDGED = set(Outcome) - {Outcome.NOT_APPLICABLE, Outcome.UNTESTED, Outcome.NOT_RUN}


@dataclass
class TestResult:
    """One test of the suite; `reason` is what was found where it did not pass."""

    __test__ = False  # pytest must not collect it

    name: str
    outcome: Outcome
    seconds: float = 0.0
    reason: str = ""
    expected: str = ""
    done: str = ""
    base: str = ""


@dataclass(frozen=True)
class Verdict:
    requirement: Requirement
    outcome: Outcome
    reason: str
    tests: Sequence[TestResult]


@dataclass
class Run:
    """All that a report tells."""

    implementation: Mapping[str, Any]
    command: Sequence[str]
    home: str | None
    seed: int
    started: str  # ISO 8601, UTC
    seconds: float
    file_system: str
    verdicts: Sequence[Verdict]
    problems: Sequence[str] = field(default_factory=list)  # of the kit itself
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 conforms, 1 does not, 2 could not judge."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        if self.interrupted:
            return 2
        if outcomes & {Outcome.FAIL, Outcome.UNEXPECTED_PASS}:
            return 1
        if self.problems or Outcome.DRIVER_ERROR in outcomes or not outcomes & JUDGED:
            return 2
        return 0


def forgiven(requirement: Requirement, expected: Mapping[str, Expected]) -> Outcome:
    """What a failed test means for a requirement."""
    if requirement.id in expected:
        return Outcome.EXPECTED_FAILURE
    return Outcome.FAIL if requirement.level == "MUST" else Outcome.WARNING


def judge(
    requirement: Requirement, tests: Sequence[TestResult], expected: Mapping[str, Expected]
) -> Verdict:
    """The worst of what its tests came to; `expected` are the failures that are expected."""
    if not tests:
        reason = requirement.untested or "no test of this run names it"
        return Verdict(requirement, Outcome.UNTESTED, reason, tests)
    meant = [
        (forgiven(requirement, expected), test)
        if test.outcome is Outcome.FAIL
        else (test.outcome, test)
        for test in tests
    ]
    outcome, worst = max(meant, key=lambda pair: RANK[pair[0]])
    reason = worst.reason
    failure = expected.get(requirement.id)
    if outcome is Outcome.PASS and failure and not failure.sometimes:
        outcome = Outcome.UNEXPECTED_PASS
        reason = f"is listed as an expected failure: {failure.reason}"
    elif outcome is Outcome.EXPECTED_FAILURE and failure:
        reason = failure.reason
    elif outcome is Outcome.NOT_RUN:
        missing = [test for test in tests if test.outcome is Outcome.NOT_RUN]
        if len(missing) < len(tests):  # the others say something, but not all there is to say
            reason = f"{len(missing)} of {len(tests)} tests: {reason}"
    return Verdict(requirement, outcome, reason, tests)


def file_system_of(path: Path) -> str:
    """The type of the file system that holds `path`, such as "tmpfs"; "unknown" if not told."""
    path = path.resolve()
    while not os.path.ismount(path):
        path = path.parent
    try:
        table = subprocess.run(["mount"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    # "on / type ext4 (rw)" on Linux, OpenBSD and NetBSD, "on / (apfs, local)" elsewhere.
    found = re.findall(rf" on {re.escape(str(path))} (?:type |\()(\w+)", table)
    return found[-1] if found else "unknown"


def platform_on(file_system: str) -> dict[str, str]:
    """What a report says of the machine it was made on."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "file_system": file_system,
    }


def repeat(run: Run, requirement: Requirement) -> str:
    """The command that judges this requirement again."""
    home = ["--home", run.home] if run.home else []
    options = ["--requirement", requirement.id, *home, "--seed", str(run.seed)]
    return shlex.join(["pubsub-conformance", "run", *options, "--", *run.command])


def counts(run: Run) -> dict[str, int]:
    """How many requirements came to each outcome, the most serious first."""
    counted = Counter(verdict.outcome for verdict in run.verdicts)
    return {o.value: counted[o] for o in reversed(Outcome) if counted[o]}


# The terminal.


def show(run: Run, file: IO[str]) -> None:
    """Writes the report for people: plain where `file` is no terminal or NO_COLOR is set."""
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    width = console.width if console.is_terminal else PIPED_COLUMNS
    section = None
    for verdict in run.verdicts:
        if verdict.requirement.section != section:
            section = verdict.requirement.section
            console.print(Text(f"\n{section}", style="bold"), soft_wrap=True)
        console.print(_line(verdict, width), soft_wrap=True)
    for verdict in run.verdicts:
        if verdict.outcome in TOLD_IN_FULL:
            console.print(_failure(run, verdict), soft_wrap=True)
        elif verdict.outcome is Outcome.UNEXPECTED_PASS:
            advice = f"\n{verdict.requirement.id} passes, but {verdict.reason}; strike it out"
            console.print(Text(advice), soft_wrap=True)
    for problem in run.problems:
        console.print(Text(f"\nThe kit itself failed: {problem}"), soft_wrap=True)
    console.print(_summary(run), soft_wrap=True)


def _line(verdict: Verdict, width: int) -> Text:
    outcome = verdict.outcome
    told = verdict.requirement.text
    if outcome is not Outcome.PASS and verdict.reason and outcome not in TOLD_IN_FULL:
        told = verdict.reason
    line = Text(f"  {verdict.requirement.id:<10}")
    line.append(f"{outcome.value:<18}", STYLE.get(outcome, "dim"))
    line.append(" ".join(told.split()), "dim" if outcome is Outcome.PASS else "")
    line.truncate(width, overflow="ellipsis")
    return line


def _failure(run: Run, verdict: Verdict) -> Text:
    requirement = verdict.requirement
    text = Text(f"\n{requirement.id} ")
    text.append(verdict.outcome.value, STYLE.get(verdict.outcome, ""))
    _add(text, "spec", f"{requirement.text}\n({requirement.file}, {requirement.section})")
    _add(text, "repeat", repeat(run, requirement))
    failed = [
        test for test in verdict.tests if test.outcome in {Outcome.FAIL, Outcome.DRIVER_ERROR}
    ]
    for test in failed[:TESTS_TOLD]:
        _add(text, "test", test.name)
        _add(text, "done", test.done)
        _add(text, "expected", test.expected)
        _add(text, "found", test.reason)
        _add(text, "base", test.base)
    if more := failed[TESTS_TOLD:]:
        _add(text, "also", "\n".join(test.name for test in more))
    return text


def _add(text: Text, label: str, body: str) -> None:
    if body:
        text.append(f"\n  {label:<10}", "bold")
        text.append(("\n" + " " * 12).join(body.splitlines()))


def _summary(run: Run) -> Text:
    counted = counts(run)
    told = ", ".join(f"{number} {outcome}" for outcome, number in counted.items())
    name = f"{run.implementation['implementation']} {run.implementation['version']}"
    missing = counted.get(Outcome.NOT_RUN.value, 0)
    unjudged = f" in all that could be run here; {missing} requirements were not" if missing else ""
    verdict, style = {
        0: ("conforms" + unjudged, "bold green"),
        1: ("does not conform", "bold red"),
        2: ("could not be judged", "bold magenta"),
    }[run.exit_code]
    if run.interrupted:
        verdict = "was not judged: interrupted, the report is partial"
    elif not run.verdicts:
        verdict = "was not judged: no test was selected"
    elif not JUDGED & {verdict.outcome for verdict in run.verdicts}:
        verdict = "was not judged: nothing that was selected could be tested"
    text = Text(f"\n{told or 'no requirements'}; {run.seconds:.1f} s, seed {run.seed}\n")
    text.append(f"{name} ").append(verdict, style)
    return text


# JSON, see report.schema.json.


def as_dict(run: Run) -> dict[str, Any]:
    return {
        "report": REPORT_VERSION,
        "kit": __version__,
        "spec": SPEC_VERSION,
        "implementation": dict(run.implementation),
        "command": list(run.command),
        "platform": platform_on(run.file_system),
        "seed": run.seed,
        "started": run.started,
        "seconds": round(run.seconds, 3),
        "exit": run.exit_code,
        "interrupted": run.interrupted,
        "problems": list(run.problems),
        "counts": counts(run),
        "requirements": [_verdict_as_dict(verdict) for verdict in run.verdicts],
    }


def _verdict_as_dict(verdict: Verdict) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": verdict.requirement.id,
        "level": verdict.requirement.level,
        "section": verdict.requirement.key,
        "outcome": verdict.outcome.value,
    }
    if verdict.reason:
        entry["reason"] = verdict.reason
    entry["tests"] = [_test_as_dict(test) for test in verdict.tests]
    return entry


def _test_as_dict(test: TestResult) -> dict[str, Any]:
    entry = {
        "name": test.name,
        "outcome": test.outcome.value,
        "seconds": round(test.seconds, 3),
    }
    evidence = {
        "reason": test.reason,
        "expected": test.expected,
        "done": test.done,
        "base": test.base,
    }
    return entry | {name: text for name, text in evidence.items() if text}


def write(run: Run, path: Path) -> None:
    """Writes the JSON report. Raises OSError."""
    text = json.dumps(as_dict(run), indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
