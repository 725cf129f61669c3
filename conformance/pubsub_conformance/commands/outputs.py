"""The files that a report is written to: one table, tried before a command runs.

A command writes them however it ends.
"""

from __future__ import annotations

import argparse
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from ..judge import report
from ..judge.report import failures, html, junit, markdown
from ..judge.report.annotations import annotate
from ..judge.report.badge import badge
from ..judge.report.run import RunReport
from ..judge.verdict import Report, Verdict


class Output(NamedTuple):
    """One option that names a file."""

    option: str
    help: str
    text: Callable[[Any, argparse.Namespace], str | None]
    """The content of the file, from the report of the command and its options. None: there is
    nothing to write, and the file stays as it is."""
    missing: Callable[[], str] = str
    """What must be installed before this can be written; empty if nothing is missing."""

    def path(self, options: argparse.Namespace) -> Path | None:
        """The file that the command line names."""
        named: Path | None = getattr(options, self.option.removeprefix("--").replace("-", "_"))
        return named


def _json(made: Report, options: argparse.Namespace) -> str:
    return report.as_text(made, options.driver, getattr(options, "seed", None))


def _summary(made: Report, options: argparse.Namespace) -> str:
    if isinstance(made, RunReport):
        return markdown.run_summary(made)
    # Neither matrix nor bench judges one driver.
    verdict = f": {made.verdict}" if options.driver else ""
    return markdown.summary(f"pubsub-conformance {options.command}{verdict}", made)


def as_page(page: Callable[[Any], str]) -> Output:
    """The output of a command whose report `page` makes a page of."""

    def text(made: Any, options: argparse.Namespace) -> str:
        if isinstance(made, _NotJudged):
            return html.problem_page(options.command, made.reason)
        return page(made)

    help = "write the report as an HTML page too (needs the extra html)"
    return Output("--html", help, text, html.missing)


JSON = Output("--json", "write the report as JSON too", _json)
JUNIT = Output("--junit", "write the report as JUnit XML too", lambda made, _: junit.as_text(made))
SUMMARY = Output("--summary", "write a summary in Markdown too", _summary)
BADGE = Output(
    "--badge", "write the verdict as a badge too, for shields.io", lambda made, _: badge(made)
)
ANNOTATIONS = Output(
    "--annotations",
    "write the failures as commands of GitHub Actions too",
    lambda made, _: annotate(made),
)
EXPECTED = Output(
    "--write-expected",
    "write the failures as a list for --expected",
    lambda made, _: failures.as_toml(made),
)
OF_RUN = (JUNIT, BADGE, ANNOTATIONS, EXPECTED)
"""Those that only `run` has."""


def add_outputs(parser: argparse.ArgumentParser, *outputs: Output) -> None:
    """Add these options. `options.outputs` has them."""
    for output in outputs:
        parser.add_argument(output.option, type=Path, metavar="FILE", help=output.help)
    parser.set_defaults(outputs=outputs)


def refusal(options: argparse.Namespace) -> str:
    """Why an output cannot be written; empty if all of them can. Creates and changes nothing."""
    named = _named(options)
    for output, path in named:
        if reason := output.missing() or _refusal(path):
            return f"{output.option} {path}: {reason}"
        for other, same in named:
            if (
                other is not output
                and path.resolve() == same.resolve()
                and not path.is_char_device()
            ):
                return f"{output.option} and {other.option} name the same file, {path}"
    return ""


def _refusal(path: Path) -> str:
    # Not opened: a FIFO's reader would see the end of it, and a refusal leaves no file.
    if path.is_dir():
        return "it is a directory"
    if path.exists():
        return "" if os.access(path, os.W_OK) else "it cannot be written"
    if not path.parent.is_dir():
        return f"there is no directory {path.parent}"
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return f"no file can be made in {path.parent}"
    return ""


def finish(made: Report, options: argparse.Namespace) -> int:
    """Show a report, and write it to the files that the command line names. Returns the exit code.

    Each file is tried, whatever came of the others.
    """
    shown = report.show(made)
    written = _write(made, _named(options), options)
    return made.verdict.value if shown and written else 2


def _write(made: Report, files: Sequence[tuple[Output, Path]], options: argparse.Namespace) -> bool:
    """Write these files. Returns whether that was possible."""
    complete = True
    for output, path in files:
        try:
            # A name of a file that is not UTF-8 has half characters: they are written as Python
            # writes them.
            text = output.text(made, options)
            if text is None:
                report.note(f"{output.option}: there is nothing to write")
            else:
                path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            report.note(f"{output.option}: {error}")
            complete = False
        except Exception:  # a fault of the kit
            report.note(f"{output.option}: {traceback.format_exc().rstrip()}")
            complete = False
    return complete


class _NotJudged:
    """The report of a command that ended before it could judge anything."""

    verdict = Verdict.UNJUDGED

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def show(self, console: Console) -> None:
        console.print(f"Could not be judged: {self.reason}")

    def as_dict(self) -> dict[str, Any]:
        return {"problems": [self.reason]}


def give_up(reason: str, options: argparse.Namespace) -> int:
    """Report why a command could not judge anything. Returns the exit code.

    The reason goes to stderr, and to all files but those that only `run` writes, which has a report
    even then.
    """
    report.note(reason)
    files = [(output, path) for output, path in _named(options) if output not in OF_RUN]
    _write(_NotJudged(reason), files, options)
    return 2


def _named(options: argparse.Namespace) -> list[tuple[Output, Path]]:
    """The outputs that the command line names."""
    outputs: Iterator[Output] = iter(getattr(options, "outputs", ()))
    return [(output, path) for output in outputs if (path := output.path(options))]
