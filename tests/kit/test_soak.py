"""The soak: it lets the reference pass and names what grows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from interrupted import interrupted
from mutants.further import (
    DIES_AS_IT_OPENS,
    KEEPS_MESSAGES,
    LEAVES_DESCRIPTORS,
    LEAVES_STAGED_FILES,
)
from mutation import REFERENCE, Mutant
from pubsub_conformance.commands import main
from pubsub_conformance.judge.verdict import Verdict
from pubsub_conformance.stress import soak
from pubsub_conformance.stress.samples import Samples, series_of

LEAKS = {
    "entries of tmp": LEAVES_STAGED_FILES,
    "open descriptors": LEAVES_DESCRIPTORS,
    "resident memory, KiB": KEEPS_MESSAGES,
}

if Samples().not_checked:
    del LEAKS["open descriptors"], LEAKS["resident memory, KiB"]


def soaked(driver: list[str], directory: Path, seconds: float) -> soak.Result:
    return soak.run(driver, directory / f"base{seconds}", seconds=seconds, channels=30, seed=1)


def test_each_leak_is_found_and_named(tmp_path: Path) -> None:
    edits = [edit for leak in LEAKS.values() for edit in leak.edits]
    leaking = Mutant("PUB-14", "leaks", *edits).command(tmp_path / "mutant")
    for seconds in (5, 15, 30):  # on a busy machine little happens in five
        result = soaked(leaking, tmp_path, seconds)
        assert not result.errors
        grows = {series.what for series in result.series if series.grows}
        # The directory itself may grow with its entries.
        if grows - {"octets of tmp itself"} == set(LEAKS):
            break
    else:
        raise AssertionError(f"{result}\nof {set(LEAKS)} only {grows} are found")
    assert result.verdict is Verdict.BROKEN
    for what in LEAKS:
        assert f"{what} grow: " in str(result)


def test_reference_is_flat(tmp_path: Path) -> None:
    result = soaked(REFERENCE.command(tmp_path / "mutant"), tmp_path, 5)
    assert result.verdict is Verdict.CONFORMS, str(result)
    assert result.kills
    assert result.opened > 30
    assert json.loads(json.dumps(result.as_dict()))["series"][0]["grows"] is False


def test_interrupted_soak_leaves_nothing(tmp_path: Path) -> None:
    arguments = ["soak", "--home", str(tmp_path), "--", *REFERENCE.command(tmp_path / "mutant")]
    ended = interrupted(arguments, ("starting",))
    assert ended.returncode == 2
    assert "interrupted: nothing is proved" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mutant"]


def test_driver_that_dies_by_itself_is_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dying = DIES_AS_IT_OPENS.command(tmp_path / "mutant")
    assert main(["soak", "--home", str(tmp_path), "--", *dying]) == 2
    assert "exit status 3" in capsys.readouterr().out


# What is flat, by small examples.

STEADY = [5, 9, 7, 8] * 10


def test_noise_is_flat() -> None:
    assert not series_of("base", "base", STEADY, [0] * 40).grows


def test_what_is_only_warming_up_is_flat() -> None:
    rising = [*range(0, 1000, 100), *[1000] * 30]
    assert not series_of("base", "base", rising, [0] * 40).grows


def test_what_rises_all_the_time_grows() -> None:
    series = series_of("base", "base", range(0, 400, 10), [0] * 40)
    assert series.grows
    assert (series.first, series.last, series.allowed, series.least) == (0, 390, 200, 300)


def test_killed_processes_may_leave_one_file_each() -> None:
    kills = [*range(40)]
    assert not series_of("base", "tmp", [*range(40)], kills).grows
    assert series_of("base", "tmp", [*range(0, 400, 10)], kills).grows
    assert series_of("base", "base", [*range(0, 400, 10)], kills).grows
