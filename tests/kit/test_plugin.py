"""The pytest plugin: from what happens in a test to the outcome of a requirement."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

import pytest
from toykit import OUTCOMES, Kit, makes_kits

kit = pytest.fixture(makes_kits)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_each_outcome_arises(kit: Callable[..., Kit], workers: str) -> None:
    result = kit().run("-n", workers, "--seed", "7")
    assert result.outcomes == OUTCOMES
    assert result.code == 1
    assert result.err == ""
    reasons = {name: result.entry(name).get("reason") for name in OUTCOMES}
    assert reasons["PUB-4"] == "the driver does not claim subscriber"
    assert reasons["PUB-6"] == "no such machine"
    assert reasons["PUB-7"] == "nobody can see it."
    assert result.report["implementation"]["implementation"] == "toy"
    assert result.report["seed"] == 7
    assert result.report["counts"]["fail"] == 3
    kinds = {test["name"]: test["outcome"] for test in result.entry("PUB-9")["tests"]}
    assert kinds == {
        "test_toy.py::test_fails_too": "fail",
        "test_toy.py::test_crashes_too": "driver error",
    }


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_failure_comes_with_its_evidence(kit: Callable[..., Kit], workers: str) -> None:
    result = kit().run("-n", workers, "--requirement", "PUB-2", "--requirement", "PUB-5")
    assert result.outcomes == {"PUB-2": "fail", "PUB-5": "driver error"}
    (failed,) = result.entry("PUB-2")["tests"]
    assert failed["expected"] == "Two channels take the message."
    assert "expected 2, found 1" in failed["reason"]
    assert re.search(r"\(test_toy.py, line \d+\)", failed["reason"])
    assert '> {"seq": 2, "op": "publish", "topic": "a"' in failed["done"]
    assert '< {"seq": 2, "count": 1}' in failed["done"]
    assert re.search(r"^-rw.* trace$", failed["base"], re.MULTILINE)
    (crashed,) = result.entry("PUB-5")["tests"]
    assert "last words" in crashed["reason"]
    for told in ("It MUST fail.", "expected 2, found 1", '"count": 1', "last words", " trace\n"):
        assert told in result.out


@pytest.mark.parametrize("workers", ["0", "2"])
def test_pytest_alone_comes_to_the_same(kit: Callable[..., Kit], workers: str) -> None:
    toy = kit()
    options = ["--driver", shlex.join(toy.driver), "--json", "report.json", "-n", workers]
    result = toy.pytest(*options)
    assert result.outcomes == OUTCOMES
    assert result.code == 1
    assert "toy 1.2 does not conform" in result.out
    assert "4 failed, 2 passed, 3 skipped, 1 xfailed" in result.out


def test_the_plugin_is_inert_without_a_driver(kit: Callable[..., Kit]) -> None:
    toy = kit("import pytest\n@pytest.mark.requirement('PUB-1')\ndef test(): pass\n")
    result = toy.pytest("--strict-markers")
    assert result.code == 0
    assert "PUB-1" not in result.out


def test_a_should_only_warns(kit: Callable[..., Kit]) -> None:
    result = kit().run("--requirement", "PUB-3")
    assert result.outcomes == {"PUB-3": "warning"}
    assert result.code == 0
    assert "invalid-topic: so it is" in result.out


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(
    "suite",
    [
        "def test_of_nothing(): pass\n",
        "import pytest\n@pytest.mark.requirement('PUB-99')\ndef test(): pass\n",
        "import nonsense_that_is_not_there\n",
    ],
)
def test_a_broken_suite_is_not_a_verdict(kit: Callable[..., Kit], workers: str, suite: str) -> None:
    assert kit(suite).run("-n", workers).code == 2


def test_a_worker_that_dies_is_not_a_verdict(kit: Callable[..., Kit]) -> None:
    suite = """
import os, pytest

@pytest.mark.requirement("PUB-1")
def test_pass(driver):
    driver.publish("a")

@pytest.mark.requirement("PUB-1")
def test_die():
    os._exit(1)
"""
    result = kit(suite).run("-n", "2")
    assert result.code == 2
    assert "test_die" in result.report["problems"][0]
    assert "test_die" in result.out


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_test_that_hangs_ends_as_a_driver_error(kit: Callable[..., Kit], workers: str) -> None:
    suite = """
import os, pytest

@pytest.mark.requirement("PUB-1")
@pytest.mark.timeout(0.5)
def test_hang(driver):
    reading, writing = os.pipe()
    os.read(reading, 1)
"""
    result = kit(suite).run("-n", workers)
    assert result.outcomes["PUB-1"] == "driver error"
    assert result.code == 2


def test_each_test_has_a_limit(kit: Callable[..., Kit]) -> None:
    suite = """
import pytest
from pubsub_conformance import plugin

@pytest.mark.requirement("PUB-1")
def test_limit(request):
    assert request.node.get_closest_marker("timeout").args == (plugin.TEST_SECONDS,)
"""
    assert kit(suite).run().outcomes["PUB-1"] == "pass"


def test_a_driver_error_in_the_end_or_the_cause_counts(kit: Callable[..., Kit]) -> None:
    suite = """
import pytest
from pubsub_conformance.driver import DriverError

@pytest.mark.requirement("PUB-1")
def test_cause(driver):
    try:
        driver.publish("crash")
    except DriverError as error:
        raise AssertionError("all is lost") from error

@pytest.mark.requirement("PUB-2")
def test_deliberate(driver):
    with pytest.raises(DriverError):
        driver.publish("crash")
    pytest.fail("this is about crashes")

@pytest.mark.requirement("PUB-5")
def test_end(start):
    start()
    start().publish("a")

@pytest.fixture
def rude(driver):
    yield driver
    driver.publish("crash")

@pytest.mark.requirement("PUB-9")
def test_teardown(rude):
    assert rude.publish("a") == 1
"""
    assert kit(suite).run().outcomes == {
        "PUB-1": "driver error",
        "PUB-2": "fail",
        "PUB-5": "pass",
        "PUB-7": "untested",
        "PUB-9": "driver error",
    }


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_breaks_in_the_kit_is_no_finding(kit: Callable[..., Kit], workers: str) -> None:
    suite = """
import pytest

@pytest.mark.requirement("PUB-1")
def test_broken(driver):
    driver.nonsense()

@pytest.mark.requirement("PUB-1")
def test_in_its_own_way(tmp_path):
    tmp_path.mkdir()
"""
    result = kit(suite).run("-n", workers, "--requirement", "PUB-1")
    assert result.outcomes == {"PUB-1": "not run"}
    assert result.code == 2
    assert {problem.split()[0] for problem in result.report["problems"]} == {
        "test_toy.py::test_broken:",
        "test_toy.py::test_in_its_own_way:",
    }
    assert "nonsense" in result.out


def test_what_an_implementation_left_behind_is_a_finding(kit: Callable[..., Kit]) -> None:
    suite = """
import os, pytest
from pubsub_conformance.oracle.message import decode

@pytest.mark.requirement("PUB-2")
def test_file_that_should_be_there(home):
    os.stat(home)

@pytest.mark.requirement("PUB-5")
def test_message_that_cannot_be_read():
    decode(b"PMSG")
"""
    result = kit(suite).run()
    assert result.outcomes == {"PUB-2": "fail", "PUB-5": "fail", "PUB-7": "untested"}
    assert result.code == 1


def test_a_role_in_the_marker_must_be_claimed(kit: Callable[..., Kit]) -> None:
    suite = """
import pytest

@pytest.mark.requirement("PUB-8", role="publisher")
def test_claimed():
    pass

@pytest.mark.requirement("PUB-8", role="subscriber")
def test_one_that_is_not():
    raise AssertionError

@pytest.mark.requirement("PUB-1", role=("publisher", "subscriber"))
def test_not_both():
    raise AssertionError
"""
    outcomes = kit(suite).run().outcomes
    assert outcomes == {"PUB-1": "not applicable", "PUB-7": "untested", "PUB-8": "pass"}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_fixtures(kit: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    suite = """
import os, pytest
from hypothesis import settings
from pubsub_conformance.oracle.base import Base

@pytest.mark.requirement("PUB-1")
def test_fixtures(home, base, start, seed, pytestconfig):
    assert not home.exists()
    assert isinstance(base, Base)
    assert str(home).startswith(os.environ["WHERE"])
    first, second = start(), start(TOY_VERSION="2")
    third = start(prefix=["env", "TOY_VERSION=3"])
    assert first.pid != second.pid
    assert first.home == second.home == home
    versions = [driver.hello.version for driver in (first, second, third)]
    assert versions == ["1.2", "2", "3"]
    assert seed == 11
    assert settings().database is None and settings().deadline is None
    home.mkdir()
    (home / "closed").mkdir(mode=0)
"""
    toy = kit(suite)
    where = toy.directory / "where"
    where.mkdir()
    monkeypatch.setenv("WHERE", str(where))
    result = toy.run("-n", workers, "--home", str(where), "--seed", "11")
    assert result.outcomes["PUB-1"] == "pass", result.out
    assert list(where.iterdir()) == []
