"""What all commands have in common: the command line, and the end of a command."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pubsub_conformance import __version__
from pubsub_conformance.commands import COMMANDS, main
from pubsub_conformance.commands.options import duration, positive
from pubsub_conformance.commands.outputs import JSON, finish
from pubsub_conformance.judge.verdict import Verdict, conclude
from pubsub_conformance.requirements import SPEC_VERSION
from rich.console import Console

NAMES = ["run", "stress", "check", "soak", "faults", "fuzz", "matrix", "bench", "list"]
NEEDS_DRIVER = {"run", "stress", "soak", "faults", "fuzz"}


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    shown = [line.split() for line in help_of(capsys).splitlines() if line.startswith("    ")]
    assert [words[0] for words in shown if words[0] in NAMES] == NAMES
    assert len(COMMANDS) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_help_says_how_to_call_a_command(capsys: pytest.CaptureFixture[str], name: str) -> None:
    shown = help_of(capsys, name)
    assert shown.startswith(f"usage: pubsub-conformance {name} ")
    assert ("-- COMMAND…" in shown) == (name in NEEDS_DRIVER)
    assert ("--json FILE" in shown) == (name != "list")


@pytest.mark.parametrize("name", sorted(NEEDS_DRIVER))
def test_a_driver_is_needed(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name])
    assert ended.value.code == 2
    assert f"{name}: error: the driver's command is missing" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_what_is_no_positive_number(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a whole number above 0"):
        positive(text)


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "long", ""])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a number above 0"):
        duration(text)


def test_numbers_are_read() -> None:
    assert (positive("12"), duration("0.5")) == (12, 0.5)


def test_an_error_of_the_system_is_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A driver that does nothing: the command ends before it is started."""
    absent = tmp_path / "absent"
    for name in ("stress", "soak", "faults", "fuzz"):
        assert main([name, "--home", str(absent), "--", sys.executable]) == 2
        assert str(absent) in capsys.readouterr().err
    assert main(["check", str(absent)]) == 2
    assert str(absent) in capsys.readouterr().err


@dataclass
class Report:
    verdict: Verdict

    def show(self, console: Console) -> None:
        console.print("word " * 40)

    def as_dict(self) -> dict[str, Any]:
        return {"found": "ünïcode"}


@pytest.mark.parametrize("verdict", Verdict)
def test_a_report_ends_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verdict: Verdict
) -> None:
    """It is shown, lines whole where no terminal is; it is written; its verdict is the code."""
    path = tmp_path / "report.json"
    options = argparse.Namespace(outputs=(JSON,), json=path, driver=["./driver", "-v"], seed=7)
    assert finish(Report(verdict), options) == verdict.value
    assert capsys.readouterr().out == "word " * 40 + "\n"
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "report": 1,
        "kit": __version__,
        "spec": SPEC_VERSION,
        "command": ["./driver", "-v"],
        "seed": 7,
        "exit": verdict.value,
        "found": "ünïcode",
    }


def test_lines_are_wrapped_between_words_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "43")
    finish(Report(Verdict.CONFORMS), argparse.Namespace())
    lines = capsys.readouterr().out.splitlines()
    assert {*" ".join(lines).split()} == {"word"}
    assert max(map(len, lines)) <= 43


def test_a_command_without_driver_and_seed_has_none_in_its_report(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    finish(Report(Verdict.CONFORMS), argparse.Namespace(outputs=(JSON,), json=path, driver=[]))
    assert {"command", "seed"} & json.loads(path.read_text(encoding="utf-8")).keys() == set()


def test_the_order_of_verdicts() -> None:
    assert conclude(interrupted=False, broken=False, judged=True) is Verdict.CONFORMS
    assert conclude(interrupted=False, broken=False, judged=False) is Verdict.UNJUDGED
    for judged in (False, True):
        assert conclude(interrupted=False, broken=True, judged=judged) is Verdict.BROKEN
        for broken in (False, True):
            assert conclude(interrupted=True, broken=broken, judged=judged) is Verdict.UNJUDGED
