"""Pages of reports: complete, in one file, and nothing that a driver wrote becomes markup."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from pubsub_conformance.bench.measures import GROUPS, Contender
from pubsub_conformance.bench.page import bench_page
from pubsub_conformance.bench.report import Benchmark, Losses, Plan
from pubsub_conformance.driver import Hello
from pubsub_conformance.implementations import FILES, Implementation
from pubsub_conformance.judge.outcome import Outcome, RequirementResult, TestResult
from pubsub_conformance.judge.report import html
from pubsub_conformance.judge.report.run import RunReport
from pubsub_conformance.matrix.page import matrix_page
from pubsub_conformance.matrix.report import Cell, Matrix, Result
from pubsub_conformance.requirements import Requirement

HOSTILE = "</script></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{ 7*7 }}"
# Of what a page contains, only these elements have code or can load something.
ACTIVE = {"script", "img", "iframe", "object", "embed", "link", "base", "form", "video", "audio"}

OF_A_TEST = {
    Outcome.WARNING: Outcome.FAIL,
    Outcome.EXPECTED_FAILURE: Outcome.FAIL,
    Outcome.UNEXPECTED_PASS: Outcome.PASS,
}
"""The outcome of a test where that of its requirement is no outcome of a test."""


class Page(HTMLParser):
    """What a browser makes of a page: its elements and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def active(self) -> list[str]:
        return [tag for tag, _ in self.elements if tag in ACTIVE]

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.elements if "id" in attributes]


def result_of(name: str, outcome: Outcome, text: str = "It MUST be so.") -> RequirementResult:
    """A requirement with one test, each of whose texts is its own."""
    requirement = Requirement(name, "MUST", ("publisher",), "Publishing", "publish.md", text)
    passed = outcome is Outcome.PASS
    texts: dict[str, Any] = (
        {} if passed else {"reason": f"found in {name}", "expected": f"expected of {name}"}
    )
    texts |= {} if passed else {"done": f"done in {name}", "base": f"base of {name}"}
    test = TestResult(f"test_it.py::test_{name}", OF_A_TEST.get(outcome, outcome), 0.5, **texts)
    return RequirementResult(requirement, outcome, texts.get("reason", ""), [test])


def report_of(*results: RequirementResult, name: str = "toy", command: str = "./toy") -> RunReport:
    hello = {"implementation": name, "version": "1.2", "language": "Toy", "spec": "1"}
    return RunReport(
        implementation={**hello, "roles": ["publisher"]},
        command=[command, "two words"],
        home=None,
        seed=77,
        started="2026-01-02T03:04:05+00:00",
        seconds=12.3,
        file_system="tmpfs",
        results=results,
    )


def test_a_failure_has_all_that_a_reader_needs() -> None:
    page = Page(
        html.run_page(report_of(result_of("PUB-1", Outcome.PASS), result_of("PUB-2", Outcome.FAIL)))
    )
    for text in (
        *("toy 1.2", "does not conform", "1 fail, 1 pass", "It MUST be so.", "publish.md"),
        *("expected of PUB-2", "found in PUB-2", "done in PUB-2", "base of PUB-2"),
        "pubsub-conformance run --requirement PUB-2 --seed 77 -- ./toy 'two words'",
        *("tmpfs", "77", "12.3 s", "2026-01-02T03:04:05"),
    ):
        assert text in page.text
    assert "PUB-2" in page.ids


def test_the_likely_cause_comes_before_the_failures() -> None:
    lead, other = (result_of(name, Outcome.FAIL) for name in ("PUB-1", "PUB-2"))
    for result in (lead, other):
        result.tests[0].reason = "expected no files, found one"
    page = Page(html.run_page(report_of(result_of("PUB-3", Outcome.PASS), lead, other)))
    causes = page.text[page.text.index("Likely cause") : page.text.index("Failures")]
    assert "expected no files, found one" in causes
    assert causes.index("PUB-1") < causes.index("PUB-2")
    assert page.ids.index("PUB-1") < page.ids.index("PUB-2")


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Outcome.PASS, "conforms"),
        (Outcome.FAIL, "does not conform"),
        (Outcome.DRIVER_ERROR, "could not be judged"),
    ],
)
def test_the_verdict_comes_first(outcome: Outcome, verdict: str) -> None:
    page = html.run_page(report_of(result_of("PUB-1", outcome)))
    content = page[page.index("<main>") :]
    assert verdict in content[: content.index("</h1>")]


def test_a_page_loads_nothing_and_what_a_driver_wrote_stays_text() -> None:
    plain = Page(html.run_page(report_of(result_of("PUB-1", Outcome.FAIL))))
    failure = result_of("PUB-1", Outcome.FAIL, text=f"It MUST be so. {HOSTILE}")
    (test,) = failure.tests
    for field in ("name", "reason", "expected", "done", "base"):
        setattr(test, field, HOSTILE)
    report = report_of(failure, name=HOSTILE, command=HOSTILE)
    report.implementation = {**report.implementation, "language": HOSTILE, "roles": [HOSTILE]}
    report.problems = [HOSTILE]
    text = html.run_page(report)
    page = Page(text)
    assert page.active == plain.active == ["link", "script"]
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
    links = [attributes.get("href") or attributes.get("src") for _, attributes in page.elements]
    assert [link for link in links if link and not link.startswith("#")] == ["data:,"]
    assert page.text.count(HOSTILE) >= 10


def test_a_page_without_a_result_says_so() -> None:
    page = Page(html.run_page(report_of()))
    assert "was not judged: no requirement matches all of the options" in page.text
    assert "no requirements" in page.text


def implementation_of(name: str, said: str = "toy") -> Implementation:
    hello = Hello(said, "1.2", "Toy", "1", frozenset({"publisher", "subscriber"}))
    return Implementation(name, [f"./{name}", "two words"], hello)


def matrix_of(failure: Result, said: str = "toy") -> Matrix:
    """Two implementations; one check of one cell is `failure`, all others pass."""
    names = ("mine", "reference")
    cells = [
        Cell(publisher, reader, FILES, [Result(check, Outcome.PASS) for check in ("codec", "full")])
        for publisher in names
        for reader in names
    ]
    cells[1].results[1] = failure
    checks = {"codec": "one decodes", "full": "a full queue"}
    implementations = [implementation_of(name, said) for name in names]
    return Matrix(implementations, checks, 77, "tmpfs", cells, 12.3)


def test_a_matrix_shows_what_failed_and_how_to_repeat_it() -> None:
    failure = Result("full", Outcome.FAIL, reason="one too many", done="asked and answered")
    page = Page(matrix_page(matrix_of(failure)))
    for text in (
        *("not all cells pass", "1 fail, 7 pass", "one too many", "asked and answered"),
        "pubsub-conformance matrix --seed 77 'mine=./mine '\"'\"'two words'\"'\"''",
        *("a full queue", "toy 1.2", "tmpfs", "12.3 s"),
    ):
        assert text in page.text
    assert "mine-to-reference-files-full" in page.ids
    assert ("a", "#mine-to-reference-files-full") in [
        (tag, attributes.get("href")) for tag, attributes in page.elements
    ]


def test_a_matrix_marks_an_expected_failure() -> None:
    known = Result("full", Outcome.EXPECTED_FAILURE, reason="one too many", expected="issue 12")
    page = Page(matrix_page(matrix_of(known)))
    for text in ("all cells pass, or fail as expected", "1 expected failure, 7 pass", "issue 12"):
        assert text in page.text


def test_the_page_of_a_matrix_keeps_text_as_text() -> None:
    failure = Result(HOSTILE, Outcome.FAIL, reason=HOSTILE, expected=HOSTILE, done=HOSTILE)
    matrix = matrix_of(failure, said=HOSTILE)
    matrix.checks = {**matrix.checks, HOSTILE: HOSTILE}
    page = Page(matrix_page(matrix))
    assert page.active == ["link", "script"]
    assert page.text.count(HOSTILE) >= 6


NAMES = ("mine", "other")


def benchmark_of(said: str = "toy", reason: str = "") -> Benchmark:
    """Two contenders, of which the second one is not measured if there is a reason."""
    contenders = {name: Contender(implementation_of(name, said), FILES) for name in NAMES}
    plan = Plan(contenders, "mine", 3, 0.5, ["single"])
    machine = {"system": "Linux", "release": "6", "machine": "x86_64", "python": "3.14"}
    more = {"file_system": "tmpfs", "processor": "fast", "processors": 2}
    loads = {"load_before": 0.1, "load_after": 0.2}
    benchmark = Benchmark(plan, {**machine, **more, **loads}, took=12.3)
    for place, name in enumerate(NAMES):
        benchmark.losses["single", name] = Losses(100, place)
        for figure in GROUPS["single"].figures if not (place and reason) else ():
            benchmark.values["single", figure, name] = [1000.0 + place, 1200.0, 1100.0]
    if reason:
        benchmark.failures["other"] = reason
    return benchmark


def test_a_benchmark_has_a_chart_and_a_row_for_each_figure() -> None:
    page = Page(bench_page(benchmark_of()))
    assert [tag for tag, _ in page.elements].count("svg") == len(GROUPS["single"].figures)
    for figure in GROUPS["single"].figures:
        assert f"{figure}, µs" in page.text
    for text in ("measured", "1 100", "1 000 to 1 200", "1 of 100", "fast", "12.3 s"):
        assert text in page.text


def test_a_benchmark_says_what_was_not_measured() -> None:
    page = Page(bench_page(benchmark_of(reason="no message came")))
    for text in ("not all was measured", "no message came", "not measured"):
        assert text in page.text


def test_the_page_of_a_benchmark_loads_nothing_and_keeps_text_as_text() -> None:
    text = bench_page(benchmark_of(said=HOSTILE, reason=HOSTILE))
    page = Page(text)
    assert page.active == ["link", "script"]
    assert page.text.count(HOSTILE) >= 3
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "@import" not in text
    assert "url(" not in text
