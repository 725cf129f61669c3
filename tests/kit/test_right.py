"""Implementations that are right in another way than the reference pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from falsification import kit
from mutation import Edit, Mutant

LISTS_TWICE = Mutant(
    "CHAN-17",
    "lists a directory again before it removes it",
    Edit(
        "remove",
        "_empty(at, name, refused)",
        "...; refused or _empty(at, name, refused)",
    ),
)


@pytest.mark.parametrize("variant", [LISTS_TWICE], ids=str)
def test_a_right_variant_passes(variant: Mutant, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    selection = ("--requirement", variant.requirement, "--json", str(report))
    run = kit(variant, tmp_path / "variant", *selection)
    assert report.exists(), run.stdout + run.stderr
    (verdict,) = json.loads(report.read_text())["requirements"]
    reasons = {test["reason"] for test in verdict["tests"] if test["outcome"] == "not run"}
    if "strace" in " ".join(reasons):
        pytest.skip(" ".join(reasons))
    assert not reasons
    assert verdict["outcome"] == "pass", run.stdout
