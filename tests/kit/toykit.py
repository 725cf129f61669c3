"""The kit on a throw-away specification, suite and driver: for tests of the plugin and of `run`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastjsonschema
import pubsub_conformance
import pytest

PACKAGE = Path(pubsub_conformance.__file__).parent
SCHEMA = json.loads((PACKAGE / "report.schema.json").read_text())
check_report = fastjsonschema.compile(SCHEMA)

SPEC = """\
# Publishing

**PUB-1 It passes** (publisher)
It MUST pass.

**PUB-2 It fails** (publisher)
It MUST fail.

**PUB-3 It is so** (publisher)
It SHOULD be so.

**PUB-4 It does not apply** (subscriber)
It MUST NOT apply.

**PUB-5 It crashes** (publisher)
It MUST crash.

**PUB-6 It is impossible** (publisher)
It MUST be impossible here.

**PUB-7 It is untested** (publisher)
It MUST be untested.

*Untested:* nobody can see it.

**PUB-8 It has both sides** (publisher, subscriber)
It MUST be seen from both sides.

**PUB-9 It fails and crashes** (publisher)
It MUST fail and crash.
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
        if topic == "opens":
            open(os.devnull).close()
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

PASS_THEN_WAIT = """
import os, pytest

@pytest.mark.requirement("PUB-1")
def test_pass(driver):
    driver.publish("a")

@pytest.mark.requirement("PUB-2")
def test_wait(driver):
"""
"""A suite of two tests; the second one lacks its body."""

HELD = """
    with open("begun", "w"):
        pass
    with open("go on") as fifo:
        fifo.read()
"""
"""The end of a test of a suite: it waits until `start_held` returns, and then for "go on"."""

CLI = """\
import sys
import toy
from pubsub_conformance.commands import main, run

run.SUITE = ["."]
run.ISOLATED = ("-p", "toy", *run.ISOLATED)
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
        quiet = {"NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
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
            check_report(report)
            assert report["exit"] == process.returncode
        return Result(process.returncode, out, err, report)

    def start_run(self, *options: str) -> subprocess.Popen[str]:
        # One process unless a test is about several: that is quicker.
        options = ("-n", "0", *options, "--json", "report.json")
        return self.spawn(["-c", CLI, "run", *options, "--", *self.driver])

    def start_held(
        self, monkeypatch: pytest.MonkeyPatch, *options: str
    ) -> tuple[subprocess.Popen[str], Path]:
        """A run that is in the middle of a test, and the directory for its temporary files."""
        for name in ("begun", "go on"):
            os.mkfifo(self.directory / name)
        temporary = self.directory / "temporary"
        temporary.mkdir()
        monkeypatch.setenv("TMPDIR", str(temporary))
        process = self.start_run(*options)
        (self.directory / "begun").read_text()
        return process, temporary

    def run(self, *options: str) -> Result:
        return self.finish(self.start_run(*options))

    def pytest(self, *options: str) -> Result:
        plugin = ["-p", "toy", "-p", "pubsub_conformance.plugin", "-p", "no:cacheprovider"]
        return self.finish(self.spawn(["-m", "pytest", *plugin, *options]))


def makes_kits(tmp_path: Path) -> Callable[..., Kit]:
    """A fixture, under the name that a test module gives it."""

    def kit(suite: str = SUITE, *driver_options: str) -> Kit:
        (tmp_path / "spec").mkdir()
        (tmp_path / "spec/publish.md").write_text(SPEC)
        (tmp_path / "DRIVER.md").write_text("# Driver\n")
        (tmp_path / "toy.py").write_text(TOY)
        (tmp_path / "driver.py").write_text(DRIVER)
        (tmp_path / "test_toy.py").write_text(suite)
        return Kit(tmp_path, (sys.executable, "driver.py", *driver_options))

    return kit


def expect(toy: Kit, *names: str) -> str:
    path = toy.directory / "expected.toml"
    entries = (f'[[expected]]\nrequirement = "{name}"\nreason = "known {name}"\n' for name in names)
    path.write_text("".join(entries))
    return str(path)
