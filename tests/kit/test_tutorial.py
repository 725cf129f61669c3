"""The tutorial of the kit does what it says, and prints what it shows."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "conformance/TUTORIAL.md"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LEFT_OUT = "…"
VARIES = ((r"\d+\.\d s, seed \d+", "0.0 s, seed 0"), (r"--seed \d+", "--seed 0"))


# The tutorial shows a run on Linux. Elsewhere, what is missing turns a pass into *not run*.
NOT_RUN = (
    (r"(?m)^(  [A-Z]+-\d+ +)(?:pass|not run) .*$", r"\1pass"),
    (r"(?:\d+ not run, )?\d+ pass|\d+ not run", "0 pass"),
    (r" in all that could be run here; \d+ requirements? w(?:as|ere) not(?:: .*)?", ""),
)


def comparable(text: str) -> list[str]:
    status = Path("/proc/self/status")
    complete = shutil.which("strace") and status.exists() and "VmPeak" in status.read_text()
    for pattern, same in VARIES if complete else (*VARIES, *NOT_RUN):
        text = re.sub(pattern, same, text)
    return [line.rstrip() for line in text.splitlines()]


def is_shown(shown: list[str], printed: list[str]) -> bool:
    """Whether the lines are the same, `…` standing for any number of lines."""
    if not shown:
        return not printed
    if shown[0] == LEFT_OUT:
        return any(is_shown(shown[1:], printed[at:]) for at in range(len(printed) + 1))
    return bool(printed) and shown[0] == printed[0] and is_shown(shown[1:], printed[1:])


def test_what_is_left_out_is_found_again() -> None:
    assert is_shown(["a", "…", "c", "…"], ["a", "b", "c"])
    assert not is_shown(["a", "…", "c"], ["a", "b"])
    assert not is_shown(["a"], ["a", "b"])


@pytest.mark.timeout(600)  # nine runs of the kit
def test_the_tutorial(tmp_path: Path) -> None:
    programs = {"python": [sys.executable]}
    programs["pubsub-conformance"] = [sys.executable, "-m", "pubsub_conformance"]
    (tmp_path / "bin").mkdir()
    for name, command in programs.items():
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "NO_COLOR": "1"}
    (tmp_path / "work").mkdir()
    blocks = BLOCK.findall(TUTORIAL.read_text(encoding="utf-8"))
    assert {kind for kind, _ in blocks} == {"python", "console"}
    for kind, text in blocks:
        first, _, rest = text.partition("\n")
        if kind == "python":
            named = re.fullmatch(r"# (\w+\.py)", first)
            assert named, first
            (tmp_path / "work" / named[1]).write_text(text, encoding="utf-8")
            continue
        run = subprocess.run(
            shlex.split(first.removeprefix("$ ")),
            cwd=tmp_path / "work",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        shown, printed = comparable(rest), comparable(run.stdout)
        assert is_shown(shown, printed), f"{first}\n{run.stdout}{run.stderr}"
