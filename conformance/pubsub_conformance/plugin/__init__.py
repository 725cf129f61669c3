"""The pytest plugin: `pytest -p pubsub_conformance.plugin --driver "COMMAND" …`.

It does nothing without --driver. There is no pytest11 entry point, so that it adds no options to
other people's runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from .. import seeds
from ..implementations import Implementation, Unusable
from ..judge.outcome import Outcome, TestResult, judge
from ..linux import Unavailable
from ..surroundings import end_in_order
from . import left_open
from .collector import Collector
from .evidence import evidence_of, has_seen_calls
from .outcome import broken, not_applicable, not_run, outcome_of, reasons_of
from .session import FAILED, SESSION, Session, name_in_suite, session_of
from .shown import Shown

__all__ = ["TEST_SECONDS", "broken", "not_applicable", "not_run"]

TEST_SECONDS = 120
"""The limit of a test that sets none. A silent driver is noticed within one request; this limit is
for what the kit itself waits for, and much longer than any test takes on a slow machine."""

COLLECTOR = "pubsub-conformance"
SHOWN = "pubsub-conformance-shown"
"""The names of the plugins of the main process."""

pytest_plugins = ("pubsub_conformance.plugin.fixtures",)

pytest.register_assert_rewrite("pubsub_conformance.suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of a run."""
    group = parser.getgroup("pubsub-conformance")
    add = group.addoption
    add("--driver", metavar="COMMAND", help="the driver of the implementation under test")
    add("--home", metavar="DIR", help="the directory in which each test makes its base directory")
    add("--expected", metavar="FILE", help="expected failures (TOML)")
    text = "the seed of all random choices (default: drawn, and shown)"
    add("--seed", type=int, default=seeds.draw(), metavar="N", help=text)
    text = "do not show what passed"
    add("--quiet-report", action="store_true", help=text)
    text = "judge by this copy of requirements.json"
    add("--requirements", metavar="FILE", help=text)
    add("--keep", action="store_true", help="keep the base directories of tests that failed")
    add("--json", metavar="FILE", help="write a report to this file")
    for option, what in (("--requirement", "ID"), ("--section", "NAME"), ("--role", "ROLE")):
        add(option, action="append", default=[], metavar=what, help="select (repeatable)")


def pytest_configure(config: pytest.Config) -> None:
    """Check the options, in the main process and in every xdist worker."""
    config.addinivalue_line(
        "markers",
        "requirement(id, ..., role=()): the requirements of the specification that a test"
        " checks, and the role or roles that it takes where they bind several",
    )
    config.addinivalue_line(
        "markers",
        "timing: stops a driver between two steps, waits, or measures a time; however slow the"
        " machine is, the verdict stays the same",
    )
    if config.getoption("driver") is None:
        return
    kit = config.stash[SESSION] = session_of(config)
    # A request takes milliseconds and more on a busy machine; failures are repeated by seed.
    # On a CI server, hypothesis would take other settings than elsewhere: no seed, for one.
    usual = hypothesis.settings.get_profile("default")
    hypothesis.settings.register_profile("pubsub", usual, deadline=None, database=None)
    hypothesis.settings.load_profile("pubsub")
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        end_in_order()
        kit.hello = worker["hello"]
        config.option.seed = worker["seed"]
        return
    collector = Collector(config, kit)
    config.pluginmanager.register(collector, COLLECTOR)
    config.pluginmanager.register(Shown(config, collector), SHOWN)


def pytest_sessionstart(session: pytest.Session) -> None:
    """The handshake, once for the session: an implementation that cannot be asked is not judged."""
    kit = session.config.stash.get(SESSION, None)
    if kit is None or kit.hello or session.config.option.collectonly:
        return
    with tempfile.TemporaryDirectory(dir=session.config.getoption("home")) as directory:
        try:
            home = Path(directory, "base")
            kit.hello = Implementation.greet_to_judge("the driver", kit.command, home).said
        except Unusable as reason:
            pytest.exit(str(reason), returncode=2)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist is about to start a worker."""
    if (kit := node.config.stash.get(SESSION, None)) is not None:
        node.workerinput["hello"] = kit.hello
        node.workerinput["seed"] = node.config.option.seed


@pytest.hookimpl(tryfirst=True)  # before others, such as -k, take tests away
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the selected requirements."""
    kit = config.stash.get(SESSION, None)
    if kit is None:
        return
    chosen: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        ids = _ids(item)
        if not ids or not kit.requirements.keys() >= set(ids):
            raise pytest.UsageError(f"{item.nodeid}: names no requirement, or an unknown one")
        (chosen if kit.selected & set(ids) else others).append(item)
        item.user_properties += [("requirement", name) for name in ids]  # for JUnit
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))
    kit.tests.update((item.nodeid, _selected(item, kit)) for item in chosen)
    items[:] = chosen
    if others:
        config.hook.pytest_deselected(items=others)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """An xdist worker reports which tests there are: its main process collects none."""
    kit = session.config.stash.get(SESSION, None)
    if kit is not None and hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tests"] = kit.tests


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """An xdist worker has ended."""
    if (kit := node.config.stash.get(SESSION, None)) is not None:
        kit.tests.update(getattr(node, "workeroutput", {}).get("tests", {}))


def _selected(item: pytest.Item, kit: Session) -> list[str]:
    """The selected requirements that a test names."""
    return [name for name in _ids(item) if name in kit.selected]


def _ids(item: pytest.Item) -> list[str]:
    """The requirements that a test names."""
    named = [name for mark in item.iter_markers("requirement") for name in mark.args]
    return list(dict.fromkeys(named))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """End a test whose roles the driver does not claim."""
    kit = item.config.stash.get(SESSION, None)
    if kit is None:
        return
    needed = [kit.requirements[name].roles for name in _ids(item)]
    for mark in item.iter_markers("requirement"):
        role = mark.kwargs.get("role", ())
        needed += [(one,) for one in ([role] if isinstance(role, str) else role)]
    for roles in needed:
        if not set(roles) & set(kit.hello["roles"]):
            not_applicable(*roles)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """A test that needs what this machine does not have is not run."""
    try:
        return (yield)
    except Unavailable as lacking:
        not_run(str(lacking))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the outcome and its evidence to the report of a phase."""
    made = yield
    kit = item.config.stash.get(SESSION, None)
    if kit is None or (call.excinfo is None and call.when != "call"):
        return made
    names = _selected(item, kit)
    outcome, reason, at_fault = outcome_of(call, item.path)
    afterwards = call.excinfo is not None and isinstance(call.excinfo.value, left_open.LeftOpen)
    if afterwards:
        names = [left_open.REQUIREMENT]
    reasons = dict(reasons_of(call))
    result: dict[str, object] = {
        "outcome": outcome.value,
        "reason": reason,
        "reasons": reasons,
        "requirements": names,
        "broken": at_fault,
        "afterwards": afterwards,
    }
    failed = outcome in {Outcome.FAIL, Outcome.DRIVER_ERROR}
    if failed:
        item.stash[FAILED] = True
    if failed or (outcome is Outcome.NOT_RUN and has_seen_calls(item)):
        result |= evidence_of(item, reason)
    vars(made)["conformance"] = result  # plain data, so that xdist carries it
    tested = TestResult(name_in_suite(item.nodeid), outcome, reason=reason, reasons=reasons)
    meant = {
        name: judge(kit.requirements[name], tested.about(name), kit.expected) for name in names
    }
    if outcome is Outcome.FAIL and Outcome.FAIL not in {each.outcome for each in meant.values()}:
        # For pytest's own terminal and JUnit report, an expected failure is an xfail.
        made.outcome = "skipped"
        excused = [
            f"{name} is a SHOULD" if each.outcome is Outcome.WARNING else each.reason
            for name, each in meant.items()
        ]
        vars(made)["wasxfail"] = "; ".join(excused)
    return made
