"""The benchmark measures all that it says; no figure is ever asserted."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from mutation import Mutant
from pubsub_conformance import alternatives, bench
from pubsub_conformance.commands import main
from pubsub_conformance.driver import Driver

QUICK = ["--rounds", "2", "--seconds", "0.01"]


@pytest.fixture
def reference(tmp_path: Path) -> str:
    directory = tmp_path / "reference"
    directory.mkdir()
    driver = Mutant("none", "the reference itself").driver(directory)
    return f"ref={shlex.join([sys.executable, str(driver)])}"


def complete(report: dict[str, Any], names: list[str], rounds: int) -> None:
    """Every figure is there, of everybody whom it concerns."""
    assert report["left_out"] == report["failures"] == {}
    assert report["machine"]["processors"]
    for name, group in report["groups"].items():
        assert group["method"]
        assert list(group["figures"]) == list(bench.GROUPS[name].figures)
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
    told = capsys.readouterr().out
    assert code == 0, told
    report = json.loads(file.read_text())
    assert list(report["groups"]) == list(bench.GROUPS)
    complete(report, ["ref", "twin"], rounds=2)
    for group in report["groups"].values():
        assert not any(losses["lost"] for losses in group["losses"].values())
        for figure in group["figures"].values():
            if figure["twin"]["median"]:  # nothing lost has no ratio
                assert figure["twin"]["ratio"] == 1
                assert figure["ref"]["ratio"] > 0
    for group in bench.GROUPS.values():
        assert f"\n{group.name}, {group.unit}\n" in told
        for figure_name in group.figures:
            assert f"\n{figure_name} " in told
    assert "rounds in turn: 2" in told
    assert "ratios to twin" in told
    assert not list(tmp_path.glob("pubsub-*"))


@pytest.mark.parametrize("name", alternatives.NAMES)
def test_alternative_is_measured_or_said_to_be_missing(
    name: str, reference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    arguments = ["bench", reference, f"other=alternative:{name}", "--json", str(file), *QUICK]
    groups = [group for group in bench.GROUPS if group != "foreign"]
    code = main([*arguments, *(f"--only={group}" for group in groups)])
    told = capsys.readouterr().out
    assert code == 0, told
    report = json.loads(file.read_text())
    if missing := alternatives.module(name).missing():
        assert f"other is left out: {missing}" in told
        assert report["left_out"] == {"other": missing}
    else:
        complete(report, ["ref", "other"], rounds=2)


def test_message_comes_through_an_alternative_as_it_was_sent(tmp_path: Path) -> None:
    for name in alternatives.NAMES:
        module = alternatives.module(name)
        if module.missing():
            continue
        home = tmp_path / name
        home.mkdir()
        with (
            module.hosting(home),
            Driver(alternatives.command(name), home) as publisher,
            Driver(alternatives.command(name), home) as subscriber,
        ):
            channel = subscriber.open("a")
            headers = {"text": "ä", "number": 1.5, "nothing": None}
            while not subscriber.wait(channel, 0.05):  # some need a while to connect
                publisher.publish("a", b"\0\xff" * 1000, headers)
            message = subscriber.fetch(channel)
            assert message
            assert (message.topic, message.headers) == ("a", headers)
            assert message.content == b"\0\xff" * 1000
            subscriber.close_channel(channel)


def test_contender_that_fails_is_told_and_the_others_go_on(
    reference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    arguments = ["bench", reference, "dead=false", "--only", "single", "--json", str(file)]
    assert main([*arguments, *QUICK]) == 2
    assert "dead was measured no further" in capsys.readouterr().out
    report = json.loads(file.read_text())
    assert report["failures"].keys() == {"dead"}
    assert len(report["groups"]["single"]["figures"]["publish, p50"]["ref"]["rounds"]) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["a=alternative:kafka"],
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
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err
