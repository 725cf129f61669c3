"""The soak: it lets the reference pass and names what grows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mutants
import pytest
from interrupted import interrupted
from mutants.further import (
    DIES_AS_IT_OPENS,
    KEEPS_MESSAGES,
    LEAVES_DESCRIPTORS,
    LEAVES_STAGED_FILES,
)
from mutation import REFERENCE, Edit, Mutant
from pubsub_conformance import faketime
from pubsub_conformance.commands import main
from pubsub_conformance.judge.verdict import Verdict
from pubsub_conformance.oracle.base import STALE_AGE
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


@pytest.mark.skipif(sys.platform != "linux", reason="queues are marked on Linux only")
def test_publisher_that_keeps_too_many_queues_open_is_found(tmp_path: Path) -> None:
    """An eighth of 128 descriptors, and one while it publishes; 30 channels are marked."""
    keeps = mutants.of("INLINE-22").command(tmp_path / "mutant")
    limited = ["sh", "-c", 'ulimit -Sn 128; exec "$@"', "sh", *keeps]
    base = tmp_path / "base"
    result = soak.run(limited, base, seconds=1, channels=30, seed=1, lane="inline")
    assert not result.errors
    assert result.verdict is Verdict.BROKEN, str(result)
    assert [(kept.who, kept.allowed, kept.too_many) for kept in result.kept] == [
        ("p0", 17, True),
        ("p2", 17, True),
    ]
    assert "INLINE-22: a publisher keeps at most 256" in str(result)


def test_interrupted_soak_leaves_nothing(tmp_path: Path) -> None:
    arguments = ["soak", "--home", str(tmp_path), "--", *REFERENCE.command(tmp_path / "mutant")]
    ended = interrupted(arguments, ("starting",))
    assert ended.returncode == 2
    assert "interrupted: nothing is proved" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mutant"]


@pytest.mark.skipif(faketime.preload() is None, reason="needs libfaketime")
def test_tmp_levels_out_once_what_is_left_there_is_stale(tmp_path: Path) -> None:
    """Both leave staged files all the time, as killed processes do; only one of them reaps."""
    reaps = LEAVES_STAGED_FILES
    keeps = Mutant("REAP-7", "does not reap tmp", *reaps.edits, Edit("_reap_tmp", None, "pass"))
    for name, mutant in (("reaps", reaps), ("keeps", keeps)):
        command = mutant.command(tmp_path / name)
        ahead = faketime.ahead(command, STALE_AGE - 2, tmp_path / f"{name}-clock")
        base = tmp_path / f"{name}-base"
        result = soak.run(ahead, base, seconds=12, channels=30, seed=1, stale=True)
        assert not result.errors
        tmp = next(series for series in result.series if series.what == "entries of tmp")
        assert tmp.grows == (mutant is keeps), str(result)


def test_clock_ahead_needs_four_times_the_time_until_something_is_stale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["soak", "--home", str(tmp_path), "--clock-ahead", "3540", "--seconds", "239"]
    assert main([*arguments, "--", "true"]) == 2
    assert "--clock-ahead 3540 needs --seconds 240 or more" in capsys.readouterr().err


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


def test_once_it_is_stale_what_they_leave_to_a_reaper_may_not_grow() -> None:
    kills = [*range(40)]
    assert series_of("base", "tmp", [*range(40)], kills, stale=True).grows
    assert not series_of("base", "tmp", [*range(10), *[10] * 30], kills, stale=True).grows
    assert not series_of("base", "files", [*range(0, 80, 2)], kills, stale=True).grows
