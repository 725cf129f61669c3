"""Reports as Markdown, for a step summary of GitHub Actions or a comment.

What a driver wrote is only ever in a code span or in escaped HTML: it cannot become markup.
"""

from __future__ import annotations

import html
import io
import re

from ... import __version__
from ...excerpt import excerpt
from ...requirements import SPEC_VERSION
from ..causes import failed_tests
from ..outcome import RequirementResult
from ..verdict import Report
from . import console, count
from .machine import platform_on
from .run import RunReport

# A step summary has room for 1 MiB, and a reader for less.
FAILURES_SHOWN = 20
FOUND_CHARACTERS = 2000
LINE_CHARACTERS = 300
LINES_SHOWN = 200  # the last ones of a report


def run_summary(report: RunReport) -> str:
    """The summary of a run: the verdict, the likely causes, the failures, folded."""
    causes = []
    for place, cause in enumerate(report.causes[:FAILURES_SHOWN], start=1):
        causes.append(f"{place}. {_name(cause.result)}: {code(cause.sentence)}")
        if cause.others:
            ids = ", ".join(result.requirement.id for result in cause.others)
            causes.append(f"   The same finding in {ids}.")
    shown, hidden = report.failures[:FAILURES_SHOWN], report.failures[FAILURES_SHOWN:]
    platform = platform_on(report.file_system)
    machine = f"{platform['system']} {platform['release']}, {platform['file_system']}"
    about = f"Specification {SPEC_VERSION}, kit {__version__}, {escape(machine)}"
    blocks = [
        f"## {escape(report.name)} {report.conclusion}",
        ", ".join(f"{number} {outcome}" for outcome, number in report.counts.items()),
        *(f"Could not be judged: {code(problem)}" for problem in report.problems),
        "\n".join(causes),
        "\n".join(_details(report, result) for result in shown),
        f"{count(len(hidden), 'more failure')} not shown." if hidden else "",
        f"Next: {escape(report.next_step)}" if report.next_step else "",
        f"{about}; {report.seconds:.1f} s, seed {report.seed}",
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def summary(title: str, report: Report) -> str:
    """The summary of any other report: the end of what a console shows."""
    file = io.StringIO()
    report.show(console(file))
    lines = file.getvalue().strip("\n").splitlines()
    cut = ["…"] if len(lines) > LINES_SHOWN else []
    text = "\n".join([*cut, *lines[-LINES_SHOWN:]])
    return f"## {escape(title)}\n\n{_block(text)}\n"


def escape(text: str) -> str:
    """Text on one line, none of which is markup."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~&!])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Text as code, on one line and not too long."""
    text = excerpt(" ".join(text.split()), LINE_CHARACTERS)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}"


def _name(result: RequirementResult) -> str:
    requirement = result.requirement
    return f"**{requirement.id}** {requirement.title} ({result.outcome.value})"


def _details(report: RunReport, result: RequirementResult) -> str:
    """A failure with its evidence, folded. One line: an empty one would end the HTML."""
    requirement = result.requirement
    tests = failed_tests(result)
    found = tests[0].reason if tests else result.reason
    title = f"{requirement.id} {requirement.title} ({result.outcome.value})"
    return "".join(
        [
            f"<details><summary>{html.escape(title)}</summary>",
            *_paragraphs(requirement.text, *(test.expected for test in tests[:1]), "Found:"),
            _block(excerpt(found, FOUND_CHARACTERS)),
            *_paragraphs("Repeat:"),
            _block(report.repeat(requirement)),
            "</details>",
        ]
    )


def _paragraphs(*texts: str) -> list[str]:
    return [f"<p>{html.escape(' '.join(text.split()))}</p>" for text in texts if text]


def _block(text: str) -> str:
    return f"<pre>{'&#10;'.join(html.escape(text).splitlines())}</pre>"
