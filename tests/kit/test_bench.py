"""The benchmark measures all that it says; no figure is ever asserted."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from mutation import Mutant
from pubsub_conformance.bench.measures import GROUPS
from pubsub_conformance.commands import main

QUICK = ["--rounds", "2", "--seconds", "0.01"]


@pytest.fixture
def reference(tmp_path: Path) -> str:
    directory = tmp_path / "reference"
    directory.mkdir()
    driver = Mutant("none", "the reference itself").driver(directory)
    return f"ref={shlex.join([sys.executable, str(driver)])}"


def complete(report: dict[str, Any], names: list[str], rounds: int) -> None:
    """Every figure is there, of everybody whom it concerns."""
    assert report["failures"] == {}
    assert report["machine"]["processors"]
    for name, group in report["groups"].items():
        assert group["method"]
        assert list(group["figures"]) == list(GROUPS[name].figures)
        for figure in group["figures"].values():
            assert set(figure) == set(names)
            for measured in figure.values():
                assert len(measured["rounds"]) == rounds
                assert measured["lowest"] <= measured["median"] <= measured["highest"]
        for losses in group["losses"].values():
            assert 0 <= losses["lost"] <= losses["sent"]


def test_short_bench_of_the_reference_is_complete(
    reference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    twin = reference.replace("ref=", "twin=")
    arguments = ["bench", reference, twin, "--baseline", "twin", *QUICK, "--json", str(file)]
    code = main([*arguments, "--home", str(tmp_path)])
    output = capsys.readouterr().out
    assert code == 0, output
    report = json.loads(file.read_text())
    assert list(report["groups"]) == list(GROUPS)
    complete(report, ["ref", "twin"], rounds=2)
    for group in report["groups"].values():
        assert not any(losses["lost"] for losses in group["losses"].values())
        for figure in group["figures"].values():
            if figure["twin"]["median"]:  # nothing lost has no ratio
                assert figure["twin"]["ratio"] == 1
                assert figure["ref"]["ratio"] > 0
    for group in GROUPS.values():
        assert f"\n{group.name}, {group.unit}\n" in output
        for figure_name in group.figures:
            assert f"\n{figure_name} " in output
    assert "rounds in turn: 2" in output
    assert "ratios to twin" in output
    assert not list(tmp_path.glob("pubsub-*"))


def test_contender_that_fails_is_reported_and_the_others_go_on(
    reference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    arguments = ["bench", reference, "dead=false", "--only", "single", "--json", str(file)]
    assert main([*arguments, *QUICK]) == 2
    assert "dead was not measured any further" in capsys.readouterr().out
    report = json.loads(file.read_text())
    assert report["failures"].keys() == {"dead"}
    assert len(report["groups"]["single"]["figures"]["publish, p50"]["ref"]["rounds"]) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["a"],
        ["a=true", "--baseline", "b"],
        ["a=true", "--only", "nothing"],
        ["a=true", "--home", "missing"],
    ],
)
def test_what_cannot_be_measured(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err
