"""The command `run`: its options, its report, its end."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pubsub_conformance.driver.protocol import ROLES
from pubsub_conformance.judge.outcome import Outcome
from toykit import CLI, OUTCOMES, PASS_THEN_WAIT, SCHEMA, SPEC, SUITE, Kit, expect, makes_kits

kit = pytest.fixture(makes_kits)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_conftest_of_the_callers_is_left_alone(kit: Callable[..., Kit], workers: str) -> None:
    toy = kit()
    (toy.directory / "conftest.py").write_text("raise RuntimeError('loaded')")
    assert toy.run("-n", workers, "--requirement", "PUB-8").outcomes == {"PUB-8": "pass"}


def test_the_command_of_a_failure_repeats_it(kit: Callable[..., Kit]) -> None:
    toy = kit()
    out = toy.run("--requirement", "PUB-2", "--home", str(toy.directory), "--seed", "5").out
    told, in_the_end = re.findall(r"  repeat    pubsub-conformance (.*)\n", out)
    assert in_the_end == told
    again = toy.finish(toy.spawn(["-c", CLI, *shlex.split(told)]))
    assert re.findall(r"  repeat    pubsub-conformance (.*)\n", again.out) == [told, told]
    assert again.code == 1


@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_expected_failure_is_forgiven_and_told(kit: Callable[..., Kit], workers: str) -> None:
    toy = kit()
    names = ("PUB-1", "PUB-2", "PUB-3", "PUB-4", "PUB-6")
    selected = [f"--requirement={name}" for name in (*names, "PUB-8")]
    result = toy.run(
        "-n", workers, "--expected", expect(toy, *names), "--junit", "j.xml", *selected
    )
    assert result.outcomes == {
        "PUB-1": "expected failure",
        "PUB-2": "expected failure",
        "PUB-3": "expected failure",
        "PUB-4": "not applicable",
        "PUB-6": "not run",
        "PUB-8": "pass",
    }
    assert result.code == 0
    assert "toy 1.2 conforms" in result.out
    assert "known PUB-2" in result.out
    suite = ElementTree.parse(toy.directory / "j.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0")


def test_an_expected_failure_that_passes_fails_the_run(kit: Callable[..., Kit]) -> None:
    toy = kit()
    result = toy.run("--expected", expect(toy, "PUB-8"), "--requirement", "PUB-8")
    assert result.outcomes == {"PUB-8": "unexpected pass"}
    assert result.code == 1
    assert "PUB-8 passes, but" in result.out


def test_a_failure_that_happens_sometimes_may_pass(kit: Callable[..., Kit]) -> None:
    toy = kit()
    path = Path(expect(toy, "PUB-2", "PUB-8"))
    path.write_text(path.read_text().replace("reason", "sometimes = true\nreason"))
    result = toy.run("--expected", str(path), "--requirement=PUB-2", "--requirement=PUB-8")
    assert result.outcomes == {"PUB-2": "expected failure", "PUB-8": "pass"}
    assert result.code == 0


def test_a_driver_error_cannot_be_expected(kit: Callable[..., Kit]) -> None:
    toy = kit()
    result = toy.run(
        *("--expected", expect(toy, "PUB-5", "PUB-9")),
        *("--requirement", "PUB-5", "--requirement", "PUB-9"),
    )
    assert result.outcomes == {"PUB-5": "driver error", "PUB-9": "driver error"}
    assert result.code == 2


@pytest.mark.parametrize(
    ("options", "outcomes"),
    [
        (["--role", "reaper"], {}),
        (["--role", "reaper", "-n", "2"], {}),
        (["--requirement", "PUB-1", "--role", "subscriber"], {}),
        (["--requirement", "PUB-4"], {"PUB-4": "not applicable"}),
        (["--requirement", "PUB-4", "-n", "2"], {"PUB-4": "not applicable"}),
        (["--requirement", "PUB-6"], {"PUB-6": "not run"}),
        (["--requirement", "PUB-7"], {"PUB-7": "untested"}),
    ],
)
def test_a_selection_that_leaves_nothing_to_judge_fails(
    kit: Callable[..., Kit], options: list[str], outcomes: dict[str, str]
) -> None:
    result = kit().run(*options)
    assert result.outcomes == outcomes
    assert result.code == 2
    assert "was not judged" in result.out


def test_a_verdict_says_how_much_could_not_be_run(kit: Callable[..., Kit]) -> None:
    result = kit().run("--requirement", "PUB-6", "--requirement", "PUB-8")
    assert result.code == 0
    assert "toy 1.2 conforms in all that could be run here; 1 requirement was not:" in result.out
    assert "was not: no such machine\n" in result.out


def test_selections_narrow_each_other_down(kit: Callable[..., Kit]) -> None:
    toy = kit()
    assert toy.run("--section", "publish").outcomes == OUTCOMES
    assert toy.run("--role", "subscriber").outcomes.keys() == {"PUB-4", "PUB-8"}
    chosen = ["--requirement=PUB-8", "--requirement=PUB-3"]
    assert toy.run(*chosen).outcomes.keys() == {"PUB-3", "PUB-8"}
    assert toy.run(*chosen, "--role=subscriber").outcomes.keys() == {"PUB-8"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--requirement", "PUB-10"], "'PUB-10'"),
        (["--section", "nowhere"], "'nowhere'"),
        (["--role", "printer"], "'printer'"),
        (["--expected", "absent.toml"], "absent.toml"),
        (["--home", "absent"], "not a directory"),
        (["--colour"], "--colour"),
    ],
)
def test_a_faulty_command_line_is_not_a_verdict(
    kit: Callable[..., Kit], options: list[str], words: str
) -> None:
    result = kit().run(*options)
    assert (result.code, result.report) == (2, None)
    assert words in result.err


@pytest.mark.parametrize(
    ("options", "workers"),
    [
        (["--requirement=PUB-8"], 0),
        (["--requirement=PUB-8", "-n", "1"], 1),
        (["--requirement=PUB-8", "--requirement=PUB-1"], 2),
        (["--section=publish"], 2),
    ],
)
def test_one_requirement_starts_no_workers(
    kit: Callable[..., Kit], options: list[str], workers: int
) -> None:
    toy = kit()
    with (toy.directory / "toy.py").open("a") as file:
        file.write("import os\nopen(f'process-{os.getpid()}', 'w').close()\n")
    toy.finish(toy.spawn(["-c", CLI, "run", *options, "--", *toy.driver]))
    assert len(list(toy.directory.glob("process-*"))) == 1 + workers


def test_a_missing_command_is_not_a_verdict(kit: Callable[..., Kit]) -> None:
    toy = kit()
    result = toy.finish(toy.spawn(["-c", CLI, "run"]))
    assert result.code == 2
    assert "COMMAND" in result.err


@pytest.mark.parametrize(
    ("driver_option", "words"),
    [("--mute", "no voice"), ("2", "specification 2")],
)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_failed_handshake_is_not_a_verdict(
    kit: Callable[..., Kit], driver_option: str, words: str, workers: str
) -> None:
    result = kit(SUITE, driver_option).run("-n", workers, "--junit", "j.xml")
    assert (result.code, result.outcomes) == (2, {})
    (problem,) = result.report["problems"]
    assert words in problem
    assert result.report["implementation"] is None
    assert words in result.out
    assert result.out.endswith(" could not be judged\n")
    assert result.err == ""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_values_that_differ_are_shown_whole(kit: Callable[..., Kit], workers: str) -> None:
    suite = """
import pytest

@pytest.mark.requirement("PUB-1")
def test_octets():
    assert bytes(range(200, 216)) == bytes(range(216, 232))
"""
    result = kit(suite).run("-n", workers)
    values = f"expected {bytes(range(216, 232))!r}, found {bytes(range(200, 216))!r}"
    assert values in result.out


def test_many_failures_of_one_requirement_are_cut_short(kit: Callable[..., Kit]) -> None:
    suite = """
import pytest

@pytest.mark.requirement("PUB-1")
@pytest.mark.parametrize("number", range(5))
def test_all(number):
    raise AssertionError(f"told {number}")
"""
    details, _, _ = kit(suite).run().out.partition("Failed:")
    assert re.findall("told ([0-9])", details) == ["0", "1", "2"]
    assert "test_all[4]" in details


@pytest.mark.parametrize("workers", ["0", "2"])
def test_ctrl_c_gives_a_partial_report_and_leaves_no_driver(
    kit: Callable[..., Kit], workers: str
) -> None:
    body = """
    with open("pids", "w") as fifo:
        fifo.write(f"{driver.pid}")
    reading, writing = os.pipe()
    os.read(reading, 1)
"""
    toy = kit(PASS_THEN_WAIT + body)
    os.mkfifo(toy.directory / "pids")
    process = toy.start_run("-n", workers)
    pid = int((toy.directory / "pids").read_text())
    # As a terminal does: the kit and its workers get it, drivers are in sessions of their own.
    os.killpg(process.pid, signal.SIGINT)
    result = toy.finish(process)
    assert result.code == 2
    assert result.report["interrupted"]
    assert "partial" in result.out
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_failure_that_ends_the_run_is_a_verdict(kit: Callable[..., Kit], workers: str) -> None:
    result = kit().run("-x", "-n", workers, "--requirement=PUB-2", "--requirement=PUB-8")
    assert result.code == 1
    assert not result.report["interrupted"]
    assert "does not conform" in result.out


def test_the_report_is_plain_when_piped_and_bright_when_asked(kit: Callable[..., Kit]) -> None:
    toy = kit()
    assert "\x1b" not in toy.run("-n", "2").out
    process = subprocess.run(
        [sys.executable, "-c", CLI, "run", "--", *toy.driver],
        cwd=toy.directory,
        env={**toy.environment(), "NO_COLOR": "", "FORCE_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "\x1b[" in process.stdout


def test_list(kit: Callable[..., Kit]) -> None:
    toy = kit()
    everything = toy.finish(toy.spawn(["-c", CLI, "list"])).out.splitlines()
    assert everything[0].split() == ["PUB-1", "MUST", "It", "passes"]
    assert len(everything) == len(OUTCOMES)
    one = toy.finish(toy.spawn(["-c", CLI, "list", "PUB-7"]))
    assert "nobody can see it." in one.out
    assert toy.finish(toy.spawn(["-c", CLI, "list", "PUB-77"])).code == 2


def test_a_run_leaves_nothing_in_the_callers_directory(kit: Callable[..., Kit]) -> None:
    toy = kit()
    before = sorted(toy.directory.rglob("*"))
    toy.run("-n", "2")
    assert sorted(toy.directory.rglob("*")) == sorted([*before, toy.directory / "report.json"])


def test_a_faulty_specification_is_not_a_verdict(kit: Callable[..., Kit]) -> None:
    toy = kit()
    (toy.directory / "spec/publish.md").write_text(SPEC.replace("PUB-4", "PUB-3"))
    for arguments in (["list"], ["run", "--", *toy.driver]):
        result = toy.finish(toy.spawn(["-c", CLI, *arguments]))
        assert result.code == 2
        assert "publish.md:12: PUB-3" in result.err


def test_the_schema_knows_every_outcome() -> None:
    assert set(SCHEMA["$defs"]["outcome"]["enum"]) == {outcome.value for outcome in Outcome}
    item = SCHEMA["properties"]["implementation"]["properties"]["roles"]["items"]
    assert item["enum"] == list(ROLES)
