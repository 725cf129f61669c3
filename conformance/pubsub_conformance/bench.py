"""Implementations side by side, and beside them what a user would pick instead.

All are driven through the operations `produce` and `consume`, in alternating rounds: within a round
each group of figures is measured for one after the other, so that what else the machine does meets
all of them. No figure is a verdict.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from pubsub_conformance.driver import (
    Done,
    Driver,
    DriverError,
    Fetched,
    Hello,
    OpenChannel,
    Published,
    Rejected,
)
from pubsub_conformance.oracle.base import Base

from . import __version__, alternatives
from .implementations import Implementation, Unusable
from .judge.report import PIPED_COLUMNS
from .judge.report.machine import file_system_of, platform_on

REPORT_VERSION: Final = 1

ALTERNATIVE: Final = "alternative:"

TOPIC: Final = "bench"
BODY: Final = 100
"""Octets, where a figure does not name its own size."""

BATCH: Final = 50
"""Messages that lie in a queue at most where nobody reads meanwhile: fewer than the 64 ids that
every queue holds."""

BURST: Final = 2000
"""Messages of one throughput measurement."""

RATE: Final = 500.0
"""Messages a second for latency: slow enough that each one meets an idle subscriber."""

FIRST: Final = 100
MATCHING: Final = (1, 10, 100)
FOREIGN: Final = (0, 100, 1000)
SIZES: Final = (0, 1000, 100_000, 1_000_000)

IDLE: Final = 1.0
"""Seconds without a message after which the rest counts as lost."""

TIMEOUT: Final = 10.0
"""Seconds that a publisher may wait for a full queue, where it can wait."""

SETTLE_SECONDS: Final = 0.05
SETTLE_TRIES: Final = 200


class NotMeasured(Exception):
    """A contender could not be measured; says why."""


@dataclass(frozen=True)
class Contender:
    name: str
    command: Sequence[str]
    alternative: alternatives.Module | None = None

    def hosting(self, home: Path) -> contextlib.AbstractContextManager[None]:
        return self.alternative.hosting(home) if self.alternative else contextlib.nullcontext()


class Stage:
    """One contender in one round: a publishing and a subscribing process on one base."""

    def __init__(self, who: Contender, home: Path, seconds: float, closing: Any) -> None:
        home.mkdir(mode=0o700)
        self.who, self.seconds, self.base = who, seconds, Base(home)
        closing.enter_context(who.hosting(home))
        self.publisher: Driver = closing.enter_context(Driver(who.command, home))
        self.subscriber: Driver = closing.enter_context(Driver(who.command, home))
        self.sent = self.lost = 0
        """Of the group that is measured."""

    def count(self, sent: int, got: int) -> None:
        self.sent += sent
        self.lost += max(0, sent - got)

    @contextlib.contextmanager
    def channel(self, reader: Driver) -> Iterator[OpenChannel]:
        channel = reader.open(TOPIC)
        self.settle(reader, channel)
        yield channel
        reader.close_channel(channel)

    def settle(self, reader: Driver, channel: OpenChannel) -> None:
        """Until it has received: some lose what comes before they are connected."""
        for _ in range(SETTLE_TRIES):
            list(self.publisher.produce(TOPIC, "settle", 1, [0], report="totals"))
            if _consumed(reader, channel, count=1, idle=SETTLE_SECONDS).messages:
                break
        else:
            raise NotMeasured(f"of {SETTLE_TRIES} messages, none came")
        while _consumed(reader, channel, idle=SETTLE_SECONDS).messages:
            pass

    def batch(self, channel: OpenChannel, count: int, size: int) -> tuple[list[int], list[int]]:
        """Publishes and then fetches in one process: the nanoseconds of each."""
        publishes = _spans(self.publisher.produce(TOPIC, "p", count, [size]))
        fetches = _spans(self.publisher.consume(channel, count=count, idle=IDLE))
        self.count(count, len(fetches))
        return publishes, fetches


def _spans(events: Iterable[Published | Fetched]) -> list[int]:
    spans = []
    for event in events:
        if event.error:
            raise NotMeasured(f"a message met with {event.error}")
        spans.append(event.end - event.start)
    return spans


def _consumed(reader: Driver, channel: OpenChannel, **limits: Any) -> Done:
    return reader.consume(channel, report="totals", **limits).finish()


def _rank(values: Sequence[float], part: float) -> float:
    """The nearest-rank quantile: a value that was measured."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


# The groups of figures.


Figures = dict[str, float]


@dataclass(frozen=True)
class Group:
    name: str
    unit: str
    figures: tuple[str, ...]
    measure: Callable[[Stage], Figures]

    @property
    def method(self) -> str:
        return " ".join((self.measure.__doc__ or "").split())


GROUPS: dict[str, Group] = {}

Measure = Callable[[Stage], Figures]


def group(name: str, unit: str, *figures: str) -> Callable[[Measure], Measure]:
    def register(measure: Measure) -> Measure:
        GROUPS[name] = Group(name, unit, figures, measure)
        return measure

    return register


@group("first", "messages", "lost of the first 100")
def first(stage: Stage) -> Figures:
    """A subscriber opens; at once another process publishes 100 messages. Those that do not come
    are counted."""
    channel = stage.subscriber.open(TOPIC)
    list(stage.publisher.produce(TOPIC, "p", FIRST, [BODY], timeout=TIMEOUT, report="totals"))
    got = _consumed(stage.subscriber, channel, count=FIRST, idle=IDLE).messages
    stage.subscriber.close_channel(channel)
    stage.count(FIRST, got)
    return {"lost of the first 100": FIRST - got}


@group(
    "single",
    "µs",
    "publish, p50",
    "publish, p99",
    "fetch, p50",
    "fetch, p99",
    "publish+fetch, p50",
)
def single(stage: Stage) -> Figures:
    """One process publishes batches of 50 messages of 100 octets to its own channel, and then
    fetches them. Times are those around each operation (the lines of produce and consume);
    publish+fetch is the sum for the n-th of a batch. What a system does beside the call, in a
    thread or a broker, is not in it."""
    publishes: list[int] = []
    fetches: list[int] = []
    both: list[int] = []
    until = time.monotonic() + stage.seconds
    with stage.channel(stage.publisher) as channel:
        while not both or time.monotonic() < until:
            published, fetched = stage.batch(channel, BATCH, BODY)
            publishes += published
            fetches += fetched
            both += map(sum, zip(published, fetched, strict=False))
            if not both:
                raise NotMeasured("no message came")
    return {
        "publish, p50": _rank(publishes, 0.5) / 1e3,
        "publish, p99": _rank(publishes, 0.99) / 1e3,
        "fetch, p50": _rank(fetches, 0.5) / 1e3,
        "fetch, p99": _rank(fetches, 0.99) / 1e3,
        "publish+fetch, p50": _rank(both, 0.5) / 1e3,
    }


@group("throughput", "messages/s", "received")
def throughput(stage: Stage) -> Figures:
    """One process publishes 2000 messages of 100 octets as fast as it goes, waiting for a full
    queue where it can wait, while another receives: what was received, by the time from the
    publisher's start to the subscriber's end (the totals of produce and consume). The drivers'
    own work between two messages is in it."""
    received = nanoseconds = 0
    until = time.monotonic() + stage.seconds
    with stage.channel(stage.subscriber) as channel:
        while not received or time.monotonic() < until:
            consuming = stage.subscriber.consume(channel, count=BURST, idle=IDLE, report="totals")
            sent = stage.publisher.produce(
                TOPIC, "p", BURST, [BODY], timeout=TIMEOUT, report="totals"
            ).finish()
            got = consuming.finish()
            count, end = got.messages, got.end
            stage.count(BURST, count)
            if not count:
                raise NotMeasured("no message came")
            if count < BURST:
                end -= int(IDLE * 1e9)  # it waited so long for those that were lost
            received += count
            nanoseconds += end - sent.start
    return {"received": received / nanoseconds * 1e9}


@group("latency", "µs", "p50", "p99", "max")
def latency(stage: Stage) -> Figures:
    """One process publishes 500 messages of 100 octets a second, another waits for each: from the
    publisher's start of a message to the end of the fetch that yielded it, on the one clock of
    the machine (the lines of produce and consume)."""
    count = max(BATCH, round(RATE * stage.seconds))
    with stage.channel(stage.subscriber) as channel:
        consuming = stage.subscriber.consume(channel, count=count, idle=IDLE)
        stream = stage.publisher.produce(TOPIC, "p", count, [BODY], rate=RATE, timeout=TIMEOUT)
        starts = {published.n: published.start for published in stream}
        spans = [
            fetched.end - starts[fetched.headers["n"]] for fetched in consuming if not fetched.error
        ]
    stage.count(count, len(spans))
    if not spans:
        raise NotMeasured("no message came")
    ranks = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: _rank(spans, part) / 1e3 for name, part in ranks.items()}


@group("sizes", "µs", *(f"{size} octets" for size in SIZES))
def sizes(stage: Stage) -> Figures:
    """Publish+fetch as in single, p50, by the size of the body, in batches of 10."""
    figures = {}
    with stage.channel(stage.publisher) as channel:
        for size in SIZES:
            both: list[int] = []
            for _ in range(5):
                both += map(sum, zip(*stage.batch(channel, 10, size), strict=False))
            if not both:
                raise NotMeasured(f"no message of {size} octets came")
            figures[f"{size} octets"] = _rank(both, 0.5) / 1e3
    return figures


@group("matching", "µs", *(f"{count} channels" for count in MATCHING))
def matching(stage: Stage) -> Figures:
    """A publish, p50, to so many channels that match, all of another process, which does not read
    them meanwhile."""
    figures = {}
    channels: list[OpenChannel] = []
    for count in MATCHING:
        while len(channels) < count:
            channels.append(stage.subscriber.open(TOPIC))
        stage.settle(stage.subscriber, channels[-1])
        spans = _spans(stage.publisher.produce(TOPIC, "p", BATCH // len(MATCHING), [BODY]))
        figures[f"{count} channels"] = _rank(spans, 0.5) / 1e3
    for channel in channels:
        stage.subscriber.close_channel(channel)
    return figures


@group("foreign", "µs", *(f"beside {count} channels" for count in FOREIGN))
def foreign(stage: Stage) -> Figures:
    """A publish, p50, to one channel beside so many that do not match. These are directories that
    the kit makes, whose process lives. Only where channels are on the disk."""
    figures: Figures = {}
    if stage.who.alternative:
        return figures
    made = 0
    with stage.channel(stage.publisher) as channel:
        for count in FOREIGN:
            for number in range(made, count):
                stage.base.dead_channel(f"foreign.n{number}", os.getpid())
            made = count
            publishes, _ = stage.batch(channel, BATCH, BODY)
            figures[f"beside {count} channels"] = _rank(publishes, 0.5) / 1e3
    return figures


# The run.


@dataclass
class Losses:
    sent: int = 0
    lost: int = 0


@dataclass
class Run:
    contenders: list[Contender]
    hellos: dict[str, Hello]
    baseline: str
    rounds: int
    seconds: float
    groups: list[str]
    machine: dict[str, Any]
    left_out: dict[str, str]
    """Alternatives that are not there, and why."""
    values: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    """One for each round, by group, figure and contender."""
    losses: dict[tuple[str, str], Losses] = field(default_factory=dict)
    """By group and contender."""
    failures: dict[str, str] = field(default_factory=dict)
    """Of contenders that were measured no further, and why."""
    took: float = 0.0
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 measured, 2 not all of it."""
        return 2 if self.interrupted or self.failures else 0

    def ratio(self, group: str, figure: str, name: str) -> float | None:
        """The median, over the rounds, of the ratio to the baseline in the same round."""
        mine = self.values.get((group, figure, name), [])
        theirs = self.values.get((group, figure, self.baseline), [])
        pairs = [(one, other) for one, other in zip(mine, theirs, strict=False) if other]
        return statistics.median(one / other for one, other in pairs) if pairs else None


def contenders(commands: Mapping[str, Sequence[str]]) -> tuple[list[Contender], dict[str, str]]:
    """Those that can run here, and why others cannot. Raises Unusable."""
    found, left_out = [], {}
    for name, command in commands.items():
        if not command[0].startswith(ALTERNATIVE):
            found.append(Contender(name, command))
            continue
        which = command[0].removeprefix(ALTERNATIVE)
        if which not in alternatives.NAMES or len(command) > 1:
            raise Unusable(f"there is no {' '.join(command)}: {', '.join(alternatives.NAMES)}")
        module = alternatives.module(which)
        if reason := module.missing():
            left_out[name] = reason
        else:
            found.append(Contender(name, alternatives.command(which), module))
    return found, left_out


def run(
    commands: Mapping[str, Sequence[str]],
    *,
    baseline: str | None = None,
    rounds: int = 5,
    seconds: float = 0.5,
    only: Sequence[str] = (),
    home: str | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Run:
    """Measures all in `rounds` rounds; what is repeated for a time is for `seconds` each time.

    Raises Unusable, OSError (`home`).
    """
    present, left_out = contenders(commands)
    names = [who.name for who in present]
    if not present:
        raise Unusable("; ".join(f"{name}: {why}" for name, why in left_out.items()))
    if baseline is None:
        baseline = names[0]
    if baseline not in names:
        why = left_out.get(baseline, "there is none of this name")
        raise Unusable(f"the baseline {baseline!r} is not measured: {why}")
    for name in only:
        if name not in GROUPS:
            raise Unusable(f"there is no group {name!r}: {', '.join(GROUPS)}")
    groups = [name for name in GROUPS if not only or name in only]
    if home is None and os.path.isdir("/dev/shm"):
        home = "/dev/shm"  # where a base is by default
    with tempfile.TemporaryDirectory(prefix="pubsub-", dir=home) as directory:
        machine = _machine(Path(directory))
        this = Run(present, {}, baseline, rounds, seconds, groups, machine, left_out)
        began = time.monotonic()
        try:
            for number in range(rounds):
                _round(this, number, Path(directory), tell)
        except KeyboardInterrupt:
            this.interrupted = True
        this.took = time.monotonic() - began
    this.machine["load_after"] = round(os.getloadavg()[0], 2)
    return this


def _round(this: Run, number: int, directory: Path, tell: Callable[[str], object]) -> None:
    with contextlib.ExitStack() as closing:
        stages: list[Stage] = []
        # Who comes first, in a cold cache or after a busy neighbour, changes from round to round.
        turn = number % len(this.contenders)
        for place, who in enumerate([*this.contenders[turn:], *this.contenders[:turn]]):
            if who.name in this.failures:
                continue
            with _blaming(this, who.name):
                home = directory / f"{number}.{place}"
                stage = Stage(who, home, this.seconds, closing)
                this.hellos[who.name] = stage.publisher.hello
                stages.append(stage)
        for name in this.groups:
            for stage in stages:
                if stage.who.name in this.failures:
                    continue
                tell(f"round {number + 1} of {this.rounds}: {stage.who.name}, {name}")
                stage.sent = stage.lost = 0
                with _blaming(this, stage.who.name):
                    for figure, value in GROUPS[name].measure(stage).items():
                        key = name, figure, stage.who.name
                        this.values.setdefault(key, []).append(value)
                losses = this.losses.setdefault((name, stage.who.name), Losses())
                losses.sent += stage.sent
                losses.lost += stage.lost


@contextlib.contextmanager
def _blaming(this: Run, name: str) -> Iterator[None]:
    try:
        yield
    except (DriverError, Rejected, NotMeasured, OSError) as error:
        this.failures[name] = str(error)


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


# The reports.


def show(run: Run, file: Any = None) -> None:
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPED_COLUMNS
    machine = run.machine
    console.print(
        f"rounds in turn: {run.rounds}, {run.seconds:g} s for what is repeated, ratios to"
        f" {run.baseline}; {machine['processors']} processors ({machine['processor']}),"
        f" {machine['system']} {machine['release']}, {machine['file_system']}; load"
        f" {machine['load_before']} before, {machine['load_after']} after",
    )
    for name, hello in run.hellos.items():
        console.print(f"  {name}: {hello.implementation} {hello.version}, {hello.language}")
    for name, reason in run.left_out.items():
        console.print(f"  {name} is left out: {reason}", style="yellow")
    for name in run.groups:
        _show_group(run, GROUPS[name], console)
    console.print(
        "Median of the rounds, lowest and highest round, and the median of the ratios to"
        f" {run.baseline} within each round. Lost: of all messages sent in all rounds."
    )
    for name, reason in run.failures.items():
        console.print(f"\n{name} was measured no further: {reason}", style="bold red")
    if run.interrupted:
        console.print("\ninterrupted: the report is partial", style="bold red")


def _show_group(run: Run, group: Group, console: Console) -> None:
    console.print(f"\n{group.name}, {group.unit}", style="bold")
    console.print(group.method, style="dim")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in ("", "", "median", "lowest to highest", "ratio", "lost"):
        table.add_column(title, justify="left" if not title else "right", no_wrap=True)
    for figure in group.figures:
        for place, who in enumerate(run.contenders):
            last = place == len(run.contenders) - 1
            table.add_row(
                "" if place else figure,
                who.name,
                *_told(run, group, figure, who.name),
                end_section=last,
            )
    console.print(table)


def _told(run: Run, group: Group, figure: str, name: str) -> list[str]:
    values = run.values.get((group.name, figure, name))
    if not values:
        return ["not measured" if name in run.failures else "does not apply"]
    ratio = run.ratio(group.name, figure, name)
    losses = run.losses[group.name, name]
    return [
        _number(statistics.median(values)),
        f"{_number(min(values))} to {_number(max(values))}",
        "" if ratio is None else f"{ratio:.2f}",
        f"{losses.lost} of {losses.sent}" if losses.lost else "",
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 100 or value == 0 else f"{value:.3g}"


def as_dict(run: Run) -> dict[str, Any]:
    return {
        "report": REPORT_VERSION,
        "kit": __version__,
        "machine": run.machine,
        "rounds": run.rounds,
        "seconds": run.seconds,
        "took": round(run.took, 3),
        "baseline": run.baseline,
        "interrupted": run.interrupted,
        "exit": run.exit_code,
        "implementations": {
            who.name: Implementation(who.name, who.command, run.hellos[who.name]).as_dict()
            for who in run.contenders
            if who.name in run.hellos
        },
        "left_out": run.left_out,
        "failures": run.failures,
        "groups": {name: _group_as_dict(run, GROUPS[name]) for name in run.groups},
    }


def _group_as_dict(run: Run, group: Group) -> dict[str, Any]:
    figures: dict[str, dict[str, Any]] = {}
    for figure in group.figures:
        figures[figure] = {}
        for who in run.contenders:
            if values := run.values.get((group.name, figure, who.name)):
                figures[figure][who.name] = {
                    "rounds": values,
                    "median": statistics.median(values),
                    "lowest": min(values),
                    "highest": max(values),
                    "ratio": run.ratio(group.name, figure, who.name),
                }
    losses = {
        name: {"sent": one.sent, "lost": one.lost}
        for (of, name), one in run.losses.items()
        if of == group.name
    }
    return {"unit": group.unit, "method": group.method, "figures": figures, "losses": losses}
