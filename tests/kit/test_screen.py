"""What a run shows: its last screen above all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mutation import ROOT, Edit, Mutant
from pubsub_conformance.excerpt import folded, without_walls
from terminal import ROWS, on_terminal
from toykit import CLI, Kit, expect, makes_kits

kit = pytest.fixture(makes_kits)

STAGED = Mutant(
    "PUB-14",
    "leaves the staged file",
    Edit("_Delivery.run", "self._copies.remove(self._staged)", "self._copies._made.clear()"),
)


def test_the_last_screen_names_the_culprit_first(tmp_path: Path) -> None:
    """One fault fails tests of six requirements; the screen names the one that it breaks."""
    driver = STAGED.command(tmp_path / "mutant")
    chosen = [
        f"--requirement={id}" for id in ("MSG-15", "PUB-3", "PUB-7", "PUB-12", "PUB-14", "PUB-17")
    ]
    command = [sys.executable, "-m", "pubsub_conformance", "run", *chosen, "--", *driver]
    # Where stress runs that fail leave their evidence.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    code, lines = on_terminal(command, 80, ROOT, environment)
    last = "\n".join(lines[-ROWS:])
    assert code == 1, last
    begin = lines[-ROWS:].index("Failed:")
    assert lines[-ROWS:][begin + 1].split() == [
        *("PUB-14", "fail", "No", "staged", "file", "is", "left", "behind", "(and", "4", "with"),
        "it)",
    ]
    assert "  with it   MSG-15, PUB-3, PUB-7, PUB-12" in last
    assert "left in tmp" in last
    assert "pubsub-conformance run --requirement PUB-14 --seed" in last


@pytest.mark.parametrize("columns", [80, 120])
def test_the_last_screen_fits_a_terminal(kit: Callable[..., Kit], columns: int) -> None:
    toy = kit()
    command = [sys.executable, "-c", CLI, "run", "--", *toy.driver]
    code, lines = on_terminal(command, columns, toy.directory, toy.environment())
    assert code == 1
    screen = lines[lines.index("Failed, the likely cause first:") :]
    assert [line.split()[0] for line in screen if line.startswith("PUB-")] == [
        *("PUB-2", "PUB-9", "PUB-3"),
    ]
    assert sum(-(-len(line) // columns) or 1 for line in screen) <= ROWS
    assert all(line.startswith("  repeat ") for line in screen if len(line) > columns)


def test_many_failures_fit_a_screen_too(kit: Callable[..., Kit]) -> None:
    """The first ones with all that was found, then a line for each, then the ids."""
    ids = range(1, 60)
    suite = "import pytest\n" + "".join(
        f'@pytest.mark.requirement("PUB-{n}")\n'
        f'def test_{n}(): assert False, "found {chr(96 + n % 26)} {"long " * n}"\n'
        for n in ids
    )
    toy = kit(suite)
    spec = "".join(f"**PUB-{n} Title {n}** (publisher) It MUST be {n}.\n\n" for n in ids)
    (toy.directory / "spec/publish.md").write_text(f"# Publishing\n\n{spec}")
    command = [sys.executable, "-c", CLI, "run", "-n", "0", "--", *toy.driver]
    _, lines = on_terminal(command, 80, toy.directory, toy.environment())
    screen = lines[lines.index("Failed, the likely cause first:") :]
    assert sum(-(-len(line) // 80) or 1 for line in screen) <= ROWS
    assert [line for line in screen if line.startswith("  also ")]


def test_quiet_shows_what_is_not_a_pass(kit: Callable[..., Kit]) -> None:
    toy = kit()
    for option in ("-q", "--quiet"):
        out = toy.run(option).out
        assert "  PUB-8 " not in out
        assert "  PUB-6 " in out
        assert "toy 1.2 does not conform" in out


def test_a_verdict_counts_expected_failures(kit: Callable[..., Kit]) -> None:
    toy = kit()
    chosen = ["--requirement=PUB-2", "--requirement=PUB-8", "--requirement=PUB-6"]
    result = toy.run("--expected", expect(toy, "PUB-2"), *chosen[:2])
    assert result.code == 0
    assert result.out.endswith("\ntoy 1.2 conforms, but for 1 expected failure\n")
    result = toy.run("--expected", expect(toy, "PUB-2"), *chosen)
    assert result.out.endswith(
        "\ntoy 1.2 conforms, but for 1 expected failure, in all that could be run here;"
        " 1 requirement was not: no such machine\n"
    )


def test_a_list_that_is_out_of_date_says_nothing_of_the_implementation(
    kit: Callable[..., Kit],
) -> None:
    toy = kit()
    result = toy.run("--expected", expect(toy, "PUB-8"), "--requirement=PUB-8")
    assert result.code == 1
    assert "the list of expected failures is out of date" in result.out
    assert "does not conform" not in result.out
    result = toy.run(
        "--expected", expect(toy, "PUB-8"), "--requirement=PUB-8", "--requirement=PUB-2"
    )
    assert "toy 1.2 does not conform" in result.out


def test_a_warning_is_no_failure(kit: Callable[..., Kit]) -> None:
    result = kit().run("--requirement", "PUB-3")
    assert result.code == 0
    assert "\nWarnings:\nPUB-3     warning  " in result.out
    assert "Failed" not in result.out
    assert "  next " not in result.out


def test_what_a_driver_wrote_to_stderr_is_shown_once(kit: Callable[..., Kit]) -> None:
    out = kit().run("--requirement", "PUB-5").out
    details = out[: out.index("Failed:")]
    assert details.count("last words") == 1


def test_a_long_story_is_folded(kit: Callable[..., Kit]) -> None:
    suite = """
import pytest

@pytest.mark.requirement("PUB-1")
def test_all(driver):
    for number in range(51):
        driver.publish("a", b"%d" % number)
    driver.publish("b", bytes(100_000))
    assert False, "it is all wrong"
"""
    out = kit(suite).run("--requirement", "PUB-1").out
    assert "… 51 times; the last:" in out
    assert '"topic": "b"' in out
    assert max(map(len, out.splitlines())) < 300


def test_a_run_of_everything_says_what_to_run_next(kit: Callable[..., Kit]) -> None:
    suite = """
import pytest

@pytest.mark.requirement("PUB-1", "PUB-8", role="publisher")
def test_all(driver):
    driver.publish("a")
"""
    toy = kit(suite)
    assert "\n  next      pubsub-conformance stress -- " in toy.run().out
    assert "\n  next " not in toy.run("--requirement", "PUB-1").out


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        ([], []),
        (["a", "a", "a"], ["a", "a", "a"]),
        (["a 1", "a 2", "a 3", "a 4"], ["a 1", "… 4 times; the last:", "a 4"]),
        (
            ["x", "> 1", "< 1", "> 2", "< 2", "> 3", "< 3", "y"],
            ["x", "> 1", "< 1", "… 3 times; the last:", "> 3", "< 3", "y"],
        ),
        (["a", "b", "a", "b"], ["a", "b", "a", "b"]),
    ],
)
def test_repeated_lines_are_folded(lines: list[str], shown: list[str]) -> None:
    assert list(folded(lines)) == shown


def test_a_wall_is_cut_in_its_middle() -> None:
    assert without_walls("a" * 99) == "a" * 99
    x = "x" * 25
    assert without_walls(f'"{"x" * 5000}", y') == f'"{x}…(5000 characters)…{x}", y'
