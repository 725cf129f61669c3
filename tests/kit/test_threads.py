"""Run times with threads of their own (threaded.py): the kit passes what is right, and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mutants
import pytest
from mutation import DRIVER

THREADED = Path(__file__).with_name("threaded.py")
MODES = ["naps", "relays", "wakes"]

SAMPLE = ["FETCH-13", "PUB-18", "CHAN-10", "REAP-13"]
"""Requirements whose tests watch a wait, or stop the driver."""

MUTANTS = [("naps", "PUB-18"), ("relays", "FETCH-13"), ("wakes", "FETCH-13")]


def judged(mode: str, driver: Path, directory: Path, *names: str) -> dict[str, str]:
    """The outcomes of these requirements for a driver with such threads."""
    report = directory / "report.json"
    command = [sys.executable, "-m", "pubsub_conformance", "run", "-n", "0", "--seed", "1"]
    command += ["--json", str(report), *(f"--requirement={name}" for name in names)]
    command += ["--", sys.executable, str(THREADED), mode, str(driver)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert report.exists(), run.stdout + run.stderr
    verdicts = json.loads(report.read_text())["requirements"]
    for verdict in verdicts:
        if verdict["outcome"] == "not run":
            pytest.skip(verdict["reason"])
    return {verdict["id"]: verdict["outcome"] for verdict in verdicts}


@pytest.mark.parametrize("mode", MODES)
def test_a_right_implementation_passes(mode: str, tmp_path: Path) -> None:
    assert judged(mode, DRIVER, tmp_path, *SAMPLE) == dict.fromkeys(SAMPLE, "pass")


@pytest.mark.parametrize(("mode", "name"), MUTANTS)
def test_a_mutant_is_caught(mode: str, name: str, tmp_path: Path) -> None:
    driver = mutants.of(name).driver(tmp_path / "mutant")
    assert judged(mode, driver, tmp_path, name) == {name: "fail"}
