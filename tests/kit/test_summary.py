"""What CI shows of a run: the summary, the badge, the annotations."""

from __future__ import annotations

import argparse
import json
import re

import pytest
from markdown_it import MarkdownIt
from pubsub_conformance.commands.outputs import SUMMARY
from pubsub_conformance.judge.outcome import Outcome
from pubsub_conformance.judge.report.annotations import annotate
from pubsub_conformance.judge.report.badge import badge
from pubsub_conformance.judge.report.markdown import (
    FAILURES_SHOWN,
    code,
    escape,
    run_summary,
)
from pubsub_conformance.matrix.report import Result
from test_pages import HOSTILE, Page, matrix_of, report_of, result_of

MARKUP = f"# x\n\n[x](http://x) ![x](http://x) **x** `x` ``x | <b>x</b>\n\n---\n\n{HOSTILE}"


def rendered(text: str) -> Page:
    """Markdown as GitHub renders it, with HTML and tables."""
    return Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))


def test_the_summary_has_the_verdict_the_causes_and_the_failures() -> None:
    report = report_of(result_of("PUB-1", Outcome.PASS), result_of("PUB-2", Outcome.FAIL))
    page = rendered(run_summary(report))
    assert [tag for tag, _ in page.elements].count("details") == 1
    for text in (
        *("toy 1.2 does not conform", "1 fail, 1 pass", "It MUST be so.", "found in PUB-2"),
        *("expected of PUB-2", "12.3 s, seed 77", "tmpfs"),
        "pubsub-conformance run --requirement PUB-2 --seed 77 -- ./toy 'two words'",
    ):
        assert text in page.text


def test_a_long_summary_is_cut() -> None:
    results = [result_of(f"PUB-{n}", Outcome.FAIL, "x" * 1000) for n in range(1, 40)]
    for number, result in enumerate(results):
        result.tests[0].reason = f"finding {'abcdefghij'[number % 10]}" * 10_000
    text = run_summary(report_of(*results))
    assert f"{len(results) - FAILURES_SHOWN} more failures" in text
    assert len(text) < 200_000


def test_what_a_driver_wrote_stays_text_in_the_summary() -> None:
    failure = result_of("PUB-1", Outcome.FAIL)
    for field in ("name", "reason", "expected", "done", "base"):
        setattr(failure.tests[0], field, MARKUP)
    report = report_of(failure, name=MARKUP, command=MARKUP)
    report.problems = [MARKUP]
    page = rendered(run_summary(report))
    tags = {tag for tag, _ in page.elements}
    assert tags <= {"h2", "p", "ol", "li", "strong", "code", "details", "summary", "pre"}
    assert [tag for tag, _ in page.elements].count("h2") == 1
    assert "**x**" in page.text


@pytest.mark.parametrize(
    ("command", "driver", "heading"),
    [
        ("matrix", [], "pubsub-conformance matrix"),
        ("stress", ["./toy"], "pubsub-conformance stress: conforms"),
    ],
)
def test_the_summary_of_another_command_is_the_end_of_its_screen(
    command: str, driver: list[str], heading: str
) -> None:
    options = argparse.Namespace(command=command, driver=driver)
    text = SUMMARY.text(matrix_of(Result("full", Outcome.PASS)), options)
    assert text
    page = rendered(text)
    assert [tag for tag, _ in page.elements] == ["h2", "pre"]
    assert page.text.startswith(f"{heading}\n")
    assert "all cells pass" in page.text


@pytest.mark.parametrize("text", ["a", "`a`", "``", "a`b``c", "`", "a\n\n# b", "<b>"])
def test_code_is_code(text: str) -> None:
    page = rendered(code(text))
    assert [tag for tag, _ in page.elements] == ["p", "code"]
    assert page.text.strip() == " ".join(text.split())


def test_escaped_text_is_text() -> None:
    page = rendered(escape(MARKUP))
    assert [tag for tag, _ in page.elements] == ["p"]
    assert page.text.strip() == " ".join(MARKUP.split())


@pytest.mark.parametrize(
    ("outcomes", "message", "color"),
    [
        ([Outcome.PASS], "conforms", "brightgreen"),
        ([Outcome.PASS, Outcome.FAIL, Outcome.FAIL], "2 failures", "red"),
        ([Outcome.EXPECTED_FAILURE], "conforms, but for 1 expected failure", "yellowgreen"),
        ([Outcome.UNEXPECTED_PASS], "expected failures out of date", "red"),
        ([Outcome.DRIVER_ERROR], "could not be judged", "lightgrey"),
        ([], "could not be judged", "lightgrey"),
    ],
)
def test_the_badge_shows_the_verdict(outcomes: list[Outcome], message: str, color: str) -> None:
    results = [result_of(f"PUB-{n}", outcome) for n, outcome in enumerate(outcomes, start=1)]
    assert json.loads(badge(report_of(*results))) == {
        "schemaVersion": 1,
        "label": "pubsub conformance",
        "message": message,
        "color": color,
    }


ESCAPED = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}


def understood(line: str) -> tuple[str, ...]:
    """A workflow command as the runner reads it: the command, the title, the message."""
    match = re.fullmatch(r"::(\w+) title=([^:,]*)::(.*)", line)
    assert match, line
    return tuple(
        re.sub("%[0-9A-F]{2}", lambda found: ESCAPED[found[0]], part) for part in match.groups()
    )


def test_each_failure_is_an_annotation_the_likely_cause_first() -> None:
    lead, other = (result_of(name, Outcome.FAIL) for name in ("PUB-1", "PUB-2"))
    single = result_of("PUB-3", Outcome.WARNING)
    for result in (lead, other):
        result.tests[0].reason = "100 % wrong:\r\n::warning::nothing, really"
    report = report_of(result_of("PUB-4", Outcome.PASS), single, other, lead)
    first, second, third = map(understood, annotate(report).splitlines())
    assert [first[0], second[0], third[0]] == ["error", "warning", "error"]
    assert first[1].startswith("PUB-2")
    assert second[1].startswith("PUB-3")
    assert third[1].startswith("PUB-1")
    assert third[1].endswith(", with PUB-2")
    assert lead.tests[0].reason in first[2]
    assert "--requirement PUB-2 --seed 77" in first[2]


def test_an_unexpected_pass_and_what_could_not_be_judged_are_annotations_too() -> None:
    report = report_of(result_of("PUB-1", Outcome.UNEXPECTED_PASS))
    report.problems = ["::error::it broke"]
    kit, stale = map(understood, annotate(report).splitlines())
    assert kit == ("error", "Could not be judged", "::error::it broke")
    assert stale[:2] == ("error", "PUB-1 ")


def test_a_run_without_failures_has_no_annotation() -> None:
    assert annotate(report_of(result_of("PUB-1", Outcome.PASS))) == ""
