"""The lockstep schedules: they find faults, and show scripts that fail again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import mutants
import pytest
from falsification import kit
from mutants.further import WRITES_NO_RECORDS
from mutation import ROOT, Edit, Mutant
from pubsub_conformance.driver import DriverError
from pubsub_conformance.driver.protocol import OPS
from pubsub_conformance.lockstep.search import search

REFERENCE = [sys.executable, str(ROOT / "conformance/implementations/reference/driver.py")]
ALL_ROLES = '["topics", "codec", "publisher", "subscriber", "reaper", "inline"]'


def replay(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    (directory / "script.py").write_text(script)
    command = [sys.executable, str(directory / "script.py")]
    env = {**os.environ, "TMPDIR": str(directory)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "mutant",
    [
        *map(mutants.of, ("GUAR-1", "GUAR-5", "CHAN-14", "REAP-8", "INLINE-2")),
        WRITES_NO_RECORDS,
    ],
    ids=lambda mutant: mutant.requirement,
)
def test_a_mutant_fails_and_its_script_fails_again(mutant: Mutant, tmp_path: Path) -> None:
    """The script is short, fails at its last line, and does not fail the reference."""
    command = mutant.command(tmp_path / "mutant")
    found = search(command, under=None, seed=1)
    assert found is not None
    assert found.requirement == mutant.requirement, str(found)
    assert len(found.steps) <= 8, str(found)
    script = "\n".join(found.script)
    again = replay(script, tmp_path)
    assert again.returncode == 1
    assert f"line {len(script.splitlines())}, in" in again.stderr
    assert "Broken: expected " in again.stderr
    well = replay(script.replace(str(command), str(REFERENCE)), tmp_path)
    assert (well.returncode, well.stderr) == (0, "")


def test_what_a_search_did_not_get_to_is_not_run(tmp_path: Path) -> None:
    """Of a search that ended early, only the requirement that is broken has a verdict."""
    selection = ["--requirement", "REAP-8", "--requirement", "REAP-2"]
    report = tmp_path / "report.json"
    run = kit(
        mutants.of("REAP-8"), tmp_path / "mutant", *selection, "--seed", "1", "--json", str(report)
    )
    assert run.returncode == 1, run.stdout + run.stderr
    tests = {
        test["name"]: test
        for requirement in json.loads(report.read_text())["requirements"]
        for test in requirement["tests"]
    }
    assert tests["test_lockstep.py::test_lockstep[REAP-8]"]["outcome"] == "fail"
    other = tests["test_lockstep.py::test_lockstep[REAP-2]"]
    assert other["outcome"] == "not run"
    assert other["reason"].startswith("the search ended at REAP-8, schedule ")


def test_a_driver_that_cannot_start_is_a_result(tmp_path: Path) -> None:
    """It is kept, so that the driver is not started again for each requirement."""
    found = search([sys.executable, "-c", "raise SystemExit(3)"], under=None, seed=1)
    assert found is not None
    assert isinstance(found.error, DriverError)
    assert found.requirement is None


@pytest.mark.parametrize("role", ["publisher", "subscriber", "reaper"])
def test_a_driver_of_one_role_is_asked_for_nothing_else(role: str, tmp_path: Path) -> None:
    """Any other request ends it, which would be a driver error."""
    allowed = [name for name, op in OPS.items() if op.role in (None, role)]
    edits = (
        Edit("Driver.hello", ALL_ROLES, f"[{role!r}]"),
        Edit("Driver.answer", None, f"assert op in {allowed}; ..."),
    )
    command = Mutant("", "one role", *edits).command(tmp_path / "mutant")
    assert search(command, under=None, seed=1) is None
