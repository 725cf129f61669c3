"""What `faults` shows, and that long lines of every command break between words."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from mutants.further import FORGETS_THE_STAGED_FILE
from mutation import ROOT
from pubsub_conformance import faults
from pubsub_conformance.faults.report import Run, Tally, Violation
from pubsub_conformance.faults.runner import _time_left
from pubsub_conformance.faults.verdict import Problem
from pubsub_conformance.judge.verdict import Report
from pubsub_conformance.stress import result as stress
from pubsub_conformance.stress import soak
from rich.console import Console
from terminal import on_terminal

WRONG = Violation(
    "publish-one",
    faults.parse("link:1:KILL"),
    "link(...)",
    "killed",
    (Problem("PUB-14: nothing is left", "tmp/5 is left"),),
    "",
)


def on_screen(report: Report, columns: int = 80) -> list[str]:
    text = io.StringIO()
    report.show(Console(file=text, force_terminal=True, color_system=None, width=columns))
    return text.getvalue().splitlines()


def test_the_table_accounts_for_every_point() -> None:
    kinds = Counter(crash=7, error=20, same=4, untouched=2, helper=1, failed=1)
    run = Run(["./driver"], {}, tallies={"publish-one": Tally(calls=9, run=kinds)}, sampled=35)
    lines = on_screen(run)
    assert [line.split() for line in lines if line.split()[0] in ("publish-one", "all")] == [
        ["publish-one", "9", "35", "7", "20", "8", "0"],
        ["all", "9", "35", "7", "20", "8", "0"],
    ]
    assert max(map(len, lines)) <= 80
    summary = " ".join(map(str.strip, lines))
    for others in (
        "4 lasting errors met",
        "2 not reached",
        "1 met a helper",
        "1 could not be judged",
    ):
        assert others in summary


def test_a_violation_has_a_line_that_says_it_all() -> None:
    assert str(WRONG) == (
        "VIOLATION: publish-one, killed at link number 1:"
        " expected PUB-14: nothing is left; found tmp/5 is left"
    )


@pytest.mark.parametrize(
    ("spent", "done", "left", "said"),
    [
        (1.0, 10, 100, ""),
        (10.0, 0, 100, ""),
        (10.0, 10, 30, ", about 30 s left"),
        (10.0, 100, 6000, ", about 10 min left"),
    ],
)
def test_an_estimate_needs_some_experience(spent: float, done: int, left: int, said: str) -> None:
    assert _time_left(spent, done, left) == said


REPORTS = [
    Run(["./d"], {}, tallies={"reap": Tally(9, run=Counter(crash=7, untouched=2))}, sampled=9),
    stress.Result(123456789, {}, {"ENOSPC": 12, "ENOENT": 34567}, [], [], publishes=123456),
    soak.Result(123456789, samples=1234, seconds=86400, messages=12345678, fetched=12345678),
]


@pytest.mark.parametrize("report", REPORTS, ids=["faults", "stress", "soak"])
def test_a_summary_breaks_between_words(report: Report) -> None:
    (*_, whole) = on_screen(report, 1000)
    lines = on_screen(report, 80)
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()).endswith(whole)


@pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("strace"), reason="needs strace, on Linux"
)
def test_a_violation_is_shown_as_it_comes(tmp_path: Path) -> None:
    driver = FORGETS_THE_STAGED_FILE.command(tmp_path / "mutant")
    chosen = ["--operation", "publish-one", "--point", "getdents64:1:EIO"]
    command = [sys.executable, "-m", "pubsub_conformance", "faults", *chosen, "--", *driver]
    _, lines = on_terminal(command, 200, ROOT, os.environ)
    shown = [line.startswith("VIOLATION: publish-one") for line in lines]
    table = next(at for at, line in enumerate(lines) if "crash points" in line)
    assert any(shown[:table])
    assert any(shown[table:])
