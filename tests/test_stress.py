"""The stress: it lets a correct implementation pass and catches racy ones."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

import pytest
from mutants import MUTANTS, Edit, Mutant
from pubsub_conformance import cli, stress
from pubsub_conformance.history import Close, Open, Publish, Receive

REFERENCE = Mutant("none", "the reference itself", ())
# Ids of several publishers meet in slow channels all the time.
CLASHES = (
    Edit("ids.py", "_RANDOM_BITS = 10", "_RANDOM_BITS = 3"),
    Edit("ids.py", "time.time_ns() // 1000", "time.time_ns() // 10_000_000"),
)


def mutant(requirement: str, *edits: Edit) -> Mutant:
    (found,) = [mutant for mutant in MUTANTS if mutant.requirement == requirement]
    return Mutant(requirement, found.what, (*found.edits, *edits))


def command(mutant: Mutant, directory: Path) -> list[str]:
    (directory / "mutant").mkdir()
    return [sys.executable, str(mutant.driver(directory / "mutant"))]


@pytest.mark.parametrize(
    ("mutant", "kind"),
    [
        (mutant("PUB-8"), "lost"),
        (mutant("PUB-9"), "torn"),
        (mutant("PUB-3", *CLASHES), "lost"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.requirement,
)
def test_racy_mutant_is_caught_and_explained(
    mutant: Mutant,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    options = ["--no-kills", "--messages", "1500", "--seed", "1"]
    assert cli.main(["stress", *options, "--", *command(mutant, tmp_path)]) == 1
    told = capsys.readouterr().out
    (evidence,) = tmp_path.glob("pubsub-stress-*")
    assert f"pubsub-conformance check {evidence}/history.jsonl" in told
    assert {path.name for path in evidence.iterdir()} == {
        "base",
        "history.jsonl",
        "result.txt",
        "run.json",
    }
    assert cli.main(["check", f"{evidence}/history.jsonl"]) == 1
    explained = capsys.readouterr().out
    assert re.search(rf"^{kind}: .*\n( +[0-9.]+ to [0-9.]+ ms  .*\n)+", explained, re.MULTILINE)


def test_reference_passes_with_kills_and_stops(tmp_path: Path) -> None:
    driver = command(REFERENCE, tmp_path)
    for seconds in (1.5, 5, 15):  # a busy machine may need longer until somebody was disturbed
        load = stress.Load(publishers=2, readers=stress.HABITS, seconds=seconds)
        result = stress.run(driver, tmp_path / "home", 1, load, evidence=tmp_path)
        assert not result.failed, result
        assert result.due
        if result.kills and result.stops:
            return
    raise AssertionError(f"nobody was killed, or nobody stopped: {result}")


def test_reference_passes_with_ids_that_clash(tmp_path: Path) -> None:
    """Else the mutant of PUB-3 would prove nothing."""
    driver = command(Mutant("none", "ids that clash", CLASHES), tmp_path)
    load = stress.Load(messages=1500, kills=False)
    result = stress.run(driver, tmp_path / "home", 1, load, evidence=tmp_path)
    assert not result.failed, result
    assert result.due


def test_same_seed_makes_the_same_schedule(tmp_path: Path) -> None:
    def schedule(seed: int) -> list[object]:
        run = stress._Run([], tmp_path, seed, stress.Load(), None, print)
        bursts = [publisher._draw() for publisher in run.publishers for _ in range(20)]
        moments = islice(stress.disruptions(seed, 0, ["p0", "s0", "s1"]), 20)
        return [*bursts, *moments]

    assert schedule(1) == schedule(1)
    assert schedule(1) != schedule(2)


def test_interrupted_run_is_judged(tmp_path: Path) -> None:
    driver = command(REFERENCE, tmp_path)
    arguments = [sys.executable, "-m", "pubsub_conformance", "stress", "--home", str(tmp_path)]
    with subprocess.Popen(
        [*arguments, "--", *driver], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:  # "starting", where that takes long enough to be told
            if "starting" in line or "publishing" in line:
                break
        process.send_signal(signal.SIGINT)
        said, complaints = process.communicate()
    assert process.returncode == 2
    assert "0 violations, 0 errors, 0 files left over\ninterrupted" in said
    assert "Traceback" not in complaints
    assert [path.name for path in tmp_path.iterdir()] == ["mutant"]


def test_driver_that_dies_by_itself_is_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    edit = Edit(
        "driver.py",
        'if request["report"] == "all":\n                yield {"event": {"n"',
        "if n == 30:\n                sys.exit(3)\n"
        '            if request["report"] == "all":\n                yield {"event": {"n"',
    )
    driver = command(Mutant("none", "dies in its 31st message", (edit,)), tmp_path)
    assert cli.main(["stress", "--messages", "1000", "--no-kills", "--", *driver]) == 2
    assert "exit status 3" in capsys.readouterr().out


def test_what_cannot_be_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "picture").write_bytes(b"\x89PNG\xff")
    for name in ("empty", "picture", "missing"):
        assert cli.main(["check", str(tmp_path / name)]) == 2
    assert cli.main(["stress", "--home", str(tmp_path / "missing"), "--", "true"]) == 2
    assert capsys.readouterr().out == ""


# When queues may be full, and what is left over: by small examples.


def test_queue_may_be_full_only_while_it_can_hold_so_much() -> None:
    opened = Open("c", "+", 0, 1)
    publishes = [Publish("p", n, "a", 0, 0, 100 * n, 100 * n + 50, 1) for n in range(9)]
    # The first three are read while the seventh is published.
    receives = [Receive("c", "p", n, "a", 0, 0, 610, 620) for n in range(3)]
    (span,) = stress._full([opened, *publishes, *receives], {"c": 6})
    assert (span.start, span.end) == (600, 650)
    assert list(stress._full([opened, *publishes, *receives], {"c": 7})) == []
    closed = Close("c", 500, 550)
    assert list(stress._full([opened, *publishes, closed], {"c": 6})) == []


def test_publish_that_waits_meets_a_full_queue_only_if_it_waited() -> None:
    opened = Open("c", "+", 0, 1)
    publishes = [Publish("p", n, "a", 0, 0, 10, 20, 1, timeout=1.0) for n in range(10)]
    assert list(stress._full([opened, *publishes], {"c": 2})) == []
    publishes[3] = publishes[3]._replace(end=10 + 10**9)
    (span,) = stress._full([opened, *publishes], {"c": 2})
    assert (span.start, span.end) == (10, 10 + 10**9)
