"""The kit's judgement of one mutant, in stages.

Each happens in a process that was forked from one that had imported the tests before: a mutant that
dies of the first test is judged in a fraction of a second.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pubsub_conformance.commands import under_pytest
from pubsub_conformance.commands.run import ISOLATED, SUITE
from pubsub_conformance.driver import Driver, DriverError, Rejected
from pubsub_conformance.implementations import Implementation, Unusable
from pubsub_conformance.judge.outcome import Outcome
from pubsub_conformance.judge.verdict import Verdict
from pubsub_conformance.plugin.session import name_in_suite
from pubsub_conformance.surroundings import settle

from . import order
from .results import TIME_LIMIT, TOO_LATE

PROCESSOR_SECONDS = 300
"""Of each process: what a mutant's driver does without end comes to one after all."""


@dataclass
class Death:
    """What killed a mutant."""

    stage: str
    how: str = "fail"
    tests: list[str] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)
    why: str = ""


def collect() -> dict[str, list[str]]:
    """Imports the suite, for this process and those that are forked from it.

    Returns the requirements of each test.
    """
    found: dict[str, list[str]] = {}

    class Names:
        def pytest_collection_finish(self, session: pytest.Session) -> None:
            for item in session.items:
                marks = item.iter_markers("requirement")
                found[name_in_suite(item.nodeid)] = [id for mark in marks for id in mark.args]

    options = [*ISOLATED, "-p", "no:pubsub-conformance-shown", "--collect-only", "-qq"]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        status = pytest.main([*options, "--driver=true", *SUITE], plugins=[Names()])
    if status != pytest.ExitCode.OK:
        raise RuntimeError(f"the suite cannot be collected: {status!r}")
    return found


def confine(scratch: Path) -> None:
    """What this process and its children leave behind is in `scratch`; their output is there."""
    os.environ["TMPDIR"] = str(scratch)
    tempfile.tempdir = None
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    output = os.open(scratch / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)


def smoke(command: Sequence[str], scratch: Path) -> Death | None:
    """A handshake and one message."""
    try:
        driver = Driver(command, scratch / "smoke")
    except DriverError as error:
        return Death("smoke", "no handshake", why=_brief(str(error)))
    try:
        with driver:
            channel = driver.open("a.=")
            count = driver.publish("a.b", b"content")
            message = driver.fetch(channel)
            if count != 1 or message is None or message.content != b"content":
                return Death("smoke", why=f"published to {count}, fetched {message}")
            driver.close_channel(channel)
    except (DriverError, Rejected, OSError) as error:
        return Death("smoke", "driver error", why=_brief(str(error)))
    return None


def run(
    command: Sequence[str], scratch: Path, stage: str, tests: Sequence[str], *, exit_first: bool
) -> tuple[Death | None, dict[str, float]]:
    """These tests of `run`, in their order; and how long each took, in seconds."""
    order.order = tests
    settle()
    try:
        said = Implementation.greet_to_judge("the driver", command, scratch / "greeted").said
    except Unusable as error:
        return Death("smoke", "no handshake", why=_brief(str(error))), {}
    arguments = [*ISOLATED, "-p", "no:pubsub-conformance-shown", "-p", order.__name__]
    arguments += ["--driver", shlex.join(command), "--seed=1", "--hypothesis-seed=1"]
    if exit_first:
        arguments.append("--exitfirst")
    report = under_pytest.run([*arguments, *SUITE], said)
    found = (
        {test.name: test for result in report.results for test in result.tests} if report else {}
    )
    if report is None or not found.keys() >= set(tests):
        raise RuntimeError(f"the suite is not what it was: {report and report.problems}")
    seconds = {name: test.seconds for name, test in found.items() if test.seconds}
    if report.verdict is Verdict.CONFORMS:
        return None, seconds
    bad = [test for test in found.values() if test.outcome is Outcome.FAIL]
    how = "fail"
    if not bad:
        bad = [test for test in found.values() if test.outcome is Outcome.DRIVER_ERROR]
        how = "driver error" if bad else "kit error"
    requirements = [
        result.requirement.id
        for result in report.results
        if result.outcome in {Outcome.FAIL, Outcome.DRIVER_ERROR}
    ]
    why = _brief(bad[0].reason if bad else "; ".join(report.problems))
    if re.search(r"within [0-9.]+ s", why):
        how = TOO_LATE
    return Death(stage, how, sorted(test.name for test in bad), requirements, why), seconds


def further(scratch: Path, seconds: float, stage: str, *arguments: str) -> Death | None:
    """Another command of the kit, that long at most."""
    with open(scratch / stage, "w+", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pubsub_conformance", stage, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=scratch,
        )
        try:
            status: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
            process.send_signal(signal.SIGINT)  # it ends the drivers
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()
        output.seek(0)
        said = output.read()
    if status == 0:
        return None
    how = {1: "fail", None: TIME_LIMIT}.get(status, "not judged")
    return Death(stage, how, why=_brief(said[-600:]))


def _brief(text: str) -> str:
    return " ".join(text.split())[:300]
