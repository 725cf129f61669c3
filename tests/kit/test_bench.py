"""The benchmark measures every figure that it names. No figure is ever asserted."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
from mutants.further import NO_INLINE_LANE
from mutation import REFERENCE
from pubsub_conformance.bench.measures import GROUPS
from pubsub_conformance.commands import main

MISBEHAVING = Path(__file__).with_name("misbehaving.py")
QUICK = ["--rounds", "2", "--seconds", "0.01"]


@pytest.fixture
def reference(tmp_path: Path) -> str:
    return f"ref={shlex.join(REFERENCE.command(tmp_path / 'reference'))}"


def test_short_bench_of_the_reference_is_complete(
    reference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    twin = f"twin={shlex.join(NO_INLINE_LANE.command(tmp_path / 'twin'))}"
    page, summary = tmp_path / "page.html", tmp_path / "summary.md"
    arguments = ["bench", reference, twin, "--baseline", "twin", *QUICK, "--json", str(file)]
    arguments += ["--html", str(page), "--summary", str(summary)]
    code = main([*arguments, "--home", str(tmp_path)])
    output = capsys.readouterr().out
    assert code == 0, output
    report = json.loads(file.read_text())
    assert report["failures"] == {}
    assert report["machine"]["processors"]
    assert list(report["groups"]) == list(GROUPS)
    for name, group in report["groups"].items():
        assert group["method"]
        assert list(group["figures"]) == list(GROUPS[name].figures)
        assert not any(losses["lost"] for losses in group["losses"].values())
        for figure in group["figures"].values():
            assert set(figure) == {"ref", "ref, inline", "twin"}
            for measured in figure.values():
                assert len(measured["rounds"]) == 2
                assert measured["lowest"] <= measured["median"] <= measured["highest"]
            if figure["twin"]["median"]:  # a median of 0 messages lost has no ratio
                assert figure["twin"]["ratio"] == 1
                assert figure["ref"]["ratio"] > 0
    for group in GROUPS.values():
        assert f"\n{group.name}, {group.unit}\n" in output
        for figure_name in group.figures:
            assert f"\n{figure_name} " in output
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == sum(len(group.figures) for group in GROUPS.values())
    assert "rounds in turn: 2" in summary.read_text(encoding="utf-8")
    assert "rounds in turn: 2" in output
    assert "ratios to twin" in output
    lanes = {name: each["lane"] for name, each in report["implementations"].items()}
    assert lanes == {"ref": "files", "ref, inline": "inline", "twin": "files"}
    assert not list(tmp_path.glob("pubsub-*"))


def test_contender_that_fails_is_reported_and_the_others_go_on(
    reference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    dead = f"dead={shlex.join([sys.executable, str(MISBEHAVING), 'publishes-nothing'])}"
    arguments = ["bench", reference, dead, "--only", "single", "--json", str(file)]
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
