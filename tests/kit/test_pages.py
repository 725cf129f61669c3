"""Pages of reports: complete, in one file, and nothing that a driver wrote becomes markup."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from pubsub_conformance.judge.outcome import Outcome, RequirementResult, TestResult
from pubsub_conformance.judge.report import html
from pubsub_conformance.judge.report.run import RunReport
from pubsub_conformance.requirements import Requirement

HOSTILE = "</script></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{ 7*7 }}"
# Of what a page contains, only these elements have code or can load something.
ACTIVE = {"script", "img", "iframe", "object", "embed", "link", "base", "form", "video", "audio"}


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
    texts = {} if passed else {"reason": f"found in {name}", "expected": f"expected of {name}"}
    texts |= {} if passed else {"done": f"done in {name}", "base": f"base of {name}"}
    test = TestResult(f"test_it.py::test_{name}", outcome, 0.5, **texts)
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
    assert "could not be judged" in page.text
    assert "no requirements" in page.text
