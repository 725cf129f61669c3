"""What all commands have in common: the command line, and the end of a command."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pubsub_conformance import __version__
from pubsub_conformance.commands import COMMANDS, main
from pubsub_conformance.commands.options import duration, positive
from pubsub_conformance.commands.outputs import JSON, finish
from pubsub_conformance.driver.protocol import ROLES
from pubsub_conformance.judge.verdict import Verdict, conclude
from pubsub_conformance.requirements import PACKAGE, PREFIXES, SPEC_VERSION
from rich.console import Console

MISBEHAVING = Path(__file__).with_name("misbehaving.py")
NAMES = ["run", "stress", "check", "soak", "faults", "fuzz", "matrix", "bench", "list", "docs"]
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
    assert ("--json FILE" in shown) == (name not in {"list", "docs"})


@pytest.mark.parametrize("name", sorted(NEEDS_DRIVER))
def test_a_driver_is_needed(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name])
    assert ended.value.code == 2
    assert f"{name}: error: the driver's command is missing" in capsys.readouterr().err


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command line, as a user types it; its temporary files are in `cwd`, if that is given."""
    command = [sys.executable, "-m", "pubsub_conformance", *arguments]
    env = {**os.environ, "TMPDIR": str(cwd)} if cwd else None
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", sorted(NEEDS_DRIVER))
@pytest.mark.parametrize("words", [["./absent"], ["sh", "absent"]], ids=["program", "script"])
def test_a_forgotten_double_dash_does_no_harm(name: str, words: list[str], tmp_path: Path) -> None:
    done = run(name, *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "absent" in done.stdout + done.stderr
    assert "usage" not in done.stderr
    assert not os.listdir(tmp_path), "nothing happened, so there is no evidence to keep"


@pytest.mark.parametrize(
    ("line", "better"),
    [
        ("run python -m driver", "run -- python -m driver"),
        ("run ./driver --requirement PUB-7", "run --requirement PUB-7 -- ./driver"),
        ("run -n 0 ./a -x --seed=3 -v", "run -n 0 -x --seed=3 -- ./a -v"),
        ("fuzz ./a --target decode -v b", "fuzz --target decode -- ./a -v b"),
    ],
)
def test_in_doubt_the_right_line_is_shown(line: str, better: str, tmp_path: Path) -> None:
    done = run(*line.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == f"pubsub-conformance {better}"


def test_words_before_the_double_dash_are_no_driver() -> None:
    done = run("run", "nonsense", "--", "./driver")
    assert done.returncode == 2
    assert "unrecognized arguments: nonsense" in done.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("run --requirements /dev/null -- a", "/dev/null is not a copy of requirements.json"),
        ("matrix python driver.py", "'python' is not NAME=COMMAND, such as mine=./my-driver"),
        ("check /dev/stdin", "as in the history.jsonl of a stress run: # no history"),
        ("faults --point link:2:EIO -- a", "--point needs --operation"),
        ("list --section publish PUB-7", "leave out --section and --role"),
    ],
)
def test_what_is_no_use_is_refused_with_what_would_be(line: str, words: str) -> None:
    command = [sys.executable, "-m", "pubsub_conformance", *line.split()]
    done = subprocess.run(
        command, input="# no history", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_without_a_command_the_commands_are_listed() -> None:
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert all(f"    {name} " in done.stderr for name in NAMES)


def test_a_command_without_driver_does_without_the_double_dash(tmp_path: Path) -> None:
    assert "PUB-7" in run("list", "--", "pub-7").stdout
    for command in ("bench", "matrix"):
        assert (
            "the handshake with a failed" in run(command, "--", "a=./absent", cwd=tmp_path).stderr
        )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--requirement", "PUB-99", "-v"], "no requirement 'PUB-99': there are PUB-9,"),
        (["run", "--section", "publishing"], "no section 'publishing': there are publish,"),
        (["run", "--role", "pub"], "no role 'pub': there are publisher,"),
        (["list", "publ-7"], "no requirement 'publ-7': there are PUB-7,"),
        (["list", "--section", "top"], "no section 'top': there are topics,"),
        (["faults", "--operation", "open-frist"], "'open-frist': there are open-first,"),
        (["faults", "--fault", "kil"], "no fault 'kil': there are KILL,"),
        (["fuzz", "--target", "message"], "no target 'message': there are "),
        (["bench", "a=b", "--only", "latent"], "no group 'latent': there are latency,"),
        (["bench", "a=b", "--baseline", "c"], "no implementation 'c': there are a\n"),
        (["run", "-n", "many"], "-n: 'many' is neither a whole number nor auto"),
        (["run", "--sektion", "a", "--", "b"], "arguments: --sektion: did you mean --section?"),
        (["list", "--rolle=a"], "unrecognized arguments: --rolle=a: did you mean --role?"),
    ],
)
def test_an_unknown_name_lists_the_known_ones(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    if "usage" in done.stderr:
        assert done.stderr.startswith(f"usage: pubsub-conformance {arguments[0]} ")


def test_the_pages_are_shown() -> None:
    listed = [line.split()[0] for line in run("docs").stdout.splitlines()]
    assert listed[:4] == ["README", "TUTORIAL", "DRIVER", "spec"]
    assert {*PREFIXES} - {"driver"} < {*listed}
    for name in listed:
        text = run("docs", name.swapcase()).stdout
        assert text.startswith("# ")
    assert "**PUB-7 " in run("docs", "publish").stdout
    assert run("docs", "pub-7").stdout.strip() == run("list", "PUB-7").stdout.strip()
    wrong = run("docs", "tutoral")
    assert wrong.returncode == 2
    assert "no page or requirement 'tutoral': there are TUTORIAL, " in wrong.stderr


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_page_through_the_pager(tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat > {tmp_path}/paged\n")
    pager.chmod(0o755)
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "pubsub_conformance", "docs", "DRIVER"]
    env = {**os.environ, "PAGER": str(pager), "TERM": "xterm"}
    env.pop("MANPAGER", None)
    subprocess.run(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, check=True)
    os.close(theirs)
    os.close(ours)
    assert (tmp_path / "paged").read_text() == (PACKAGE / "DRIVER.md").read_text()


def test_upper_and_lower_case_do_not_matter(tmp_path: Path) -> None:
    assert run("list", "pub-7").stdout == run("list", "PUB-7").stdout != ""
    assert run("list", "--section", "Publish").stdout == run("list", "--section=publish").stdout
    expected = tmp_path / "expected.toml"
    expected.write_text('[[expected]]\nrequirement = "pub-7"\nreason = "known"\n')
    names = ["--requirement=pub-7", "--section=PUBLISH", "--role=Publisher"]
    report = tmp_path / "report.json"
    done = run("run", *names, f"--expected={expected}", f"--json={report}", "--", "./absent")
    assert "the handshake with the driver failed" in done.stdout
    assert run("faults", "--operation=OPEN", "--fault=eio", "./absent").returncode == 2


@pytest.mark.parametrize("name", ["bench", "matrix"])
def test_a_driver_that_does_not_start_ends_a_comparison_at_once(name: str, tmp_path: Path) -> None:
    good = f"good={shlex.join([sys.executable, str(MISBEHAVING), 'well'])}"
    done = run(name, good, "bad=./absent", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the handshake with bad failed\n" in done.stderr
    assert "./absent" in done.stderr


def test_the_help_of_run_names_sections_and_roles(capsys: pytest.CaptureFixture[str]) -> None:
    words = set(re.findall(r"[a-z]+", help_of(capsys, "run")))
    assert words >= {*PREFIXES, *ROLES}


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
