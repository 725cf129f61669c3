"""What drivers have open after a test of another requirement (BASE-16)."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from falsification import failed
from mutants.further import LEAVES_A_QUEUE_OPEN
from pubsub_conformance import suite
from pubsub_conformance.commands.run import ISOLATED

TAKEN = "publish/test_ids.py::test_an_id_taken_in_a_channel"


def judged(directory: Path, *requirements: str) -> tuple[dict[str, set[str]], str]:
    """What fails where an id is taken, and the report. No test of BASE-16 takes an id."""
    report = directory / "report.json"
    # Not with the options of this project's own run: an ordinary user cannot write its cache.
    command = [sys.executable, "-m", "pytest", *ISOLATED, "-n", "0"]
    command += ["--driver", shlex.join(LEAVES_A_QUEUE_OPEN.command(directory / "mutant"))]
    command += [word for one in requirements for word in ("--requirement", one)]
    tests = f"{suite.__path__[0]}/{TAKEN}"
    run = subprocess.run([*command, "--json", report, tests], capture_output=True, text=True)
    assert report.exists(), run.stdout + run.stderr
    return failed(report), run.stdout


def test_what_a_test_leaves_open_breaks_the_requirement_of_descriptors(tmp_path: Path) -> None:
    found, shown = judged(tmp_path, "BASE-16", "PUB-3")
    assert found == {"BASE-16": {TAKEN}}, shown
    assert "/queue" in shown


def test_the_requirement_of_descriptors_is_judged_only_if_it_is_selected(tmp_path: Path) -> None:
    found, shown = judged(tmp_path, "PUB-3")
    assert found == {}, shown
