"""What drivers have open after a test of another requirement (BASE-16)."""

from __future__ import annotations

from pathlib import Path

from falsification import failed, kit
from mutants.further import LEAVES_A_QUEUE_OPEN


def test_what_a_test_leaves_open_breaks_the_requirement_of_descriptors(tmp_path: Path) -> None:
    """The tests of PUB-3 find nothing wrong, and none of BASE-16 has an id that is taken."""
    report = tmp_path / "report.json"
    selection = ("--requirement", "BASE-16", "--requirement", "PUB-3", "--json", str(report))
    run = kit(LEAVES_A_QUEUE_OPEN, tmp_path / "mutant", *selection)
    assert report.exists(), run.stdout + run.stderr
    found = failed(report)
    assert found.keys() == {"BASE-16"}, run.stdout
    assert "publish/test_ids.py::test_an_id_taken_in_a_channel" in found["BASE-16"]
    assert "/queue" in run.stdout


def test_the_requirement_of_descriptors_is_judged_only_if_it_is_selected(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    kit(LEAVES_A_QUEUE_OPEN, tmp_path / "mutant", "--requirement", "PUB-3", "--json", str(report))
    assert failed(report) == {}
