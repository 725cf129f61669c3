"""The kit's plugin, report and command line, on throw-away specifications, suites and drivers."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema  # type: ignore[import-untyped]
import pubsub_conformance
import pytest
from pubsub_conformance.driver.protocol import ROLES
from pubsub_conformance.judge.outcome import Outcome

PACKAGE = Path(pubsub_conformance.__file__).parent
SCHEMA = json.loads((PACKAGE / "report.schema.json").read_text())

SPEC = """\
# Publishing

**PUB-1** (publisher) It MUST pass.

**PUB-2** (publisher) It MUST fail.

**PUB-3** (publisher) It SHOULD be so.

**PUB-4** (subscriber) It MUST NOT apply.

**PUB-5** (publisher) It MUST crash.

**PUB-6** (publisher) It MUST be impossible here.

**PUB-7** (publisher) It MUST be untested.

*Untested:* nobody can see it.

**PUB-8** (publisher, subscriber) It MUST be seen from both sides.

**PUB-9** (publisher) It MUST fail and crash.
"""

# Puts the specification above in the place of the real one, in xdist's workers too.
TOY = """\
from pathlib import Path
from pubsub_conformance import requirements

requirements.SPEC = Path(__file__).parent / "spec"
requirements.DRIVER_PAGE = Path(__file__).parent / "DRIVER.md"
"""

# A publisher that does what the topic says.
DRIVER = """\
import json, os, sys

for line in sys.stdin:
    asked = json.loads(line)
    reply = {"seq": asked["seq"]}
    topic = asked.get("topic")
    if asked["op"] == "hello":
        print("driver starts", file=sys.stderr)
        if "--mute" in sys.argv:
            sys.exit("no voice")
        reply |= {"implementation": "toy", "language": "Python",
                  "version": os.environ.get("TOY_VERSION", "1.2"),
                  "spec": sys.argv[1] if sys.argv[1:] else "1", "roles": ["publisher"]}
    elif topic == "crash":
        sys.exit("last words")
    elif topic == "refused":
        reply["error"] = {"code": "invalid-topic", "detail": "so it is"}
    else:
        reply["count"] = 1
    print(json.dumps(reply), flush=True)
"""

SUITE = '''\
import pytest
from pubsub_conformance.plugin import not_run

requirement = pytest.mark.requirement

@requirement("PUB-1")
def test_pass(driver):
    assert driver.publish("a") == 1

@requirement("PUB-2", "PUB-1")
def test_fail(driver):
    """Two channels take
    the message."""
    driver.home.mkdir()
    (driver.home / "trace").touch()
    assert driver.publish("a") == 2

@requirement("PUB-3")
def test_refused(driver):
    driver.publish("refused")

@requirement("PUB-4")
def test_of_another_role():
    raise AssertionError("must not run")

@requirement("PUB-5")
def test_crash(driver):
    driver.publish("crash")

@requirement("PUB-6")
def test_impossible():
    not_run("no such machine")

@requirement("PUB-8")
def test_one_side(driver):
    assert driver.publish("a") == 1

@requirement("PUB-8")
def test_other_side(driver):
    driver.open("a")
    raise AssertionError("must not get here")

@requirement("PUB-9")
def test_fails_too():
    assert False

@requirement("PUB-9")
def test_crashes_too(driver):
    driver.publish("crash")
'''

OUTCOMES = {
    "PUB-1": "fail",
    "PUB-2": "fail",
    "PUB-3": "warning",
    "PUB-4": "not applicable",
    "PUB-5": "driver error",
    "PUB-6": "not run",
    "PUB-7": "untested",
    "PUB-8": "pass",
    "PUB-9": "fail",
}

CLI = """\
import sys
import toy
from pubsub_conformance.commands import main, run

run.SUITE = ["."]
sys.exit(main())
"""


@dataclass
class Result:
    code: int
    out: str
    err: str
    report: Any  # None if none was written

    @property
    def outcomes(self) -> dict[str, str]:
        return {entry["id"]: entry["outcome"] for entry in self.report["requirements"]}

    def entry(self, name: str) -> Any:
        return next(entry for entry in self.report["requirements"] if entry["id"] == name)


@dataclass
class Kit:
    """A directory with a specification, a suite and a driver."""

    directory: Path
    driver: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(PACKAGE.parent), str(self.directory)])
        quiet = {"NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_PLUGINS": "toy"}
        return {**os.environ, **quiet, "PYTHONPATH": path}

    def spawn(self, arguments: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.directory,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> Result:
        out, err = process.communicate(timeout=50)
        report = None
        if (file := self.directory / "report.json").exists():
            report = json.loads(file.read_text())
            jsonschema.validate(report, SCHEMA)
            assert report["exit"] == process.returncode
        return Result(process.returncode, out, err, report)

    def start_run(self, *options: str) -> subprocess.Popen[str]:
        # One process unless a test is about several: that is quicker.
        options = ("-n", "0", *options, "--json", "report.json")
        return self.spawn(["-c", CLI, "run", *options, "--", *self.driver])

    def run(self, *options: str) -> Result:
        return self.finish(self.start_run(*options))

    def pytest(self, *options: str) -> Result:
        plugin = ["-p", "pubsub_conformance.plugin", "-p", "no:cacheprovider"]
        return self.finish(self.spawn(["-m", "pytest", *plugin, *options]))


@pytest.fixture
def kit(tmp_path: Path) -> Callable[..., Kit]:
    def kit(suite: str = SUITE, *driver_options: str) -> Kit:
        (tmp_path / "spec").mkdir()
        (tmp_path / "spec/publish.md").write_text(SPEC)
        (tmp_path / "DRIVER.md").write_text("# Driver\n")
        (tmp_path / "toy.py").write_text(TOY)
        (tmp_path / "driver.py").write_text(DRIVER)
        (tmp_path / "test_toy.py").write_text(suite)
        return Kit(tmp_path, (sys.executable, "driver.py", *driver_options))

    return kit


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
def test_a_conftest_of_the_callers_is_left_alone(kit: Callable[..., Kit], workers: str) -> None:
    toy = kit()
    (toy.directory / "conftest.py").write_text("raise RuntimeError('loaded')")
    assert toy.run("-n", workers, "--requirement", "PUB-8").outcomes == {"PUB-8": "pass"}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_failure_comes_with_its_evidence(kit: Callable[..., Kit], workers: str) -> None:
    result = kit().run("-n", workers, "--requirement", "PUB-2", "--requirement", "PUB-5")
    assert result.outcomes == {"PUB-2": "fail", "PUB-5": "driver error"}
    (failed,) = result.entry("PUB-2")["tests"]
    assert failed["expected"] == "Two channels take the message."
    assert "assert 1 == 2" in failed["reason"]
    assert re.search(r"\(test_toy.py, line \d+\)", failed["reason"])
    assert '> {"seq": 2, "op": "publish", "topic": "a"' in failed["done"]
    assert '< {"seq": 2, "count": 1}' in failed["done"]
    assert re.search(r"^-rw.* trace$", failed["base"], re.MULTILINE)
    (crashed,) = result.entry("PUB-5")["tests"]
    assert "last words" in crashed["reason"]
    for told in ("It MUST fail.", "assert 1 == 2", '"count": 1', "last words", " trace\n"):
        assert told in result.out


def test_the_command_of_a_failure_repeats_it(kit: Callable[..., Kit]) -> None:
    toy = kit()
    out = toy.run("--requirement", "PUB-2", "--home", str(toy.directory), "--seed", "5").out
    (told,) = re.findall(r"  repeat    pubsub-conformance (.*)\n", out)
    again = toy.finish(toy.spawn(["-c", CLI, *shlex.split(told)]))
    (told_again,) = re.findall(r"  repeat    pubsub-conformance (.*)\n", again.out)
    assert told_again == told
    assert again.code == 1


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


def expect(toy: Kit, *names: str) -> str:
    path = toy.directory / "expected.toml"
    entries = (f'[[expected]]\nrequirement = "{name}"\nreason = "known {name}"\n' for name in names)
    path.write_text("".join(entries))
    return str(path)


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


def test_a_should_only_warns(kit: Callable[..., Kit]) -> None:
    result = kit().run("--requirement", "PUB-3")
    assert result.outcomes == {"PUB-3": "warning"}
    assert result.code == 0
    assert "invalid-topic: so it is" in result.out


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
    result = kit(SUITE, driver_option).run("-n", workers)
    assert (result.code, result.report) == (2, None)
    assert words in result.err


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


def test_many_failures_of_one_requirement_are_cut_short(kit: Callable[..., Kit]) -> None:
    suite = """
import pytest

@pytest.mark.requirement("PUB-1")
@pytest.mark.parametrize("number", range(5))
def test_all(number):
    raise AssertionError(f"told {number}")
"""
    out = kit(suite).run().out
    assert re.findall("told ([0-9])", out) == ["0", "1", "2"]
    assert "test_all[4]" in out


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


@pytest.mark.parametrize("workers", ["0", "2"])
def test_ctrl_c_gives_a_partial_report_and_leaves_no_driver(
    kit: Callable[..., Kit], workers: str
) -> None:
    suite = """
import os, pytest

@pytest.mark.requirement("PUB-1")
def test_pass(driver):
    driver.publish("a")

@pytest.mark.requirement("PUB-2")
def test_wait(driver):
    with open("pids", "w") as fifo:
        fifo.write(f"{driver.pid}")
    reading, writing = os.pipe()
    os.read(reading, 1)
"""
    toy = kit(suite)
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
    assert everything[0].split() == ["PUB-1", "MUST", "It", "MUST", "pass."]
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
        assert "publish.md:9: PUB-3" in result.err


def test_the_schema_knows_every_outcome() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["$defs"]["outcome"]["enum"]) == {outcome.value for outcome in Outcome}
    item = SCHEMA["properties"]["implementation"]["properties"]["roles"]["items"]
    assert item["enum"] == list(ROLES)
