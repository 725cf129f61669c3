"""The report of `run` as JUnit XML: a test case for each requirement and each of its tests.

No standard says what JUnit XML is. This keeps to what the schemas of Jenkins' xUnit plugin and of
Ant have in common.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ..outcome import Outcome, RequirementResult, TestResult
from .run import RunReport

SUITE = "pubsub-conformance"
FAULTS = {
    Outcome.FAIL: "failure",
    Outcome.UNEXPECTED_PASS: "failure",
    Outcome.DRIVER_ERROR: "error",
}
"""The outcomes that a reader must act on, and the element of each."""

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""The characters that XML 1.0 does not allow, not even as a reference."""


def as_text(report: RunReport) -> str:
    """The whole file."""
    cases = [_problem(problem) for problem in report.problems]
    for result in report.results:
        cases += _cases(report, result)
    suite = Element(
        "testsuite",
        name=SUITE,
        timestamp=report.started[:19],  # without its zone, which Ant's schema forbids
        time=f"{report.seconds:.3f}",
        tests=str(len(cases)),
    )
    for count, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(sum(case.find(kind) is not None for case in cases)))
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(report):
        ElementTree.SubElement(properties, "property", name=name, value=_legal(value))
    suite.extend(cases)
    root = Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _properties(report: RunReport) -> Iterator[tuple[str, str]]:
    yield "command", shlex.join(report.command)
    yield "seed", str(report.seed)
    yield "verdict", str(report.verdict)
    for name, value in report.implementation.items():
        yield name, value if isinstance(value, str) else ", ".join(value)


def _problem(problem: str) -> Element:
    """Why something could not be judged."""
    case = Element("testcase", classname=SUITE, name="the kit can judge", time="0.000")
    _say(case, "error", "could not be judged", problem.partition("\n")[0], problem)
    return case


def _cases(report: RunReport, result: RequirementResult) -> Iterator[Element]:
    requirement = result.requirement
    name = f"{requirement.key}.{requirement.id}"
    for test, (outcome, reason) in result.judgements:
        case = Element(
            "testcase", classname=name, name=_legal(test.name), time=f"{test.seconds:.3f}"
        )
        if kind := FAULTS.get(outcome):
            first = next(iter(reason.splitlines()), outcome.value)
            _say(case, kind, outcome.value, first, _evidence(report, result, test, reason))
        elif outcome is not Outcome.PASS:
            _say(case, "skipped", outcome.value, f"{outcome.value}: {reason}", "")
        yield case
    if not result.tests:
        case = Element("testcase", classname=name, name=requirement.id, time="0.000")
        said = f"{result.outcome.value}: {result.reason}"
        _say(case, "skipped", result.outcome.value, said, "")
        yield case


def _evidence(report: RunReport, result: RequirementResult, test: TestResult, found: str) -> str:
    requirement = result.requirement
    parts = {
        "spec": f"{requirement.id}: {requirement.text}\n({requirement.file})",
        "expected": test.expected,
        "found": found,
        "done": test.done,
        "base": test.base,
        "repeat": report.repeat(requirement),
    }
    return "".join(f"{name}\n{text}\n\n" for name, text in parts.items() if text)


def _say(case: Element, kind: str, type: str, message: str, text: str) -> None:
    said = ElementTree.SubElement(case, kind, type=type, message=_legal(message))
    said.text = _legal(text) or None


def _legal(text: str) -> str:
    """The text, with an escape such as \\x1b in the place of each character that XML forbids."""
    return _FORBIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)
