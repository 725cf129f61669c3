"""The run: all contenders in alternating rounds."""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..driver import DriverError, Rejected
from ..implementations import Implementation, Unusable
from ..judge.report import show_crash
from ..judge.report.machine import file_system_of, platform_on
from ..names import Unknown, find
from .measures import GROUPS, Contender, NotMeasured, Stage, within_limits
from .report import Benchmark, Losses, Plan


def run(
    commands: Mapping[str, Sequence[str]],
    *,
    baseline: str | None = None,
    rounds: int = 5,
    seconds: float = 0.5,
    only: Sequence[str] = (),
    home: str | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Benchmark:
    """Measure all implementations, given by the commands of their drivers, in each of their lanes.

    `baseline` is the first one by default, without the inline lane, `seconds` the time of each
    timed measurement, `only` the groups to measure (default: all), `home` the directory for the
    base directories. `tell` gets a line of progress. On KeyboardInterrupt the report has the
    figures so far. Raises Unusable and, for `home`, OSError.
    """
    baseline = next(iter(commands)) if baseline is None else baseline
    try:
        baseline = find(baseline, commands, "implementation")
    except Unknown as error:
        raise Unusable(f"--baseline: {error}") from None
    groups = [name for name in GROUPS if not only or name in only]
    if home is None and os.path.isdir("/dev/shm"):
        home = "/dev/shm"  # where a base is by default
    with tempfile.TemporaryDirectory(prefix="pubsub-", dir=home) as directory:
        contenders = {
            contender.name: contender
            for name, command in commands.items()
            for contender in _contenders(name, command, Path(directory, f"hello.{name}"))
        }
        plan = Plan(contenders, baseline, rounds, seconds, groups)
        benchmark = Benchmark(plan, _machine(Path(directory)))
        began = time.monotonic()
        try:
            for number in range(rounds):
                _round(benchmark, number, Path(directory), tell)
        except (KeyboardInterrupt, Exception) as error:
            show_crash(error)
            benchmark.interrupted = True
        benchmark.took = time.monotonic() - began
    benchmark.machine["load_after"] = round(os.getloadavg()[0], 2)
    return benchmark


def _contenders(name: str, command: Sequence[str], home: Path) -> list[Contender]:
    """An implementation in each of its lanes. Raises NotGreeted."""
    implementation = Implementation.greet(name, command, home)
    return [Contender(implementation, lane) for lane in implementation.lanes]


def _round(
    benchmark: Benchmark, number: int, directory: Path, tell: Callable[[str], object]
) -> None:
    plan = benchmark.plan
    with contextlib.ExitStack() as drivers:
        stages: dict[str, Stage] = {}
        # Each round begins with another one: with a cold cache or after a busy neighbour.
        names = list(plan.contenders)
        turn = number % len(names)
        for place, name in enumerate([*names[turn:], *names[:turn]]):
            if name in benchmark.failures:
                continue
            drivers.enter_context(_blaming(benchmark, name))  # as its drivers are closed
            with _blaming(benchmark, name):
                home = directory / f"{number}.{place}"
                stages[name] = Stage(plan.contenders[name], home, plan.seconds, drivers)
        for group in plan.groups:
            for name, stage in stages.items():
                if name in benchmark.failures:
                    continue
                tell(f"round {number + 1} of {plan.rounds}: {name}, {group}")
                stage.sent = stage.lost = 0
                with _blaming(benchmark, name):
                    with within_limits():
                        for figure, value in GROUPS[group].measure(stage).items():
                            benchmark.values.setdefault((group, figure, name), []).append(value)
                    stage.close_channels()
                losses = benchmark.losses.setdefault((group, name), Losses())
                losses.sent += stage.sent
                losses.lost += stage.lost


@contextlib.contextmanager
def _blaming(benchmark: Benchmark, name: str) -> Iterator[None]:
    """Note a failure of this contender; the others go on."""
    try:
        yield
    except (DriverError, Rejected, NotMeasured, OSError) as error:
        benchmark.failures[name] = str(error)


def _machine(home: Path) -> dict[str, Any]:
    return {
        **platform_on(file_system_of(home)),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
