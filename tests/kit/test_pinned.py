"""`run --requirements FILE` judges by a fixed set of requirements."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from pubsub_conformance import pinned, requirements
from toykit import Kit, makes_kits

kit = pytest.fixture(makes_kits)


def entry(name: str, level: str = "MUST", **more: Any) -> dict[str, Any]:
    text = f"It {level} be {name}, says the copy."
    where = {"section": "Publishing", "file": "publish.md"}
    return {"id": name, "level": level, "roles": ["publisher"], **where, "text": text, **more}


def pin(toy: Kit, *entries: dict[str, Any], spec: str = "1") -> str:
    document = {"spec": spec, "requirements": entries}
    (toy.directory / "pinned.json").write_text(json.dumps(document))
    return "--requirements=pinned.json"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_only_the_requirements_in_the_file_count(kit: Callable[..., Kit], workers: str) -> None:
    toy = kit()
    option = pin(toy, entry("PUB-8"), entry("PUB-3"))
    result = toy.run("-n", workers, option)
    assert result.outcomes == {"PUB-3": "fail", "PUB-8": "pass"}
    assert result.code == 1
    assert "It MUST be PUB-3, says the copy." in result.out
    assert "--requirement PUB-3 --requirements pinned.json" in result.out


def test_the_level_is_that_of_the_file(kit: Callable[..., Kit]) -> None:
    toy = kit()
    result = toy.run(pin(toy, entry("PUB-2", "SHOULD")))
    assert (result.code, result.outcomes) == (0, {"PUB-2": "warning"})


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_requirement_without_a_test_is_not_run(kit: Callable[..., Kit], workers: str) -> None:
    toy = kit()
    result = toy.run("-n", workers, pin(toy, entry("PUB-8"), entry("PUB-77"), entry("PUB-7")))
    assert result.outcomes == {"PUB-7": "untested", "PUB-8": "pass", "PUB-77": "not run"}
    assert result.entry("PUB-77")["reason"] == "this kit has no test of it"
    assert result.code == 0
    assert "in all that could be run here; 1 requirement was not" in result.out


def test_selections_and_expected_failures_go_with_it(kit: Callable[..., Kit]) -> None:
    toy = kit()
    (toy.directory / "expected.toml").write_text(
        '[[expected]]\nrequirement = ["PUB-2", "PUB-77"]\nreason = "known"\n'
    )
    option = pin(toy, entry("PUB-2"), entry("PUB-8"), entry("PUB-77"))
    result = toy.run(option, "--requirement=pub-2", "--expected=expected.toml")
    assert (result.code, result.outcomes) == (0, {"PUB-2": "expected failure"})
    result = toy.run(option, "--requirement=PUB-1")
    assert (result.code, result.outcomes) == (2, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a copy of requirements.json"),
        ("[]", "is not a copy of requirements.json"),
        ('{"spec": "1", "requirements": [{"id": "PUB-1"}]}', "is not a copy of requirements.json"),
        ('{"spec": "2", "requirements": []}', "is of specification 2, this kit judges by 1"),
    ],
)
def test_what_is_no_copy_is_refused(kit: Callable[..., Kit], text: str, words: str) -> None:
    toy = kit()
    (toy.directory / "pinned.json").write_text(text)
    result = toy.run("--requirements=pinned.json")
    assert (result.code, result.report) == (2, None)
    assert words in result.err
    assert "Traceback" not in result.err


def test_a_missing_file_is_refused(kit: Callable[..., Kit]) -> None:
    result = kit().run("--requirements=absent.json")
    assert (result.code, result.report) == (2, None)
    assert "absent.json" in result.err


def test_pytest_alone_takes_it_too(kit: Callable[..., Kit]) -> None:
    toy = kit()
    options = ["--driver", shlex.join(toy.driver), "--json", "report.json", "-n", "0"]
    result = toy.pytest(*options, pin(toy, entry("PUB-8")))
    assert (result.code, result.outcomes) == (0, {"PUB-8": "pass"})


def test_the_list_of_this_kit_is_a_fixed_set() -> None:
    known = requirements.load()
    assert pinned.load(requirements.SPEC / "requirements.json", known) == {
        name: requirement for name, requirement in known.items() if requirement.key != "driver"
    }
