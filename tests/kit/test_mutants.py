"""Each rule's tests fail the reference with that rule broken (tests/tools/mutants/)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from c_mutation import CMutant
from falsification import DATA, PAGE, Entry, by_requirement, failed, kit, page
from mutants import MUTANTS
from mutants.c import C_MUTANTS
from mutants.within import WITHIN
from mutation import ROOT, Mutant
from pubsub_conformance import requirements

# What they find hangs on schedules as well, and so now and then they find more.
DRAWN = (
    "test_lockstep.py::test_lockstep",
    "test_guarantee.py::test_nobody_waits_for_a_stopped_process",
)

TABLE: list[Entry] = json.loads(DATA.read_text(encoding="utf-8"))


def _of(entry: Entry) -> tuple[str, str]:
    return entry["requirement"], entry["mutant"]


def _caught(mutant: Mutant | CMutant, directory: Path) -> set[str]:
    """Runs the tests of the mutant's requirement, which has to fail. Returns those that failed."""
    report = directory / "report.json"
    selection = ("-x", "--requirement", mutant.requirement)
    run = kit(mutant, directory / "mutant", *selection, "--json", str(report))
    assert report.exists(), run.stdout + run.stderr
    (verdict,) = json.loads(report.read_text())["requirements"]
    if verdict["outcome"] == "not run":
        pytest.skip(verdict["reason"])
    assert verdict["outcome"] == "fail", run.stdout
    return failed(report)[mutant.requirement]


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_the_kit_catches(mutant: Mutant, tmp_path: Path) -> None:
    """By the rule's own assertion: a mutant that crashes or hangs has proved nothing."""
    found = _caught(mutant, tmp_path)
    (entry,) = (entry for entry in TABLE if _of(entry) == (mutant.requirement, mutant.what))
    known = {*entry["caught_by"], *DRAWN}
    assert found <= known, "the table is out of date"


@pytest.mark.parametrize("mutant", C_MUTANTS, ids=str)
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make and a C compiler")
def test_the_kit_catches_in_c(mutant: CMutant, tmp_path: Path) -> None:
    """By the rule's own assertion, too."""
    _caught(mutant, tmp_path)


@pytest.mark.parametrize("rule", WITHIN)
def test_the_tests_of_the_reference_catch(rule: str, tmp_path: Path) -> None:
    """What no driver shows. The test passes with the reference itself: others run it."""
    mutant, test = WITHIN[rule]
    shutil.copytree(ROOT / "pubsub", tmp_path / "pubsub")
    mutant.driver(tmp_path)
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", f"{ROOT}/tests/reference/{test}"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    if " skipped" in done.stdout:
        pytest.skip("queues of this system are not marked")
    assert "1 failed" in done.stdout, done.stdout + done.stderr
    assert "AssertionError" in done.stdout, done.stdout


def test_each_must_has_a_mutant() -> None:
    falsified = {mutant.requirement for mutant in MUTANTS}
    known = requirements.parse(requirements.spec_pages())
    musts = {r.id for r in known.values() if r.level == "MUST" and not r.untested}
    assert musts - falsified == set(), "no mutant breaks these"
    assert falsified - set(known) == set(), "the specification has no such requirement"


def test_the_table_says_what_there_is() -> None:
    """Written again by `python tests/tools/falsification.py`."""
    of = by_requirement()
    assert [_of(entry) for entry in TABLE] == [(one.requirement, one.what) for one in MUTANTS]
    for entry in TABLE:
        assert set(entry["caught_by"]) & set(of[entry["requirement"]]) == set(entry["caught_by"])
        assert entry["caught_by"], entry
    assert PAGE.read_text(encoding="utf-8") == page(TABLE, of)
