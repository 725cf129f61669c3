"""The command line: `pubsub-conformance run … -- COMMAND…`, and `stress`, `check`, `faults`,
`matrix`, `bench`, `list`."""

import argparse
import json
import math
import os
import random
import resource
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pubsub_conformance import (
    __version__,
    alternatives,
    bench,
    faults,
    fuzz,
    matrix,
    requirements,
    soak,
)
from pubsub_conformance.driver import DriverError, Rejected
from pubsub_conformance.driver.protocol import ROLES
from pubsub_conformance.implementations import Unusable, named
from pubsub_conformance.judge.check import check
from pubsub_conformance.judge.events import BadHistory, load
from pubsub_conformance.judge.expected import ExpectedError
from pubsub_conformance.linux import disk
from pubsub_conformance.stress import run as stress

SUITE = ["--pyargs", "pubsub_conformance.suite"]

# Only what the kit itself needs, and nothing of the pytest settings and plugins that are there for
# somebody's own tests.
ISOLATED = (
    *("-c", os.devnull, "--rootdir", str(requirements.PACKAGE), "--disable-plugin-autoload"),
    "--noconftest",  # pytest would load the one of the caller's directory
    *("-p", "no:cacheprovider", "-p", "no:terminalprogress"),
    *("-p", "xdist.plugin", "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin"),
    *("-p", "pubsub_conformance.plugin"),
)

MUTANTS = requirements.PACKAGE / "mutants.json"
"""For each MUST, how a reference broke it on trial, and which tests caught that."""

EXIT_CODES = "Exit codes: 0 conforms, 1 does not conform, 2 could not be judged, or interrupted."


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command: list[str] = []
    if "--" in arguments:  # by hand: argparse's own "--" differs between versions of Python
        at = arguments.index("--")
        arguments, command = arguments[:at], arguments[at + 1 :]
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.action == "check":
            return _check(options)
        if options.action == "matrix":
            return _matrix(options)
        if options.action == "bench":
            return _bench(options)
        if options.action == "list":
            return _list(options.ids or command, options.section, options.role)
        if not command:
            action = options.action
            parser.error(
                f"{action}: the driver's command is missing: {action} [options] -- COMMAND…"
            )
        if options.action == "stress":
            return _stress(options, command, [*arguments, "--", *command])
        if options.action == "soak":
            return _soak(options, command)
        if options.action == "fuzz":
            if options.replay and len(options.target) != 1:
                parser.error("fuzz: --replay needs the one --target that the files are for")
            return _fuzz(options, command)
        if options.action == "faults":
            return _faults(options, command)
        return _run(options, command)
    except requirements.SpecError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pubsub-conformance",
        description="Tests an implementation of the pubsub specification through its driver.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=__version__)
    actions = parser.add_subparsers(dest="action", required=True)
    run = actions.add_parser(
        "run",
        usage="%(prog)s [options] -- COMMAND…",
        help="test an implementation",
        description="Tests the implementation whose driver is started by COMMAND (see DRIVER.md).",
        epilog=EXIT_CODES,
    )
    add = run.add_argument
    add("--requirement", action="append", default=[], metavar="ID", help="only this one, as PUB-7")
    add("--section", action="append", default=[], metavar="NAME", help="only this page of the spec")
    add("--role", action="append", default=[], metavar="ROLE", help="only what binds this role")
    add("--home", metavar="DIR", help="test on the file system of DIR (default: TMPDIR or /tmp)")
    add("--expected", metavar="FILE", help="failures that are expected, with reasons (TOML)")
    add("--json", metavar="FILE", help="write the report as JSON too")
    add("--junit", metavar="FILE", help="write pytest's JUnit XML too")
    at_once = "tests at a time, or auto: two a processor (default 2)"
    add("-n", default="2", dest="workers", metavar="N", help=at_once)
    add("-x", "--exitfirst", action="store_true", help="end with the first test that fails")
    add("--seed", type=int, metavar="N", help="repeat a run's randomness (default: drawn, shown)")
    _add_stress(actions)
    _add_soak(actions)
    _add_faults(actions)
    _add_fuzz(actions)
    _add_matrix(actions)
    _add_bench(actions)
    show = actions.add_parser(
        "list",
        help="list the requirements, or explain some",
        description="Lists the requirements, or shows those named in full, with the tests that"
        " check them. Nothing is run.",
    )
    show.add_argument("ids", nargs="*", metavar="ID", help="this one, as PUB-7, in full")
    for option, names in (("--section", requirements.PREFIXES), ("--role", ROLES)):
        what = f"only of these: {', '.join(names)}"
        show.add_argument(
            option, action="append", default=[], choices=[*names], metavar="NAME", help=what
        )
    return parser


def _run(options: argparse.Namespace, command: Sequence[str]) -> int:
    seed = random.randrange(2**32) if options.seed is None else options.seed
    arguments = [*ISOLATED, "--driver", shlex.join(command), f"--seed={seed}"]
    # Half of the time they wait: for a process to start, for a clock to tick.
    workers = 2 * (os.cpu_count() or 1) if options.workers == "auto" else options.workers
    arguments += [f"--hypothesis-seed={seed}", f"--numprocesses={workers}"]
    if options.workers != "0":
        arguments += ["--dist", "worksteal"]
    if options.exitfirst:
        arguments.append("--exitfirst")
    for kind in ("requirement", "section", "role"):
        arguments += [f"--{kind}={name}" for name in getattr(options, kind)]
    for option, value in (
        ("--home", options.home and os.path.abspath(options.home)),
        ("--expected", options.expected),
        ("--json", options.json),
        ("--junitxml", options.junit),
    ):
        if value:
            arguments += [f"{option}={value}"]
    with tempfile.TemporaryDirectory() as scratch:
        # Where hypothesis would make a .hypothesis in the caller's directory.
        os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", scratch)
        code = int(pytest.main([*arguments, *SUITE], plugins=[_Terminal()]))
    return code if code in (0, 1, 2) else 2


def _add_stress(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = actions.add_parser(
        "stress",
        usage="%(prog)s [options] -- COMMAND…",
        help="many processes at once, some of them stopped and killed",
        description="Has many drivers, each started by COMMAND, publish and subscribe at once,"
        " stops and kills some, and judges what they saw: nothing may be lost, doubled, torn or"
        " out of order, and each count must be right. Where it is not, history, seed and a copy of"
        " the base directory are saved.",
        epilog=EXIT_CODES,
    )
    add = parser.add_argument
    add("--seconds", type=_positive, metavar="N", help="how long (default 30, without --messages)")
    add(
        "--messages", type=_positive, metavar="N", help="how many messages, all publishers together"
    )
    add("--publishers", type=_positive, default=4, metavar="N", help="at a time (default 4)")
    add(
        "--subscribers",
        type=_positive,
        default=6,
        metavar="N",
        help="at a time (default 6): in turn steady, slow, and coming and going all the time",
    )
    add("--no-kills", action="store_true", help="neither stop nor kill any process")
    add(
        "--chaos",
        action="store_true",
        help="also remove the base under all, fill its file system, and take descriptors away"
        " (the latter two where Linux lets it)",
    )
    add("--home", metavar="DIR", help="on the file system of DIR (default: TMPDIR or /tmp)")
    add("--seed", type=int, metavar="N", help="repeat what a run did (default: drawn, shown)")
    judge = actions.add_parser(
        "check",
        help="judge a saved history again",
        description="Judges the history.jsonl that stress saved again, and tells for each violation"
        " the few events that matter, in the order of time.",
        epilog="Exit codes: 0 nothing is wrong, 1 violations, 2 the file is no history.",
    )
    judge.add_argument("file", metavar="FILE")
    judge.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON too")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _stress(options: argparse.Namespace, command: Sequence[str], arguments: Sequence[str]) -> int:
    chaos: tuple[stress.What, ...] = ()
    not_done: list[str] = []
    if options.chaos:
        chaos = stress.CHAOS
        if not hasattr(resource, "prlimit"):
            chaos = tuple(what for what in chaos if what != "descriptors")
            not_done.append("no descriptors were taken away: that needs prlimit of Linux")
        try:
            if options.home:
                raise disk.NoDisk("--home says where the base is to be")
            if not disk.mounted():
                disk.start_again(arguments)
        except (disk.NoDisk, OSError) as error:
            chaos = tuple(what for what in chaos if what not in stress.DISK)
            not_done.append(f"no file system was filled: {error}")
    seconds = options.seconds or (math.inf if options.messages else 30)
    kinds = stress.HABITS
    load = stress.Load(
        publishers=options.publishers,
        readers=tuple(kinds[i % len(kinds)] for i in range(options.subscribers)),
        seconds=seconds,
        messages=options.messages or math.inf,
        kills=not options.no_kills,
        chaos=chaos,
    )
    seed = random.randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", file=sys.stderr)
    try:
        with (
            disk.scratch(options.home) as home,
            _Watch() as watch,
        ):
            base = Path(home, "base")
            result = stress.run(command, base, seed, load, tell=watch.show)
    except OSError as error:  # no such directory, no room
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # the second
        return 2
    print(result)
    for what in not_done:
        print(what)
    if result.evidence:
        print(f"judge it again: pubsub-conformance check {result.evidence}/history.jsonl")
    if result.interrupted:
        print("interrupted: only what there was until then has been judged")
        return 2
    refused = any(isinstance(error, Rejected) for error in result.errors)
    if result.violations or result.leftovers or refused:
        return 1
    if not result.failed and not result.due:
        print("no message was due anywhere: nothing is proved")
        return 2
    return 2 if result.failed else 0


def _add_soak(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = actions.add_parser(
        "soak",
        usage="%(prog)s [options] -- COMMAND…",
        help="files, descriptors and memory over time",
        description="Has drivers, each started by COMMAND, open and close channels, publish and"
        " fetch for a long time, kills some, and counts what processes have open and in memory and"
        " what lies in the base: it must not grow.",
        epilog=EXIT_CODES,
    )
    add = parser.add_argument
    add("--seconds", type=_positive, default=60, metavar="N", help="how long (default 60)")
    add("--channels", type=_positive, default=100, metavar="N", help="at a time (default 100)")
    add("--json", type=Path, metavar="FILE", help="write the report as JSON too")
    add("--home", metavar="DIR", help="on the file system of DIR (default: TMPDIR or /tmp)")
    add("--seed", type=int, metavar="N", help="repeat what a run did (default: drawn, shown)")


def _soak(options: argparse.Namespace, command: Sequence[str]) -> int:
    seed = random.randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", file=sys.stderr)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="pubsub-", dir=options.home) as home,
            _Line() as line,
        ):
            result = soak.run(
                command,
                Path(home, "base"),
                seconds=options.seconds,
                channels=options.channels,
                seed=seed,
                tell=line.tell,
            )
        _write_json(options.json, result.as_dict())
    except OSError as error:  # no such directory, no room
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # the second
        return 2
    print(soak.told(result))
    return result.exit_code


def _check(options: argparse.Namespace) -> int:
    try:
        events = load(options.file)
        judgement = check(events)
        _write_json(options.json, judgement.as_dict())
    except (OSError, BadHistory) as error:
        print(error, file=sys.stderr)
        return 2
    if not events:
        print(f"{options.file} is empty", file=sys.stderr)
        return 2
    judgement.show(Console())
    return judgement.verdict.value


def _add_faults(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = actions.add_parser(
        "faults",
        usage="%(prog)s [options] -- COMMAND…",
        help="killed, and failed, at every system call",
        description="Lists the system calls of each operation, then disturbs them one at a time:"
        " the process is killed there, or the call fails, once and for ever after. After each, what"
        " the specification promises must hold. Needs strace, on Linux.",
        epilog=EXIT_CODES,
    )
    add = parser.add_argument
    add(
        "--operation",
        action="append",
        default=[],
        choices=faults.OPERATIONS,
        metavar="NAME",
        help=f"only this one of {', '.join(faults.OPERATIONS)}",
    )
    add(
        "--fault",
        action="append",
        default=[],
        metavar="NAME",
        help=f"only this one: {faults.KILL}, or an error such as EIO",
    )
    add(
        "--point",
        action="append",
        default=[],
        type=faults.parse,
        metavar="CALL:N:FAULT",
        help="only this one, as a violation tells it (with --operation)",
    )
    add(
        "--sample",
        type=_positive,
        metavar="N",
        help="only N points, always the same, spread evenly",
    )
    add(
        "--other",
        default=[],
        type=shlex.split,
        metavar="COMMAND",
        help="another implementation, whose processes have to go on as well",
    )
    add("--home", metavar="DIR", help="on the file system of DIR (default: TMPDIR or /tmp)")
    add("--json", type=Path, metavar="FILE", help="write the report as JSON too")
    add(
        "-n",
        type=_positive,
        default=2,
        dest="workers",
        metavar="N",
        help="points at a time (default 2)",
    )


def _faults(options: argparse.Namespace, command: Sequence[str]) -> int:
    try:
        begun = time.monotonic()
        with _Line() as line:
            run = faults.run(
                command,
                operations=options.operation,
                faults=options.fault,
                only=options.point,
                other=options.other,
                sample=options.sample,
                home=options.home,
                workers=options.workers,
                tell=lambda text: line.tell(time.monotonic() - begun, text),
            )
        faults.show(run)
        _write_json(options.json, faults.as_dict(run))
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    return run.exit_code


def _add_fuzz(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = actions.add_parser(
        "fuzz",
        usage="%(prog)s [options] -- COMMAND…",
        help="hostile input: message files, directory entries, queues, requests",
        description="Gives the driver started by COMMAND what an accident or an adversary could,"
        " and judges what it makes of it. What fails is made small and saved.",
        epilog=EXIT_CODES,
    )
    add = parser.add_argument
    what = f"only this one of {', '.join(fuzz.TARGETS)}"
    add("--target", action="append", default=[], choices=[*fuzz.TARGETS], metavar="NAME", help=what)
    add("--seconds", type=_positive, metavar="N", help="for all targets (default 60, or --inputs)")
    add("--inputs", type=_positive, metavar="N", help="for each target")
    add("--seed", type=int, metavar="N", help="repeat the inputs of a run (default: drawn, shown)")
    add(
        "--against",
        type=shlex.split,
        metavar="COMMAND",
        help="have a second driver, one word with quotes around it, decode the same message files",
    )
    add(
        "--replay",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="judge this saved input, or all in this directory, and draw none",
    )
    add("--json", type=Path, metavar="FILE", help="write the report as JSON too")
    add("--home", metavar="DIR", help="on the file system of DIR (default: /dev/shm, if any)")


def _fuzz(options: argparse.Namespace, command: Sequence[str]) -> int:
    seed = random.randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", file=sys.stderr)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    try:
        with (
            tempfile.TemporaryDirectory(prefix="pubsub-", dir=options.home or memory) as home,
            _Line() as line,
        ):
            report = fuzz.run(
                command,
                Path(home),
                names=options.target or [*fuzz.TARGETS],
                against=options.against,
                seed=seed,
                seconds=options.seconds or (math.inf if options.inputs else 60),
                inputs=options.inputs or math.inf,
                saved=options.replay,
                tell=line.tell,
            )
        _write_json(options.json, report.as_dict())
    except (OSError, ValueError, DriverError) as error:  # no such file or directory, no driver
        print(error, file=sys.stderr)
        return 2
    print(report)
    return report.exit_code


def _add_matrix(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = actions.add_parser(
        "matrix",
        help="every implementation publishes to every other one",
        description="Each implementation publishes to each, itself too, in several processes on one"
        " base directory. COMMAND starts its driver.",
        epilog="Exit codes: 0 all cells pass, or fail as expected; 1 not; 2 could not be judged.",
    )
    add = parser.add_argument
    add("implementations", nargs="+", metavar="NAME=COMMAND")
    add("--expected", type=Path, metavar="FILE", help="failures that are expected, with reasons")
    add("--json", type=Path, metavar="FILE", help="write the report as JSON too")
    add("--home", metavar="DIR", help="on the file system of DIR (default: TMPDIR or /tmp)")
    add("--seed", type=int, metavar="N", help="repeat a run's randomness (default: drawn, shown)")


def _add_bench(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    groups = ", ".join(bench.GROUPS)
    others = ", ".join(map("alternative:{}".format, alternatives.NAMES))
    parser = actions.add_parser(
        "bench",
        help="measure implementations side by side",
        description="Measures implementations, and what could be used instead of them, in rounds"
        f" that alternate. COMMAND starts a driver, or is one of {others}.",
        epilog="Exit codes: 0 measured, 2 not all of it. No figure is a verdict.",
    )
    add = parser.add_argument
    add("implementations", nargs="+", metavar="NAME=COMMAND")
    add("--baseline", metavar="NAME", help="give ratios to this one (default: the first)")
    add("--rounds", type=_positive, default=5, metavar="N", help="how many (default 5)")
    add(
        "--seconds",
        type=_seconds,
        default=0.5,
        metavar="N",
        help="for each figure that is taken as long, in each round (default 0.5)",
    )
    add("--only", action="append", default=[], metavar="GROUP", help=f"only this one of {groups}")
    add("--json", type=Path, metavar="FILE", help="write the report as JSON too")
    add("--home", metavar="DIR", help="on the file system of DIR (default: /dev/shm, if any)")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise ValueError
    return seconds


def _matrix(options: argparse.Namespace) -> int:
    try:
        with Console(stderr=True).status("") as status:
            run = matrix.run(
                named(options.implementations),
                expected=options.expected,
                home=options.home,
                seed=options.seed,
                tell=status.update,
            )
        matrix.show(run)
        _write_json(options.json, matrix.as_dict(run))
    except (Unusable, ExpectedError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return run.exit_code


def _bench(options: argparse.Namespace) -> int:
    try:
        with Console(stderr=True).status("") as status:
            run = bench.run(
                named(options.implementations),
                baseline=options.baseline,
                rounds=options.rounds,
                seconds=options.seconds,
                only=options.only,
                home=options.home,
                tell=status.update,
            )
        bench.show(run)
        _write_json(options.json, bench.as_dict(run))
    except (Unusable, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return run.exit_code


def _write_json(path: Path | None, report: dict[str, Any]) -> None:
    if path:
        text = json.dumps(report, indent=2, ensure_ascii=False)
        path.write_text(f"{text}\n", encoding="utf-8")


LineT = TypeVar("LineT", bound="_Line")


class _Line:
    """Shows how something goes: a line that changes on a terminal, else one every ten seconds."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self.terminal = console.is_terminal
        self.shown = -math.inf

    def __enter__(self: LineT) -> LineT:
        if self.terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def tell(self, seconds: float, text: str) -> None:
        text = f"{seconds:4.0f} s  {text}"
        if self.terminal:
            self.live.update(text, refresh=True)
        elif seconds >= self.shown + 10:
            self.shown = seconds
            print(text, file=sys.stderr, flush=True)


class _Watch(_Line):
    """Shows how a stress goes."""

    def __init__(self) -> None:
        super().__init__()
        self.earlier: list[stress.Progress] = []

    def show(self, now: stress.Progress) -> None:
        self.earlier = [*(one for one in self.earlier if one.seconds > now.seconds - 3), now]
        since = now.seconds - self.earlier[0].seconds
        rate = (now.published - self.earlier[0].published) / since if since else 0.0
        text = (
            f"{now.doing}: {now.published} published, {rate:.0f} a second;"
            f" {now.received} received, backlog {now.backlog};"
            f" {stress.told(now.done)}, {now.violations} violations"
        )
        self.tell(now.seconds, text)


class _Terminal:
    """Pytest's own output gives way to a bar that shows how far the run is, on a terminal."""

    def __init__(self) -> None:
        self.bar: Progress | None = None

    @pytest.hookimpl(trylast=True)  # after pytest has made its reporter
    def pytest_configure(self, config: pytest.Config) -> None:
        nowhere = open(os.devnull, "w")  # noqa: SIM115 (as long as the run)
        config.add_cleanup(nowhere.close)
        config.pluginmanager.unregister(name="terminalreporter")
        config.pluginmanager.register(pytest.TerminalReporter(config, nowhere), "terminalreporter")

    def pytest_internalerror(self, excrepr: object) -> None:
        print(excrepr, file=sys.stderr)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:  # not in xdist's main process, which collects nothing
            self._begin(len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._begin(len(ids))

    def _begin(self, total: int) -> None:
        if self.bar or not sys.stderr.isatty():
            return
        self.bar = Progress(
            *(TextColumn("{task.description}"), BarColumn()),
            *(MofNCompleteColumn(), TimeElapsedColumn()),
            console=Console(stderr=True),
            auto_refresh=False,  # no thread in a process that starts others
            redirect_stdout=False,  # pytest redirects them
            redirect_stderr=False,
            transient=True,
        )
        self.bar.add_task("tests", total=total)
        self.bar.start()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.bar and report.when == "teardown":
            self.bar.advance(self.bar.task_ids[0])
            self.bar.refresh()

    @pytest.hookimpl(tryfirst=True)  # before the report
    def pytest_sessionfinish(self) -> None:
        if self.bar:
            self.bar.stop()


def _list(ids: Sequence[str], sections: Sequence[str], roles: Sequence[str]) -> int:
    known = requirements.load()
    for name in ids:
        if name not in known:
            print(f"there is no requirement {name!r}", file=sys.stderr)
            return 2
    for requirement in map(known.__getitem__, ids or known):
        if sections and requirement.key not in sections:
            continue
        if roles and not set(roles) & set(requirement.roles):
            continue
        if ids:
            _explain(requirement)
        else:
            words = " ".join(requirement.text.split())
            print(f"{requirement.id:<10}{requirement.level:<8}{words}")
    return 0


def _explain(requirement: requirements.Requirement) -> None:
    from pubsub_conformance.traceability import traces

    roles = ", ".join(requirement.roles)
    print(f"{requirement.id} ({requirement.level}; {roles}; {requirement.file})")
    print(requirement.text)
    if requirement.untested:
        print(f"Untested: {requirement.untested}")
    for trace in traces():
        if trace.requirement == requirement.id:
            through = f" ({', '.join(sorted(trace.roles))})" if trace.roles else ""
            print(f"\n  {trace.test}{through}\n    {trace.says}.")
    for mutant in json.loads(MUTANTS.read_text(encoding="utf-8")):
        if mutant["requirement"] == requirement.id:
            print(f"\n  mutant of the reference: {mutant['mutant']};")
            print(f"    caught by {', '.join(mutant['caught_by'])}")
    print()
