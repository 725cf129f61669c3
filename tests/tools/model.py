"""Checks the models of spec/model with SPIN, in the configurations of its README.

    python tests/tools/model.py [--large] [RULE...]

Each configuration is searched whole and must have no error. Then each of its broken rules must be
found by the assertion that it is meant for: a model in which no rule can be broken proves nothing.
With this assertion switched off, the rest must find nothing: an assertion that nothing needs proves
nothing, either. With names of rules, it prints the steps that lead to the error.

The words are in the models. A comment behind a step says what happens, one behind an assertion is
`name: requirement`, and one behind the #ifdef of a macro is `requirement: the broken rule`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

MODELS = Path(__file__).parents[2] / "spec/model"

# What an assertion is called, and the promises it stands for.
NAMED = re.compile(r"([a-z ]+): ([A-Z]+-\d+(?:, [A-Z]+-\d+)*)$")

# What SPIN finds without an assertion, and what it calls them.
ASLEEP = "asleep"
ENDLESS = "endless"
BY_SPIN = {ASLEEP: "invalid end state", ENDLESS: "non-progress cycle"}

# C in front of a model, on its first line: switches for assertions. OFF has a letter for each one.
SWITCHES = (
    "c_decl { static char off[99]; __attribute__((constructor)) static void switch_off(void)"
    ' { for (char *one = getenv("OFF"); one && *one; one++) off[*one - 97] = 1; } } '
)


@dataclass(frozen=True)
class Configuration:
    """A model with its macros."""

    model: str
    macros: str
    broken: Mapping[str, str] = field(default_factory=dict)
    """The macros that break a rule, each with the name of the assertion that finds it."""
    large: bool = False
    """Whether it has many states, so that the whole of it is searched only every night."""
    cycles: bool = False
    """Whether to search for runs without end, instead of for assertions."""

    @property
    def kind(self) -> str:
        """When it is searched, and for what, as the README says it."""
        return ("large" if self.large else "small") + (", runs without end" if self.cycles else "")


CONFIGURATIONS = (
    Configuration(
        "files",
        "KILLS=1",
        {
            "AGE_ALONE": "counted",
            "EMPTY_FIRST": "counted",
            "FOREIGN_ORPHANS": "counted",
            "ID_FIRST": "counted",
            "LINK_EARLY": "whole",
            "NO_LOOK": "missed",
            "NO_UNSTAGE": "unstaged",
            "IN_PLACE": "visible",
            "BY_PID": "living",
            "NO_REPROBE": "living",
            "NO_RETRY": "opens",
            "VISIBLE_FIRST": "visible",
            "REMOVE_VISIBLE": "visible",
            "ONE_PASS": "gone",
            "LOCKED": ASLEEP,
        },
    ),
    Configuration("files", "KILLS=1", cycles=True),
    Configuration("files", "SEQ=2", {"NO_WITHDRAW": "left"}),
    Configuration("files", "CLEANS=1", {"NO_VERIFY": "missed", "NO_LOOK_AT_PATH": ASLEEP}),
    Configuration("files", "SWAPS=1", {"TAKES_ANY": "spared", "KEEPS_FOREIGN": "put back"}),
    Configuration("files", "FORMIX", {"WITHOUT_GRACE": "taken", "BY_AGE": "taken"}),
    Configuration("files", "FORMIX HOUR KILLS=1"),
    Configuration("files", "SEQ=2 KILLS=1 CLEANS=1", large=True),
    Configuration("files", "SEQ=2 KILLS=1 SWAPS=1", large=True),
    Configuration("files", "SEQ=2 KILLS=2 REAPS=2", large=True),
    Configuration("files", "NP=2 KILLS=1", large=True),
    Configuration(
        "channels",
        "FILL=2 FAILS=1 TRIES=1",
        {
            "STAGE_FIRST": "missed",
            "NO_LAST_TRY": "given up",
            "STOP_AT_ERROR": "missed",
            "WAIT_AT_FULL": "served",
            "WAIT_LINKED": "lost",
        },
    ),
    Configuration("channels", "FILL=2 FAILS=1 TRIES=1", cycles=True),
    Configuration("channels", "FILL=2 CLEANS=1 TRIES=1 FAILS=1", {"START_OVER": "counted"}),
    Configuration("channels", "FILL=2 CLEANS=1 TRIES=1 FAILS=1 KILLS=1"),
    Configuration("channels", "MARKS=0 FILL=2 CLEANS=1 TRIES=1 FAILS=1"),
    Configuration("channels", "MARKS=3 FILL=2 TRIES=1 CLOSES=1 FORKED", {"KEPT_BLIND": "late"}),
    Configuration(
        "channels",
        "NP=2 SAME_ID MARKS=0",
        {"NO_EXCL": "lost", "RENAMES": "lost", "NO_EXIST": "lost"},
    ),
    Configuration("channels", "NP=2 SAME_ID FILL=1", {"TAKES_FILE": "lost"}),
    Configuration("channels", "NP=2 FILL=2 CLEANS=1 FAILS=1", large=True),
    Configuration("channels", "SEQ=2 FILL=2 CLEANS=2 FAILS=1 TRIES=1", large=True),
    Configuration("channels", "NP=2 SAME_ID FILL=2 TRIES=1", large=True),
    Configuration("channels", "NP=2 SAME_ID FILL=1 TRIES=1 KILLS=1", large=True),
    Configuration(
        "endless",
        "LIMIT=2",
        {
            "OPENS_FOR_EVER": ENDLESS,
            "FETCHES_FOR_EVER": ENDLESS,
            "STAGES_FOR_EVER": ENDLESS,
            "WAITS_FOR_EVER": ENDLESS,
        },
        cycles=True,
    ),
    Configuration(
        "inline",
        "LIFE NP=1 TICKS=2",
        {"NO_LOOK_AT_BASE": "missed", "RACY": "missed", "KEEPS_OLD": "late"},
    ),
    Configuration("inline", "LIFE NP=1 TICKS=2 LATE_OPEN", {"KEEP_LIVENESS": "missed"}),
    Configuration(
        "inline",
        "HAND NP=1 SEQ=3",
        {
            "TWO_QUEUES": "order",
            "ORPHANS_IN_HAND": "counted",
            "LOSES_BATCH": "counted",
            "NO_WAKE_UP": ASLEEP,
            "LOOK_FIRST": ASLEEP,
            "LATE_WAKE_UP": ASLEEP,
            "EATS_WAKE_UP": ASLEEP,
        },
    ),
    Configuration("inline", "HAND NP=2 SEQ=1 ROOM=3", {"NO_FALLBACK": "full"}, large=True),
    Configuration("inline", "HAND SPLIT NP=1 SEQ=3", {"CUT_IS_DAMAGE": "counted"}),
    Configuration("inline", "LIFE NP=2 SEQ=1 TICKS=1", {"NO_USERS": "closed"}, large=True),
    Configuration("inline", "LIFE NP=1 SEQ=1 TICKS=2 MORTAL"),
    Configuration("inline", "LIFE NP=1 TICKS=2 MORTAL", large=True),
    Configuration("inline", "LIFE NP=2 SEQ=1 TICKS=1 MORTAL", large=True),
    Configuration("inline", "LIFE NP=1 TICKS=3", large=True),
    Configuration("inline", "LIFE NP=1 TICKS=3 LATE_OPEN", large=True),
    Configuration("inline", "LIFE NP=2 SEQ=1 TICKS=2", large=True),
    Configuration("inline", "LIFE NP=2 SEQ=1 TICKS=3", large=True),
    Configuration("inline", "LIFE NP=2 SEQ=1 TICKS=2 SEPARATE", large=True),
    Configuration("inline", "HAND SPLIT NP=2 SEQ=1", large=True),
    Configuration("inline", "HAND NP=2", large=True),
    Configuration("inline", "HAND NP=1 SEQ=3", large=True, cycles=True),
    Configuration("inline", "LIFE NP=1 TICKS=2", large=True, cycles=True),
)

NOT_YIELDED = "an id without its file is counted, and yields nothing"
ALSO: Mapping[str, tuple[tuple[str, ...], str]] = {
    "BY_PID": (
        ("visible", "counted"),
        "an owner whose channel was claimed and put back has gone elsewhere meanwhile, "
        "and what is in its queue is not yielded",
    ),
    "NO_EXCL": (("twice", "order", "counted"), "two messages are in one file"),
    "NO_EXIST": (("counted",), NOT_YIELDED),
    "NO_LOOK_AT_BASE": (("late",), "an old list lacks new channels, and has closed ones"),
    "RACY": (("late",), "an old list lacks new channels, and has closed ones"),
    "RENAMES": (("counted",), NOT_YIELDED),
    "START_OVER": (
        ("twice", "order", "lost", "missed"),
        "what the first attempt did is forgotten, in the count and in the channels",
    ),
    "TAKES_FILE": (("counted",), NOT_YIELDED),
    "WAIT_AT_FULL": (("missed",), "if the time is over, the rest was never tried"),
    "WAIT_LINKED": (("counted",), NOT_YIELDED),
}
"""Rules whose breaking further assertions find, later and one after the other, if those before them
are switched off: their names, and why that is right."""


@dataclass(frozen=True)
class Search:
    """What a search found."""

    states: int
    depth: int
    megabytes: float
    seconds: float
    whole: bool
    found: str
    """The name of the assertion that fails; "" if none does."""
    schedule: tuple[str, ...]
    """The steps that lead there."""


def words(model: str) -> list[str]:
    """What the lines of a model say, in their order: the comment at the end of each, or ""."""
    lines = (MODELS / f"{model}.pml").read_text(encoding="utf-8").splitlines()
    found = (re.search(r"/\* (.*?) \*/$", line) for line in lines)
    return [comment[1] if comment else "" for comment in found]


def schedule(model: str, trail: str) -> tuple[str, ...]:
    """The steps of a trail, as SPIN replays it, in the words of the model."""
    said = words(model)
    steps: list[tuple[str, str, str]] = []
    before = ("", "")
    for number, name, line, cycle in re.findall(
        r"proc +(\d+) \((\w+):\d+\) \S+?:(\d+) \(state \d+\)\s+\[|(START OF CYCLE)", trail
    ):
        if cycle:
            steps.append(("", "", "from here on, for ever:"))
            continue
        text = said[int(line) - 1]
        if text and not NAMED.match(text) and before != (number, line):
            steps.append((name, number, text))
        before = (number, line)
    # The processes of one kind have numbers, unless there is only one.
    several = {name for name, _, _ in steps if len({n for k, n, _ in steps if k == name}) > 1}
    return tuple(
        f"{name.lower()}{f' {number}' if name in several else ''}: {step}" if name else step
        for name, number, step in steps
    )


def run(*command: str, directory: str, **environment: str) -> str:
    """The output of a command that succeeds."""
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, **environment}, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def names(model: str) -> list[str]:
    """The names of the assertions of a model."""
    return sorted({named[1] for text in words(model) if (named := NAMED.match(text))})


def switchable(model: str) -> str:
    """The text of a model, with assertions that can be switched off by the number of their name.

    Lines and steps are those of the model.
    """
    lines = (MODELS / f"{model}.pml").read_text(encoding="utf-8").splitlines()
    for number, text in enumerate(words(model)):
        if named := NAMED.match(text):
            switch = f"assert(c_expr {{ off[{names(model).index(named[1])}] }} || "
            lines[number] = lines[number].replace("assert(", switch)
    return "\n".join([SWITCHES + lines[0], *lines[1:]])


def search(configuration: Configuration, rule: str, *without: str) -> Search:
    """Search a configuration, with a rule broken if `rule` names one.

    A broken rule is searched breadth first, so its schedule is one of the shortest. `without` are
    the names of assertions that are switched off.
    """
    model, large = configuration.model, configuration.large and not rule
    cycles = configuration.cycles and not without
    macros = [f"-D{macro}" for macro in (*configuration.macros.split(), rule) if macro]
    # A search that needs more memory ends as one that was not completed. MB.
    kind = ["-DNP"] if cycles else ["-DSAFETY", *(["-DBFS"] if rule else [])]
    level, limit = ("-O2", 15000) if large or without else ("-O0", 3000)
    with tempfile.TemporaryDirectory() as directory:
        begin = time.monotonic()
        text = (MODELS / f"{model}.pml").read_text(encoding="utf-8")
        path = Path(directory) / "model.pml"
        path.write_text(switchable(model) if without else text, encoding="utf-8")
        run("spin", "-a", *macros, "model.pml", directory=directory)
        options = ["-w", level, *kind, "-DCOLLAPSE", f"-DMEMLIM={limit}"]
        run("cc", *options, "-opan", "pan.c", directory=directory)
        # A search by depth finds long runs; a low limit keeps those that break a rule short.
        how = ["-m60" if cycles and rule else "-m200000", "-w26" if large else "-w20"]
        how += ["-l"] if cycles else []
        off = "".join(
            chr(97 + number) for number, name in enumerate(names(model)) if name in without
        )
        how += ["-E"] if ASLEEP in without else []
        report = run("./pan", *how, directory=directory, OFF=off)
        seconds = time.monotonic() - begin
        found = ""
        steps: tuple[str, ...] = ()
        if "errors: 0" not in report:
            # SPIN replays only what has no C in it.
            path.write_text(text, encoding="utf-8")
            trail = run("spin", "-t", "-p", *macros, "model.pml", directory=directory)
            steps = schedule(model, trail)
            number = re.search(r"pan:1: assertion violated .*?\boff\[(\d+)\]", report)
            line = re.search(r"model\.pml:(\d+), Error: assertion violated", trail)
            by_spin = (name for name, found in BY_SPIN.items() if f"pan:1: {found}" in report)
            if number:
                found = names(model)[int(number[1])]
            elif line:
                found = words(model)[int(line[1]) - 1].partition(":")[0]
            else:
                found = next(by_spin, report)
    states, depth = re.search(r"(\d+) states, stored", report), re.search(r"reached (\d+)", report)
    memory = re.search(r"([\d.]+)\s+total actual memory", report)
    return Search(
        states=int(states[1]) if states else 0,
        depth=int(depth[1]) if depth else 0,
        megabytes=float(memory[1]) if memory else 0,
        seconds=seconds,
        whole=not re.search("not completed|too small", report),
        found=found,
        schedule=steps,
    )


def main() -> int:
    """Search, and print a line for each search. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Checks the models of spec/model with SPIN.")
    parser.add_argument("--large", action="store_true", help="the configurations of many states")
    parser.add_argument("rules", nargs="*", metavar="RULE", help="show what breaks this rule")
    options = parser.parse_args()
    chosen: list[tuple[Configuration, str, tuple[str, ...], str]] = []
    for configuration in CONFIGURATIONS:
        if not options.rules and configuration.large == options.large:
            chosen.append((configuration, "", (), ""))
        for rule, meant in configuration.broken.items():
            if rule in options.rules or not (options.rules or options.large):
                chosen.append((configuration, rule, (), meant))
            if rule in options.rules or options.large:
                found = (meant, *ALSO.get(rule, ((), ""))[0], "")
                for number in range(1, len(found)):
                    chosen.append((configuration, rule, found[:number], found[number]))
    status = 0
    # Small searches are mostly the work of the compiler, so two at a time. Large ones need memory.
    with ThreadPoolExecutor(1 if options.large else 2) as pool:
        for (configuration, rule, without, meant), result in zip(
            chosen, pool.map(lambda one: search(one[0], one[1], *one[2]), chosen), strict=True
        ):
            wrong = result.found != meant or not (meant or result.whole)
            verdict = f"found by {result.found}" if result.found else "no error"
            if wrong:
                verdict = f"FAIL, expected {meant or 'no error in a whole search'}: {verdict}"
            name = f"{configuration.model} {configuration.macros} {rule}".rstrip()
            name += f" without {', '.join(without)}" if without else ""
            name += ", runs without end" if configuration.cycles and not without else ""
            size = f"{result.states:,} states, depth {result.depth}, {result.megabytes:.0f} MB"
            print(f"{name}: {size}, {result.seconds:.1f} s, {verdict}", flush=True)
            if wrong or options.rules:
                print(*(f"    {step}" for step in result.schedule), sep="\n", flush=True)
            status |= wrong
    return status


if __name__ == "__main__":
    sys.exit(main())
