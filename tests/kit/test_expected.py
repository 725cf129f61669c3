"""Expected failures: of one test, flaky ones, a list that the kit writes. And `--keep`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pubsub_conformance import requirements
from pubsub_conformance.judge import expected
from pubsub_conformance.judge.outcome import Outcome, TestResult, combine
from pubsub_conformance.judge.report import failures
from toykit import SUITE, Kit, Result, makes_kits

kit = pytest.fixture(makes_kits)
FORMIX = Path(__file__).parents[2] / "conformance/implementations/formix"


def listed(toy: Kit, *entries: str) -> str:
    """The option for a list with these entries."""
    text = "".join(f"[[expected]]\n{entry}\n" for entry in entries)
    (toy.directory / "expected.toml").write_text(text)
    return "--expected=expected.toml"


def row(result: Result, name: str) -> str:
    (found,) = re.findall(rf"^  {name} .*$", result.out, re.MULTILINE)
    return str(found)


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("outcome", ["fails", "passes"])
def test_a_flaky_failure_never_decides(kit: Callable[..., Kit], workers: str, outcome: str) -> None:
    suite = f"""
import pytest

@pytest.mark.requirement("PUB-2")
def test_luck(driver):
    assert {outcome == "passes"}

@pytest.mark.requirement("PUB-8")
def test_pass(driver):
    pass
"""
    toy = kit(suite)
    option = listed(toy, 'requirement = "PUB-2"\nreason = "a race, issue 12"\nflaky = true')
    names = ("-n", workers, "--requirement=PUB-2", "--requirement=PUB-8", option)
    result = toy.run(*names, "-x")
    assert result.outcomes == {"PUB-2": "flaky", "PUB-8": "pass"}
    assert result.code == 0
    assert result.report["counts"] == {"flaky": 1, "pass": 1}
    assert "1 flaky, 1 pass" in result.out
    said = "it passed this time" if outcome == "passes" else "it failed this time"
    assert f"a race, issue 12 ({said})" in row(result, "PUB-2")


def test_a_flaky_pass_alone_judges_nothing(kit: Callable[..., Kit]) -> None:
    toy = kit()
    option = listed(toy, 'requirement = "PUB-8"\nreason = "a race"\nflaky = true')
    result = toy.run(option, "--requirement=PUB-8")
    assert (result.code, result.outcomes) == (2, {"PUB-8": "flaky"})


def test_a_driver_error_is_not_flaky(kit: Callable[..., Kit]) -> None:
    toy = kit()
    option = listed(toy, 'requirement = "PUB-5"\nreason = "a race"\nflaky = true')
    result = toy.run(option, "--requirement=PUB-5")
    assert (result.code, result.outcomes) == (2, {"PUB-5": "driver error"})


TWO = """
import pytest

@pytest.mark.requirement("PUB-1")
@pytest.mark.parametrize("n", [1, 2])
def test_known(n):
    assert n == 1

@pytest.mark.requirement("PUB-1")
def test_other():
    assert OTHER
"""


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("test", ["test_toy.py::test_known[2]", "test_toy.py::test_known"])
@pytest.mark.parametrize("other", [True, False])
def test_one_test_of_a_requirement_may_be_expected_to_fail(
    kit: Callable[..., Kit], workers: str, test: str, other: bool
) -> None:
    toy = kit(TWO.replace("OTHER", str(other)))
    option = listed(toy, f'requirement = "PUB-1"\ntest = "{test}"\nreason = "known"')
    result = toy.run("-n", workers, option, "--requirement=PUB-1")
    assert result.outcomes == {"PUB-1": "expected failure" if other else "fail"}
    assert result.code == (0 if other else 1)


def test_a_listed_test_that_passes_fails_the_run(kit: Callable[..., Kit]) -> None:
    toy = kit(TWO.replace("OTHER", "True"))
    tests = '["test_toy.py::test_other", "test_toy.py::test_known"]'
    option = listed(toy, f'requirement = "PUB-1"\ntest = {tests}\nreason = "known"')
    result = toy.run(option, "--requirement=PUB-1")
    assert (result.code, result.outcomes) == (1, {"PUB-1": "unexpected pass"})


def test_a_listed_test_that_does_not_exist_is_reported(kit: Callable[..., Kit]) -> None:
    toy = kit(TWO.replace("OTHER", "True"))
    option = listed(toy, 'requirement = "PUB-1"\ntest = "test_toy.py::test_knwon"\nreason = "x"')
    result = toy.run(option, "--requirement=PUB-1")
    assert result.code == 1  # test_known fails
    (problem,) = result.report["problems"]
    assert "'test_toy.py::test_knwon': there are test_toy.py::test_known, " in problem


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('requirement = "PUB-1"\nflaky = true', "no reason is given"),
        ('requirement = "PUB-1"\nreason = "x"\nflaky = "yes"', "'flaky' is true or false"),
        ('requirement = "PUB-1"\nreason = "x"\ntest = ""', "'test' is empty"),
        ('requirement = "PUB-1"\nreason = "x"\ntest = 1', "'test' is a name, or a list of names"),
        (
            'requirement = "PUB-10"\nreason = "x"',
            "there is no requirement 'PUB-10': there are PUB-1,",
        ),
        ('requirement = "PUB-1"\nreason = "x"\ntset = "a"', "there is no field 'tset'"),
    ],
)
def test_a_faulty_entry_is_refused(kit: Callable[..., Kit], entry: str, words: str) -> None:
    toy = kit()
    result = toy.run(listed(toy, entry))
    assert (result.code, result.report) == (2, None)
    assert f"expected.toml: entry 1: {words}" in result.err


def load(path: Path) -> Any:
    known = {"requirement": [f"PUB-{n}" for n in range(1, 10)]}
    return expected.load(path, known, expected.OF_RUN)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_failures_are_written_as_a_list_that_forgives_them(
    kit: Callable[..., Kit], workers: str
) -> None:
    toy = kit()
    result = toy.run("-n", workers, "--write-expected", "new.toml")
    assert result.code == 1
    entries = load(toy.directory / "new.toml")
    assert set(entries) == {
        ("PUB-1", "test_toy.py::test_fail"),  # its other test passes
        ("PUB-2", ""),
        ("PUB-9", ""),
    }
    assert all(entry.reason.startswith("found: ") for entry in entries.values())
    names = [f"--requirement=PUB-{n}" for n in (1, 2, 3, 8)]
    assert toy.run("--expected", "new.toml", *names).code == 0


def test_a_list_is_brought_up_to_date(kit: Callable[..., Kit]) -> None:
    """What still holds keeps its reason, what passes goes, what fails besides is added."""
    toy = kit()
    option = listed(
        toy,
        'requirement = "PUB-2"\nreason = "a \\"known\\" fault"',
        'requirement = "PUB-8"\nreason = "passes"',
        'requirement = "PUB-4"\nreason = "not now"\nsometimes = true',
        'requirement = "PUB-6"\nreason = "a race"\nflaky = true',
    )
    result = toy.run(option, "--write-expected", "expected.toml")
    assert result.outcomes["PUB-8"] == "unexpected pass"
    entries = load(toy.directory / "expected.toml")
    assert entries.pop(("PUB-1", "test_toy.py::test_fail")).reason.startswith("found: ")
    assert entries.pop(("PUB-9", "")).reason.startswith("found: ")
    assert {key: tuple(entry) for key, entry in entries.items()} == {
        ("PUB-2", ""): ('a "known" fault', False, False),
        ("PUB-4", ""): ("not now", True, False),
        ("PUB-6", ""): ("a race", False, True),
    }


def test_a_run_that_judged_nothing_changes_no_list(kit: Callable[..., Kit]) -> None:
    toy = kit(SUITE, "--mute")
    (toy.directory / "list.toml").write_text("# mine\n")
    result = toy.run("--write-expected", "list.toml")
    assert result.code == 2
    assert "--write-expected: there is nothing to write" in result.err
    assert (toy.directory / "list.toml").read_text() == "# mine\n"


def test_any_reason_is_written_so_that_it_can_be_read(tmp_path: Path) -> None:
    reason = 'a "b" \\ \x00\x1b\x7f \udcff \U0001f600 = [x]'
    entry = failures._entry(("PUB-1", "a::b[c]"), expected.Expected(reason, flaky=True))
    path = tmp_path / "list.toml"
    path.write_text(entry, encoding="utf-8")
    (found,) = load(path).values()
    assert found.reason == reason.replace("\udcff", "\\udcff")


@pytest.mark.parametrize("version", ["0.9.0", "1.0.0"])
def test_the_lists_of_formix_are_read(version: str) -> None:
    path = FORMIX / f"expected-failures-{version}.toml"
    assert expected.load(path, {"requirement": requirements.load()}, expected.OF_RUN)


def test_a_proven_failure_beside_a_flaky_one_is_a_failure() -> None:
    known = requirements.load()["PUB-7"]
    tests = [TestResult("a", Outcome.FAIL), TestResult("b", Outcome.FAIL)]
    flaky: expected.Listed = {("PUB-7", "a"): expected.Expected("a race", flaky=True)}
    assert combine(known, tests, flaky).outcome is Outcome.FAIL
    tests[1].outcome = Outcome.PASS
    assert combine(known, tests, flaky).outcome is Outcome.FLAKY
    tests[0].outcome = Outcome.DRIVER_ERROR
    assert combine(known, tests, flaky).outcome is Outcome.DRIVER_ERROR


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("keep", [True, False])
def test_the_base_of_a_failed_test_is_kept(
    kit: Callable[..., Kit], workers: str, keep: bool
) -> None:
    toy = kit()
    where = toy.directory / "where"
    where.mkdir()
    options = ["--home", str(where), "--requirement=PUB-2", "--requirement=PUB-8"]
    result = toy.run("-n", workers, *options, *(["--keep"] if keep else []))
    kept = [path.relative_to(where) for path in where.rglob("trace")]
    if not keep:
        assert list(where.iterdir()) == []
        return
    (test,) = result.entry("PUB-2")["tests"]
    (base,) = re.findall(r"^kept: (.*)$", test["base"], re.MULTILINE)
    assert [where / path for path in kept] == [Path(base, "trace")]
    assert len(list(where.iterdir())) == 1
    assert f"kept: {base}\n" in result.out
