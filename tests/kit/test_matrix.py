"""The matrix: implementations that conform pass with each other, and each check catches faults."""

from __future__ import annotations

import json
import random
import shlex
from collections.abc import Callable
from pathlib import Path

import mutants
import pytest
from mutants.further import MILLISECONDS, NO_INLINE_LANE, ONLY_PUBLISHES
from mutation import REFERENCE, Mutant
from pubsub_conformance.commands import main
from pubsub_conformance.driver import DriverError
from pubsub_conformance.implementations import FILES, INLINE, LANES, Implementation
from pubsub_conformance.judge.outcome import Outcome
from pubsub_conformance.matrix import checks as stories
from pubsub_conformance.matrix import run as matrix
from pubsub_conformance.matrix.checks import CHECKS, Check
from pubsub_conformance.matrix.parties import Finding, Pair
from pubsub_conformance.matrix.report import Result

Make = Callable[..., list[str]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """The command of the driver of a mutant."""

    def make(mutant: Mutant = REFERENCE) -> list[str]:
        return mutant.command(tmp_path / f"mutant-{len(list(tmp_path.glob('mutant-*')))}")

    return make


def judge(
    name: str, publisher: list[str], reader: list[str], directory: Path, lane: str = FILES
) -> Result:
    publishing = Implementation.greet("theirs", publisher, directory / "base")
    reading = Implementation.greet("ours", reader, directory / "base")
    return matrix.judge(CHECKS[name], publishing, reading, lane, directory, seed=1)


def test_reference_passes_with_itself(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = shlex.join(make())
    page, summary = tmp_path / "page.html", tmp_path / "summary.md"
    outputs = ["--html", str(page), "--summary", str(summary)]
    code = main(["matrix", f"one={command}", "--seed", "1", *outputs])
    output = capsys.readouterr().out
    assert code == 0, output
    for text in (output, *(path.read_text(encoding="utf-8") for path in (page, summary))):
        assert f"{sum(len(check.lanes) for check in CHECKS.values())} pass" in text
        assert "one, inline" in text


@pytest.mark.parametrize(
    ("check", "side", "broken"),
    [
        ("codec", "publisher", MILLISECONDS),
        ("codec", "reader", mutants.of("MSG-17")),
        ("messages", "reader", mutants.of("GUAR-3")),
        ("messages", "reader", mutants.of("GUAR-4")),
        ("wildcards", "publisher", mutants.of("TOPIC-4")),
        ("wildcards", "publisher", mutants.of("GUAR-6")),
        ("full", "publisher", mutants.of("PUB-10")),
        ("full", "publisher", mutants.of("PUB-19")),
        ("full", "reader", mutants.of("GUAR-2")),
        ("closing", "publisher", mutants.of("GUAR-5")),
        ("closing", "reader", mutants.of("CHAN-14")),
        ("dead", "publisher", mutants.of("GUAR-1")),
        ("reaping", "reader", mutants.of("REAP-7")),
        ("reaping", "reader", mutants.of("REAP-4")),
        ("stress", "publisher", mutants.of("PUB-9")),
        ("stress", "reader", mutants.of("GUAR-4")),
    ],
    ids=lambda value: value if isinstance(value, str) else value.what,
)
def test_check_catches_a_fault(
    check: str,
    side: str,
    broken: Mutant,
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stories, "TIMEOUT", 2.0)  # seconds: some wait in vain
    commands = make(broken), make()
    publisher, reader = commands if side == "publisher" else reversed(commands)
    result = judge(check, publisher, reader, tmp_path)
    assert result.outcome is Outcome.FAIL, result
    assert result.reason
    assert "produce" in result.done or "publish" in result.done or "encode" in result.done


@pytest.mark.parametrize(
    ("check", "requirement"),
    [
        ("lanes", "INLINE-6"),
        ("lanes", "INLINE-12"),
        ("full", "PUB-10"),
    ],
)
def test_check_of_the_inline_lane_catches_a_fault(
    check: str, requirement: str, make: Make, tmp_path: Path
) -> None:
    result = judge(check, make(mutants.of(requirement)), make(), tmp_path, INLINE)
    assert result.outcome is Outcome.FAIL, result


def test_publisher_that_does_not_know_the_inline_lane_passes_with_one_that_does(
    make: Make, tmp_path: Path
) -> None:
    result = judge("lanes", make(NO_INLINE_LANE), make(), tmp_path, INLINE)
    assert result.outcome is Outcome.PASS, result


# Outcomes, with small checks instead of the real ones.


def passes(pair: Pair) -> None:
    """Nothing is wrong."""
    pair.publisher().publish("a")


def fails(pair: Pair) -> None:
    """An implementation must not publish to itself."""
    if pair.publishing is pair.reading:
        raise Finding(f"{pair.publishing.name} talks to itself")


def refuses(pair: Pair) -> None:
    """A refusal is a finding."""
    pair.reader().open("a..b")


def breaks(pair: Pair) -> None:
    """A driver that dies proves nothing."""
    raise DriverError("it has died")


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def replace(*stories: Callable[[Pair], None]) -> None:
        roles = frozenset({"publisher"}), frozenset({"subscriber"})
        made = {story.__name__: Check(story.__name__, story, *roles) for story in stories}
        monkeypatch.setattr(matrix, "CHECKS", made)

    return replace


def test_table_names_failed_checks_and_the_text_describes_them(
    make: Make,
    checks: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checks(passes, fails, refuses)
    command = shlex.join(make())
    file = tmp_path / "report.json"
    arguments = ["matrix", f"one={command}", f"two={command}", "--json", str(file), "--seed", "7"]
    assert main(arguments) == 1
    output = capsys.readouterr().out
    assert output.count("FAIL: fails, refuses") == 4
    assert output.count("FAIL: refuses") == 4
    assert "one to one, fails: fail\n  one talks to itself" in output
    assert "one to one, inline, fails: fail\n  one talks to itself" in output
    assert "two answered open with invalid-pattern" in output
    report = json.loads(file.read_text())
    assert report["seed"] == 7
    assert report["exit"] == 1
    assert report["implementations"].keys() == {"one", "two"}
    assert [(cell["publisher"], cell["reader"], cell["lane"]) for cell in report["cells"]] == [
        *(("one", "one", lane) for lane in LANES),
        *(("one", "two", lane) for lane in LANES),
        *(("two", "one", lane) for lane in LANES),
        *(("two", "two", lane) for lane in LANES),
    ]
    for cell in report["cells"]:
        assert [result["check"] for result in cell["checks"]] == list(report["checks"])
        outcomes = ["pass", "fail" if cell["publisher"] == cell["reader"] else "pass", "fail"]
        assert [result["outcome"] for result in cell["checks"]] == outcomes


def test_driver_error_is_no_verdict(
    make: Make, checks: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    checks(passes, breaks)
    assert main(["matrix", f"one={shlex.join(make())}"]) == 2
    assert "it has died" in capsys.readouterr().out


def test_role_that_is_not_claimed_is_not_applicable(
    make: Make, checks: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    checks(passes)
    both = [f"mute={shlex.join(make(ONLY_PUBLISHES))}", f"whole={shlex.join(make())}"]
    assert main(["matrix", *both]) == 0
    output = capsys.readouterr().out
    assert "mute to mute, passes" not in output
    assert output.count("not applicable") == 3  # two cells and the sum
    assert main(["matrix", both[0]]) == 2  # nothing was judged


EXPECTED = """\
[[expected]]
publisher = ["one", "two"]
reader = "one"
check = "fails"
reason = "talks to itself since 1998"
"""


def test_expected_failures_are_strict_both_ways(
    make: Make,
    checks: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checks(passes, fails)
    command = shlex.join(make())
    expected = tmp_path / "expected.toml"
    expected.write_text(EXPECTED)

    def run(*names: str) -> tuple[int, str]:
        commands = [f"{name}={command}" for name in names]
        code = main(["matrix", *commands, "--expected", str(expected)])
        return code, capsys.readouterr().out

    code, output = run("one", "two")
    assert code == 1
    assert "one to one, fails: expected failure\n  talks to itself since 1998" in output
    assert "two to one, fails: unexpected pass" in output
    assert "two to two, fails: fail\n" in output
    expected.write_text(EXPECTED + "sometimes = true\n")
    code, output = run("one", "two")
    assert "one to one, fails: expected failure\n  talks to itself since 1998" in output
    assert "two to one" not in output
    expected.write_text(EXPECTED.replace('["one", "two"]', '"one"'))
    code, output = run("one")
    assert code == 0
    assert "expected: fails" in output


def test_expected_failure_of_one_lane(
    make: Make,
    checks: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checks(fails)
    expected = tmp_path / "expected.toml"
    expected.write_text(EXPECTED.replace('["one", "two"]', '"one"') + 'lane = "inline"\n')

    def run(mutant: Mutant) -> tuple[int, str]:
        command = shlex.join(make(mutant))
        code = main(["matrix", f"one={command}", "--expected", str(expected)])
        output = capsys.readouterr()
        return code, output.out + output.err

    code, output = run(REFERENCE)
    assert code == 1
    assert "one to one, fails: fail\n" in output
    assert "one to one, inline, fails: expected failure" in output
    code, output = run(NO_INLINE_LANE)
    assert code == 2
    assert "one to one: there is no check fails in the lane inline" in output


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"fails"', '"nothing"', "no check 'nothing'"),
        ('reader = "one"', 'reader = "three"', "no reader 'three'"),
        ('"two"]', '"three"]', "no publisher 'three'"),
        ("reason", 'lane = "ids"\nreason', "no lane 'ids'"),
    ],
)
def test_faulty_list_of_expected_failures_is_refused(
    old: str,
    new: str,
    complaint: str,
    checks: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checks(passes, fails)
    expected = tmp_path / "expected.toml"
    expected.write_text(EXPECTED.replace(old, new))
    assert main(["matrix", "one=true", "two=true", "--expected", str(expected)]) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["no-command"], ["one="], ["=true"], ["a=true", "a=true"], ["a='"], ["a=true"]]
)
def test_what_cannot_be_judged(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["matrix", *arguments, "--home", str(tmp_path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err


def test_same_seed_does_the_same_work(make: Make, tmp_path: Path) -> None:
    drawn = []

    def draws(pair: Pair) -> None:
        drawn.append(pair.rng.random())

    one = Implementation.greet("one", make(), tmp_path / "base")
    check = Check("draws", draws, frozenset(), frozenset())
    for seed in (1, 1, 2):
        matrix.judge(check, one, one, FILES, tmp_path, seed)
    assert drawn[0] == drawn[1] == random.Random("1 draws").random()
    assert drawn[1] != drawn[2]
