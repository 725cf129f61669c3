"""The soak: it lets the reference pass and names what grows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from interrupted import interrupted
from mutation import Edit, Mutant
from pubsub_conformance.commands import main
from pubsub_conformance.judge.verdict import Verdict
from pubsub_conformance.stress import soak
from pubsub_conformance.stress.samples import series_of

REFERENCE = Mutant("none", "the reference itself")
LEAKS = {
    "entries of tmp": Edit(  # one for each publish to a queue that is full
        "_Delivery.run",
        "self._copies.remove(self._staged)",
        """
        if self._count:
            ...
        else:
            self._copies._made.clear()
        """,
    ),
    "open descriptors": Edit(  # one for each opening
        "Inbox._make",
        "self._tmp.close()",
        "self._tmp.clear()",
    ),
    "resident memory, KiB": Edit(  # each message
        "Inbox.take_message",
        "return hand.message",
        """
        _read.__dict__.setdefault("kept", []).append(hand.message)
        ...
        """,
    ),
}


if not Path("/proc/self/fd").is_dir():  # then a soak says that it looks at neither
    del LEAKS["open descriptors"], LEAKS["resident memory, KiB"]


def driver(mutant: Mutant, directory: Path) -> list[str]:
    (directory / "mutant").mkdir()
    return [sys.executable, str(mutant.driver(directory / "mutant"))]


def soaked(driver: list[str], directory: Path, seconds: float) -> soak.Result:
    return soak.run(driver, directory / f"base{seconds}", seconds=seconds, channels=30, seed=1)


def test_each_leak_is_found_and_named(tmp_path: Path) -> None:
    leaking = driver(Mutant("PUB-14", "leaks", *LEAKS.values()), tmp_path)
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
    result = soaked(driver(REFERENCE, tmp_path), tmp_path, 5)
    assert result.verdict is Verdict.CONFORMS, str(result)
    assert result.kills
    assert result.opened > 30
    assert json.loads(json.dumps(result.as_dict()))["series"][0]["grows"] is False


def test_interrupted_soak_leaves_nothing(tmp_path: Path) -> None:
    arguments = ["soak", "--home", str(tmp_path), "--", *driver(REFERENCE, tmp_path)]
    ended = interrupted(arguments, ("starting",))
    assert ended.returncode == 2
    assert "interrupted: nothing is proved" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mutant"]


def test_driver_that_dies_by_itself_is_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dying = driver(Mutant("none", "dies", Edit("Driver.open", None, "sys.exit(3); ...")), tmp_path)
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
