"""The stress: it lets a correct implementation pass and catches racy ones."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

import mutants
import pytest
from interrupted import interrupted
from mutants.further import (
    CLASHES,
    COUNTS_WITHOUT_ROOM,
    DIES_WHILE_IT_PUBLISHES,
    DROPS_WITHOUT_DESCRIPTORS,
    ENDS_LARGE_MESSAGES_LATER,
    NEVER_LOOKS,
    OVERWRITES,
)
from mutation import REFERENCE, Edit, Mutant
from pubsub_conformance.commands import main
from pubsub_conformance.driver import Rejected
from pubsub_conformance.judge.events import Close, Open, Publish, Receive
from pubsub_conformance.judge.fullness import full_spans
from pubsub_conformance.judge.leftovers import leftovers
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import a_message
from pubsub_conformance.oracle.record import send
from pubsub_conformance.stress.disturb import Trouble, moments
from pubsub_conformance.stress.lanes import Lane
from pubsub_conformance.stress.load import CHAOS, HABITS, SHORT, Load, What
from pubsub_conformance.stress.publisher import Publisher
from pubsub_conformance.stress.run import run
from pubsub_conformance.stress.scene import Scene


@pytest.mark.parametrize(
    ("mutant", "kind"),
    [
        (mutants.of("PUB-8"), "lost"),
        (mutants.of("PUB-9"), "torn"),
        (OVERWRITES, "lost"),
        (mutants.of("INLINE-7"), "torn"),
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
    report = tmp_path / "report.json"
    lane = "inline" if mutant.requirement.startswith("INLINE") else "files"
    options = ["--no-kills", "--messages", "1500", "--seed", "1", "--lane", lane]
    options += ["--json", str(report)]
    assert main(["stress", *options, "--", *mutant.command(tmp_path / "mutant")]) == 1
    shown = capsys.readouterr().out
    (evidence,) = tmp_path.glob("pubsub-stress-*")
    assert f"pubsub-conformance check {evidence}/history.jsonl" in shown
    assert kind in {violation["kind"] for violation in json.loads(report.read_text())["violations"]}
    assert {path.name for path in evidence.iterdir()} == {
        "base",
        "history.jsonl",
        "result.txt",
        "run.json",
    }
    assert main(["check", "--json", str(report), f"{evidence}/history.jsonl"]) == 1
    assert json.loads(report.read_text())["exit"] == 1
    explained = capsys.readouterr().out
    assert re.search(rf"^{kind}: .*\n( +[0-9.]+ to [0-9.]+ ms  .*\n)+", explained, re.MULTILINE)


@pytest.mark.skipif(sys.platform != "linux", reason="queues are marked on Linux only")
@pytest.mark.parametrize("lane", [None, "inline"])
def test_lanes_are_those_that_were_asked_for(lane: Lane | None, tmp_path: Path) -> None:
    """Without one, every other channel of a driver with the role inline is marked."""
    driver = REFERENCE.command(tmp_path / "mutant")
    load = Load(2, ("steady", "steady"), messages=200, kills=False, largest=2000, lane=lane)
    result = run(driver, tmp_path / "home", 1, load, evidence=tmp_path)
    assert not result.failed, result
    marked = 2 if lane else 1
    assert (result.opened, result.marked) == (2, marked)
    assert 0 < result.perhaps_records < result.receives
    assert "lanes: " in str(result)


def test_lane_needs_the_role(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roles = '["topics", "codec", "publisher", "subscriber", "reaper", "inline"]'
    edit = Edit("Driver.hello", roles, roles.replace(', "inline"', ""))
    driver = Mutant("none", "without the lane", edit).command(tmp_path / "mutant")
    options = ["--home", str(tmp_path), "--messages", "50", "--no-kills"]
    assert main(["stress", *options, "--lane", "mixed", "--", *driver]) == 2
    assert "the driver does not claim the roles inline" in capsys.readouterr().out
    assert main(["stress", *options, "--", *driver]) == 0
    assert "lanes: " not in capsys.readouterr().out


def test_drawn_load_of_run_catches_what_its_other_tests_do_not(tmp_path: Path) -> None:
    """It needs a large message that is read while it is written; some seeds make none."""
    driver = ENDS_LARGE_MESSAGES_LATER.command(tmp_path / "mutant")
    for seed in range(1, 11):
        result = run(driver, tmp_path / f"home{seed}", seed, SHORT, evidence=tmp_path)
        if result.violations:
            break
    assert "torn" in {violation.kind for violation in result.violations}, result


def test_reference_passes_with_kills_and_stops(tmp_path: Path) -> None:
    driver = REFERENCE.command(tmp_path / "mutant")
    for seconds in (1.5, 5, 15):  # a busy machine may need longer until somebody was disturbed
        load = Load(publishers=2, readers=HABITS, seconds=seconds)
        result = run(driver, tmp_path / "home", 1, load, evidence=tmp_path)
        assert not result.failed, result
        assert result.due
        if result.done["kill"] and result.done["stop"]:
            return
    raise AssertionError(f"nobody was killed, or nobody stopped: {result}")


def test_reference_passes_with_ids_that_clash(tmp_path: Path) -> None:
    """Else the mutant of PUB-3 would prove nothing."""
    driver = CLASHES.command(tmp_path / "mutant")
    load = Load(messages=1500, kills=False)
    result = run(driver, tmp_path / "home", 1, load, evidence=tmp_path)
    assert not result.failed, result
    assert result.due


@pytest.mark.parametrize(
    ("mutant", "what", "words"),
    [
        (DROPS_WITHOUT_DESCRIPTORS, "descriptors", "lost: .* never yielded"),
        (NEVER_LOOKS, "rename", "channel: .* had been removed by"),
        (mutants.of("BASE-13"), "remove", "^base-unusable: ENOENT"),
    ],
    ids=lambda value: value.requirement if isinstance(value, Mutant) else "",
)
def test_mutant_that_only_chaos_finds_is_caught(
    mutant: Mutant, what: What, words: str, tmp_path: Path
) -> None:
    """Without chaos it is as good as the reference: it differs only where something fails."""
    if what == "descriptors" and not hasattr(resource, "prlimit"):
        pytest.skip("prlimit is a matter of Linux")
    driver = mutant.command(tmp_path / "mutant")
    load = Load(publishers=2, readers=("steady",) * 3, messages=20_000, kills=False, chaos=(what,))
    result = run(driver, tmp_path / "home", 1, load, evidence=tmp_path)
    assert result.done[what]
    assert re.search(words, str(result), re.MULTILINE), result


def test_mutant_that_only_a_full_disk_finds_is_caught(tmp_path: Path) -> None:
    driver = COUNTS_WITHOUT_ROOM.command(tmp_path / "mutant")
    for seconds in (2, 6, 20):  # a busy machine may need longer until somebody met the full disk
        ended = chaos(driver, tmp_path, "--no-kills", seconds=seconds)
        if "no file system was filled: " in ended.stdout:
            pytest.skip(ended.stdout)
        if ended.returncode:
            break
    assert ended.returncode == 1
    assert re.search("(lost: .* never yielded|count: .* reported that)", ended.stdout)


def test_reference_passes_with_chaos(tmp_path: Path) -> None:
    ended = chaos(REFERENCE.command(tmp_path / "mutant"), tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 violations, 0 errors, 0 files left over" in ended.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["mutant"]


def chaos(
    driver: list[str], directory: Path, *options: str, seconds: int = 2
) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which may go into a namespace of its own."""
    arguments = [sys.executable, "-m", "pubsub_conformance", "stress", "--chaos", *options]
    return subprocess.run(
        [*arguments, "--seconds", str(seconds), "--seed", "1", "--", *driver],
        env=os.environ | {"TMPDIR": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_only_what_a_disturbance_explains_is_excused(tmp_path: Path) -> None:
    scene = Scene([], tmp_path, 1, Load())
    scene.troubles += [
        Trouble("descriptors", "p0", 100, 200),
        Trouble("blocks", None, 300),
        Trouble("rename", None, 500, 510),
    ]

    def explained(
        errno: str | None, start: int, end: int, who: str, code: str = "io-error"
    ) -> bool:
        error = {"code": code, "detail": "", **({"errno": errno} if errno else {})}
        return scene.explains(Rejected(error), start, end, who)

    assert explained("EMFILE", 150, 160, "p0")
    assert explained("EMFILE", 90, 100, "p0")
    assert explained(None, 150, 160, "p0", "base-unusable")
    assert explained("ENOSPC", 400, 410, "p0")
    assert explained("ENOENT", 490, 600, "s0")
    assert explained(None, 600, 610, "s0", "channel-lost")
    assert scene.excused.total() == 6
    assert not explained("EMFILE", 150, 160, "p1")
    assert not explained("EMFILE", 201, 210, "p0")
    assert not explained("EIO", 150, 160, "p0")
    assert not explained("ENOSPC", 150, 160, "p0")
    assert not explained(None, 210, 220, "p0", "base-unusable")
    assert not explained(None, 400, 410, "s0", "channel-lost")
    assert not explained(None, 400, 410, "s0", "invalid-message")


def test_same_seed_makes_the_same_schedule(tmp_path: Path) -> None:
    def schedule(seed: int) -> list[object]:
        load = Load(chaos=CHAOS)
        scene = Scene([], tmp_path, seed, load)
        publishers = [Publisher(scene, name, 1000) for name in ("p0", "p1")]
        bursts = [publisher.draw(load) for publisher in publishers for _ in range(20)]
        disturbances = moments(seed, 0, ["p0", "s0", "s1"], load)
        return [*bursts, *islice(disturbances, 20)]

    assert schedule(1) == schedule(1)
    assert schedule(1) != schedule(2)


def test_interrupted_run_is_judged(tmp_path: Path) -> None:
    driver = REFERENCE.command(tmp_path / "mutant")
    # "starting" is shown only where it takes long.
    ended = interrupted(
        ["stress", "--home", str(tmp_path), "--", *driver], ("starting", "publishing")
    )
    assert ended.returncode == 2
    assert "0 violations, 0 errors, 0 files left over\n" in ended.stdout
    assert "\ninterrupted: only what there was until then" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mutant"]


def test_driver_that_dies_by_itself_is_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    driver = DIES_WHILE_IT_PUBLISHES.command(tmp_path / "mutant")
    assert main(["stress", "--messages", "1000", "--no-kills", "--", *driver]) == 2
    assert "exit status 3" in capsys.readouterr().out


def test_what_cannot_be_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "picture").write_bytes(b"\x89PNG\xff")
    for name in ("empty", "picture", "missing"):
        assert main(["check", str(tmp_path / name)]) == 2
    assert main(["stress", "--home", str(tmp_path / "missing"), "--", "true"]) == 2
    assert capsys.readouterr().out == ""


# When queues may be full, and what is left over: by small examples.


def test_queue_may_be_full_only_while_it_can_hold_so_much() -> None:
    opened = Open("c", "+", 0, 1)
    publishes = [Publish("p", n, "a", 0, 0, 100 * n, 100 * n + 50, 1) for n in range(9)]
    # The first three are read while the seventh is published.
    receives = [Receive("c", "p", n, "a", 0, 0, 610, 620) for n in range(3)]
    (span,) = full_spans([opened, *publishes, *receives], {"c": 48})
    assert (span.start, span.end) == (600, 650)
    assert list(full_spans([opened, *publishes, *receives], {"c": 56})) == []
    closed = Close("c", 500, 550)
    assert list(full_spans([opened, *publishes, closed], {"c": 48})) == []


def test_queue_of_a_marked_channel_may_be_full_of_records() -> None:
    """A small message takes its record there, with the rest of a page; a large one its id."""
    publishes = [Publish("p", n, "a", 100, 0, 100 * n, 100 * n + 50, 1) for n in range(9)]
    large = [publish._replace(size=983) for publish in publishes]
    rooms = {"c": 9 * 8}
    for marked, sent, full in ((False, publishes, 0), (True, large, 0), (True, publishes, 1)):
        spans = list(full_spans([Open("c", "+", 0, 1, marked), *sent], rooms))
        assert bool(spans) == full


def test_a_killed_subscriber_leaves_a_marked_channel(tmp_path: Path) -> None:
    """Its marker, its records and its files are its own; the marker of an open channel is, too."""
    base = Base(tmp_path / "base")
    with base.open("a", inline=True) as open_channel, base.open("a", inline=True) as killed:
        send(killed.directory, a_message("a"))
        put(killed.directory, a_message("a"))
        killed.stop_reading()
        channels = {open_channel.directory.name}
        assert list(leftovers(base.path, channels, unknown=0, killed=1)) == []
        assert list(leftovers(base.path, channels, unknown=0, killed=0)) == [killed.directory.name]


def test_publish_that_waits_meets_a_full_queue_only_if_it_waited() -> None:
    opened = Open("c", "+", 0, 1)
    publishes = [Publish("p", n, "a", 0, 0, 10, 20, 1, timeout=1.0) for n in range(10)]
    assert list(full_spans([opened, *publishes], {"c": 16})) == []
    publishes[3] = publishes[3]._replace(end=10 + 10**9)
    (span,) = full_spans([opened, *publishes], {"c": 16})
    assert (span.start, span.end) == (10, 10 + 10**9)
