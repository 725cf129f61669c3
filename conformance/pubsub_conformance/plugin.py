"""The pytest plugin: `pytest -p pubsub_conformance.plugin --driver "COMMAND" …`.

It does nothing without --driver. There is no pytest11 entry point, so that it adds no options to
other people's runs.
"""

import contextlib
import dataclasses
import datetime
import errno
import os
import random
import shlex
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import pytest

from pubsub_conformance import report, requirements
from pubsub_conformance.driver import Driver, DriverError, Rejected
from pubsub_conformance.driver.protocol import OPS, ROLES
from pubsub_conformance.judge import expected
from pubsub_conformance.judge.expected import Expected, ExpectedError
from pubsub_conformance.linux import Unavailable
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import InvalidMessage
from pubsub_conformance.report import Outcome, TestResult
from pubsub_conformance.requirements import SPEC_VERSION, Requirement

TEST_SECONDS = 120
"""For a test that sets no limit of its own. A silent driver is noticed within one request; this is
for what the kit itself waits for, and so much longer than any test takes on a slow machine."""

TRANSCRIPT_CHARACTERS = 6000  # of each driver's transcript, the last ones
STDERR_CHARACTERS = 2000
LISTED_ENTRIES = 100  # of a base directory

_NOT_APPLICABLE = "not applicable: "

pytest.register_assert_rewrite("pubsub_conformance.suite")


@dataclasses.dataclass
class _Session:
    """What the options come to, in the main process and in every xdist worker."""

    command: list[str]
    requirements: Mapping[str, Requirement]
    selected: frozenset[str]
    expected: Mapping[str, Expected]
    hello: dict[str, Any] = dataclasses.field(default_factory=dict)


_SESSION = pytest.StashKey[_Session]()
_STARTED = pytest.StashKey[list[Driver]]()
_HOME = pytest.StashKey[Path]()


def not_run(reason: str) -> NoReturn:
    """Ends a test that this machine cannot run."""
    pytest.skip(reason)


# Options.


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pubsub-conformance")
    add = group.addoption
    add("--driver", metavar="COMMAND", help="the driver of the implementation under test")
    add("--home", metavar="DIR", help="where each test makes its base directory")
    add("--expected", metavar="FILE", help="expected failures (TOML)")
    add("--seed", type=int, metavar="N", help="of all randomness (default: drawn and shown)")
    add("--json", metavar="FILE", help="write a report to this file")
    for option, what in (
        ("--requirement", "ID"),
        ("--section", "NAME"),
        ("--role", "ROLE"),
    ):
        add(option, action="append", default=[], metavar=what, help="select (repeatable)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "requirement(id, ..., role=()): the requirements of the specification that a test"
        " checks, and the role or roles that it takes where they bind several",
    )
    command = config.getoption("driver")
    if command is None:
        return
    try:
        known = requirements.load()
        path = config.getoption("expected")
        listed = expected.load(Path(path), {"requirement": known}) if path else {}
    except (requirements.SpecError, ExpectedError) as error:
        raise pytest.UsageError(str(error)) from None
    if not shlex.split(command):
        raise pytest.UsageError("--driver: the command is empty")
    home = config.getoption("home")
    if home and not Path(home).is_dir():
        raise pytest.UsageError(f"--home: {home} is not a directory")
    session = _Session(
        shlex.split(command),
        known,
        _selection(config, known),
        {name: failure for (name,), failure in listed.items()},
    )
    config.stash[_SESSION] = session
    # A request takes milliseconds and more on a busy machine; failures are repeated by seed.
    hypothesis.settings.register_profile("pubsub", deadline=None, database=None)
    hypothesis.settings.load_profile("pubsub")
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        session.hello = worker["hello"]
        config.option.seed = worker["seed"]
        return
    if config.option.seed is None:
        config.option.seed = random.randrange(2**32)
    config.pluginmanager.register(_Collector(config, session), "pubsub-conformance")


def _selection(config: pytest.Config, known: Mapping[str, Requirement]) -> frozenset[str]:
    """The ids that every one of the three kinds of option lets through."""
    ids, sections, roles = (config.getoption(kind) for kind in ("requirement", "section", "role"))
    there = {
        "requirement": set(known),
        "section": {requirement.key for requirement in known.values()},
        "role": set(ROLES),
    }
    for kind, asked in (("requirement", ids), ("section", sections), ("role", roles)):
        for name in asked:
            if name not in there[kind]:
                raise pytest.UsageError(f"--{kind}: there is no {name!r}")
    return frozenset(
        requirement.id
        for requirement in known.values()
        if (not ids or requirement.id in ids)
        and (not sections or requirement.key in sections)
        and (not roles or set(roles) & set(requirement.roles))
    )


# The session.


def pytest_sessionstart(session: pytest.Session) -> None:
    """The handshake, once for the session: an implementation that cannot be asked is not judged."""
    kit = session.config.stash.get(_SESSION, None)
    if kit is None or kit.hello or session.config.option.collectonly:
        return
    with tempfile.TemporaryDirectory(dir=session.config.getoption("home")) as directory:
        try:
            driver = Driver(kit.command, Path(directory, "base"))
        except DriverError as error:
            pytest.exit(f"the handshake with the driver failed\n{error}", returncode=2)
        with contextlib.suppress(DriverError):  # how it ends is a matter for a test
            driver.close()
    hello = dataclasses.asdict(driver.hello)
    kit.hello = {**hello, "roles": sorted(hello["roles"], key=ROLES.index)}
    if kit.hello["spec"] != SPEC_VERSION:
        pytest.exit(
            f"the driver implements specification {kit.hello['spec']},"
            f" this kit judges by {SPEC_VERSION}",
            returncode=2,
        )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist is about to start a worker."""
    if (kit := node.config.stash.get(_SESSION, None)) is not None:
        node.workerinput["hello"] = kit.hello
        node.workerinput["seed"] = node.config.option.seed


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kit = config.stash.get(_SESSION, None)
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
    items[:] = chosen
    if others:
        config.hook.pytest_deselected(items=others)


def _ids(item: pytest.Item) -> list[str]:
    named = [name for mark in item.iter_markers("requirement") for name in mark.args]
    return list(dict.fromkeys(named))


# One test.


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """A test that needs what this machine lacks is not run."""
    try:
        return (yield)
    except Unavailable as lacking:
        not_run(str(lacking))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    kit = item.config.stash.get(_SESSION, None)
    if kit is None:
        return
    needed = [kit.requirements[name].roles for name in _ids(item)]
    for mark in item.iter_markers("requirement"):
        role = mark.kwargs.get("role", ())
        needed += [(one,) for one in ([role] if isinstance(role, str) else role)]
    for roles in needed:
        if not set(roles) & set(kit.hello["roles"]):
            _not_applicable(*roles)


def _not_applicable(*roles: str) -> NoReturn:
    pytest.skip(f"{_NOT_APPLICABLE}the driver does not claim {' or '.join(roles)}")


class _Claimed(Driver):
    """A driver that is never asked for what it does not claim.

    A requirement of two roles is tested through each; a publish-only driver meets half of it.
    """

    def __repr__(self) -> str:  # in assertions
        return "driver"

    def _send(self, op: str, fields: Mapping[str, Any], within: float) -> None:
        role = OPS[op].role if op in OPS else None
        if role is not None and role not in self.hello.roles:
            _not_applicable(role)
        super()._send(op, fields, within)


@pytest.fixture
def home(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A base directory of this test's own, not yet made."""
    parent = Path(tempfile.mkdtemp(prefix="pubsub-", dir=request.config.getoption("home")))
    path = request.node.stash[_HOME] = parent / "base"
    yield path
    for directory, _, _ in os.walk(parent):  # a test may have taken permissions away
        with contextlib.suppress(OSError):
            os.chmod(directory, 0o700)
    shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture
def start(request: pytest.FixtureRequest, home: Path) -> Iterator[Callable[..., Driver]]:
    """Starts a driver on `home`.

    `prefix` runs its command (`env`, `strace` and the like); environment variables by keyword,
    None removes one.
    """
    kit = request.config.stash.get(_SESSION, None)
    if kit is None:
        raise pytest.UsageError("--driver is missing")
    started = request.node.stash[_STARTED] = []
    with contextlib.ExitStack() as closing:

        def start(prefix: Sequence[str] = (), **env: str | None) -> Driver:
            driver = closing.enter_context(_Claimed([*prefix, *kit.command], home, env=env))
            started.append(driver)
            return driver

        yield start


@pytest.fixture
def driver(start: Callable[..., Driver]) -> Driver:
    return start()


@pytest.fixture
def base(home: Path) -> Base:
    """The kit's own publisher and subscriber on `home`."""
    return Base(home)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Of all randomness in a test."""
    return int(request.config.getoption("seed"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    made = yield
    kit = item.config.stash.get(_SESSION, None)
    if kit is None or (call.excinfo is None and call.when != "call"):
        return made
    names = [name for name in _ids(item) if name in kit.selected]
    outcome, reason, broken = _outcome(call, item.path)
    result = {
        "outcome": outcome.value,
        "reason": reason,
        "requirements": names,
        "broken": broken,
    }
    if outcome in {Outcome.FAIL, Outcome.DRIVER_ERROR}:
        result |= _evidence(item)
    vars(made)["conformance"] = result  # plain data, so that xdist carries it
    meant = {report.forgiven(kit.requirements[name], kit.expected) for name in names}
    if outcome is Outcome.FAIL and Outcome.FAIL not in meant:
        # For pytest's own terminal and JUnit report, an expected failure is an xfail.
        made.outcome = "skipped"
        reasons = [
            kit.expected[name].reason if name in kit.expected else f"{name} is a SHOULD"
            for name in names
        ]
        vars(made)["wasxfail"] = "; ".join(reasons)
    return made


def _outcome(call: pytest.CallInfo[None], path: Path) -> tuple[Outcome, str, bool]:
    """What a phase came to, why, and whether the kit itself is at fault."""
    if call.excinfo is None:
        return Outcome.PASS, "", False
    error = call.excinfo.value
    if isinstance(error, pytest.skip.Exception):
        reason = str(error.msg)
        if reason.startswith(_NOT_APPLICABLE):
            return Outcome.NOT_APPLICABLE, reason.removeprefix(_NOT_APPLICABLE), False
        return Outcome.NOT_RUN, reason, False
    if driver_error := _driver_error(error):
        return Outcome.DRIVER_ERROR, str(driver_error), False
    # The last line of the test itself, not one of what it called.
    trace = call.excinfo.traceback
    where = [entry for entry in trace if Path(entry.path) == path] or trace
    place = f"({Path(where[-1].path).name}, line {where[-1].lineno + 1})"
    reason = f"{call.excinfo.exconly()}\n{place}"
    if "from pytest-timeout" in reason:
        return Outcome.DRIVER_ERROR, f"the test did not come to an end: {reason}", False
    if _is_finding(error):
        return Outcome.FAIL, reason, False
    return Outcome.NOT_RUN, f"the test is broken: {reason}", True


def _is_finding(error: BaseException) -> bool:
    """Whether it says something about the implementation, and not about the kit's own code."""
    if inner := getattr(error, "exceptions", ()):
        return all(map(_is_finding, inner))
    if isinstance(error, OSError):  # no file, or no reader, where one should be
        return error.errno in {errno.ENOENT, errno.ENXIO}
    return isinstance(error, (AssertionError, pytest.fail.Exception, Rejected, InvalidMessage))


def _driver_error(error: BaseException) -> DriverError | None:
    """The driver error in an exception, in what it was raised from, or in a group of them."""
    if isinstance(error, DriverError):
        return error
    inner = [*getattr(error, "exceptions", ()), *filter(None, [error.__cause__])]
    return next(filter(None, map(_driver_error, inner)), None)


def _evidence(item: pytest.Item) -> dict[str, str]:
    """What was to be seen (the test's docstring), what was said, what lies on the disk."""
    done = []
    for driver in item.stash.get(_STARTED, []):
        done.append(f"driver {driver.pid}:\n{driver.transcript[-TRANSCRIPT_CHARACTERS:]}")
        if driver.stderr.strip():
            done.append(f"its stderr:\n{driver.stderr[-STDERR_CHARACTERS:]}")
    home = item.stash.get(_HOME, None)
    doc = getattr(getattr(item, "obj", None), "__doc__", None) or ""
    return {
        "expected": " ".join(doc.split()),
        "done": "\n".join(done),
        "base": "\n".join(_listing(home)) if home else "",
    }


def _listing(home: Path) -> Iterator[str]:
    if not home.exists():
        yield f"{home} is not there"
        return
    for number, path in enumerate([home, *sorted(home.rglob("*"))]):
        if number == LISTED_ENTRIES:
            yield "…"
            return
        with contextlib.suppress(OSError):
            status = path.lstat()
            name = path if path == home else path.relative_to(home)
            shown = str(name).encode(errors="backslashreplace").decode()
            yield (
                f"{stat.filemode(status.st_mode)} {status.st_nlink} {status.st_uid}"
                f" {status.st_size:>8} {shown}"
            )


# The main process collects what its workers found.


class _Collector:
    def __init__(self, config: pytest.Config, kit: _Session) -> None:
        self.config = config
        self.kit = kit
        self.tests: dict[str, TestResult] = {}
        self.requirements: dict[str, list[str]] = {}  # by test
        self.problems: list[str] = []
        self.interrupted = False
        self.started = datetime.datetime.now(datetime.timezone.utc)
        self.clock = time.monotonic()
        self.run: report.Run | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = getattr(report, "conformance", None)
        if found is not None:
            self._take(report, found)
        elif report.failed:  # xdist's own report on a worker that died
            self.problems.append(f"{report.nodeid}: {report.longreprtext}")

    def _take(self, report: pytest.TestReport, found: Mapping[str, Any]) -> None:
        """Keeps the worst of a test's three phases."""
        path, _, function = report.nodeid.partition("::")
        self.requirements[report.nodeid] = found["requirements"]
        result = TestResult(
            f"{_name_in_suite(path)}::{function}",
            Outcome(found["outcome"]),
            report.duration,
            *(found.get(key, "") for key in ("reason", "expected", "done", "base")),
        )
        if found["broken"]:
            self.problems.append(f"{result.name}: {result.reason}")
        before = self.tests.get(report.nodeid)
        if before is None or _rank(result) > _rank(before):
            self.tests[report.nodeid] = result

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.problems.append(f"{report.nodeid}: {report.longreprtext}")

    def pytest_internalerror(self, excrepr: object) -> None:
        self.problems.append(str(excrepr))

    def pytest_keyboard_interrupt(self) -> None:
        self.interrupted = True

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self.kit.hello:  # no handshake, or --collect-only
            return
        self.run = self._judge()
        session.exitstatus = self.run.exit_code
        if path := self.config.getoption("json"):
            try:
                report.write(self.run, Path(path))
            except OSError as error:
                print(f"--json: {error}", file=sys.stderr)
                session.exitstatus = 2

    def pytest_terminal_summary(self) -> None:
        if self.run:
            report.show(self.run, sys.stdout)

    def _judge(self) -> report.Run:
        verdicts = []
        for requirement in self.kit.requirements.values():
            if requirement.id not in self.kit.selected:
                continue
            nodes = [node for node, ids in self.requirements.items() if requirement.id in ids]
            if nodes or requirement.untested:
                tests = [self.tests[node] for node in sorted(nodes)]
                verdicts.append(report.judge(requirement, tests, self.kit.expected))
        home = self.config.getoption("home")
        return report.Run(
            implementation=self.kit.hello,
            command=self.kit.command,
            home=home,
            seed=self.config.getoption("seed"),
            started=self.started.isoformat(timespec="seconds"),
            seconds=time.monotonic() - self.clock,
            file_system=report.file_system_of(Path(home or tempfile.gettempdir())),
            verdicts=verdicts,
            problems=self.problems,
            interrupted=self.interrupted,
        )


def _name_in_suite(path: str) -> str:
    """A test's file as reports call it: below the suite, as `publish/test_ids.py`."""
    *_, name = path.rpartition("suite/")
    return name if name != path else Path(path).name


def _rank(result: TestResult) -> int:
    return report.RANK[result.outcome]
