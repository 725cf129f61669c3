"""Checks the models of spec/model with SPIN, in the configurations of its README.

    python tests/tools/model.py [--large]

Each configuration is searched whole and must have no error. Then each of its broken rules must be
found by the assertion that it is meant for: a model in which no rule can be broken proves nothing.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MODELS = Path(__file__).parents[2] / "spec/model"

# What an assertion of the models demands, and how pan writes it, without spaces.
COUNTED = "||(del[m]==1))"  # a message that was counted is yielded once
MISSED = "(vis&&opened)"  # an open channel gets the message
REAPED = "assertionviolated!(opened)"  # no open channel is reaped
LEFT = "(res[m]!=2)||!(lnk[m])"  # what was not counted leaves no file
CLOSED = "isopen[g]"  # no descriptor is written to after it was closed
FULL = "((used+1)>"  # a queue that is full has no room for an id
ASLEEP = "invalidendstate"  # nobody sleeps while messages are in hand


@dataclass(frozen=True)
class Configuration:
    """A model with its macros."""

    model: str
    macros: str
    broken: Mapping[str, str] = field(default_factory=dict)
    """The macros that break a rule, each with the assertion that finds it."""


SMALL = (
    Configuration(
        "pubsub",
        "NP=2 SEQ=1 KILLS=1 QCAP=1",
        {
            "NAIVE_ORPHAN": COUNTED,
            "NO_FLOCK": COUNTED,
            "LOCK_LAST": COUNTED,
            "OVERWRITE": MISSED,
            "NAIVE_TMP": MISSED,
            "NAIVE_STAGED": MISSED,
            "REAP_BY_PID": REAPED,
            "NO_WITHDRAW": LEFT,
        },
    ),
    Configuration("pubsub", "NP=1 SEQ=2 KILLS=2 QCAP=1"),
    Configuration("inline", "LIFE NP=1 SEQ=2 TICKS=3", {"NO_STAT": MISSED, "RACY": MISSED}),
    Configuration("inline", "LIFE NP=1 SEQ=2 TICKS=3 LATE_OPEN", {"KEEP_LIVENESS": MISSED}),
    Configuration("inline", "LIFE NP=2 SEQ=1 TICKS=1", {"NO_REF": CLOSED}),
    Configuration(
        "inline",
        "HAND NP=1 SEQ=3 KILLS=1",
        {
            "TWO_QUEUES": COUNTED,
            "ORPHAN_HAND": COUNTED,
            "BATCH_LOSE": COUNTED,
            "NO_TOKEN": ASLEEP,
            "LOOK_FIRST": ASLEEP,
            "TOKEN_LATE": ASLEEP,
            "EAT_TOKEN": ASLEEP,
        },
    ),
    Configuration("inline", "HAND NP=2 SEQ=1 QU=3", {"NO_FALLBACK": FULL}),
    Configuration("inline", "HAND SPLIT NP=1 SEQ=3", {"CUT_IS_DAMAGE": COUNTED}),
    Configuration("inline", "HAND SPLIT NP=2 SEQ=1"),
)
LARGE = (
    Configuration("pubsub", "NP=2 SEQ=1 KILLS=3 QCAP=1"),
    Configuration("pubsub", "NP=2 SEQ=2 KILLS=0 QCAP=1"),
    Configuration("inline", "LIFE NP=2 SEQ=1 TICKS=2"),
    Configuration("inline", "LIFE NP=2 SEQ=1 TICKS=3"),
    Configuration("inline", "LIFE NP=2 SEQ=1 TICKS=2 SEPARATE"),
    Configuration("inline", "HAND NP=2 SEQ=2 KILLS=1"),
)


def search(configuration: Configuration, rule: str, *, large: bool) -> str:
    """What pan reports of a configuration, with a rule broken if `rule` names one."""
    macros = [f"-D{macro}" for macro in (*configuration.macros.split(), rule) if macro]
    # A search that needs more memory ends as one that was not completed. MB.
    limit, level = ("12000", "-O2") if large else ("2000", "-O0")
    with tempfile.TemporaryDirectory() as directory:
        for command in (
            ["spin", "-a", *macros, f"{MODELS}/{configuration.model}.pml"],
            ["cc", "-w", level, "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={limit}", "-opan", "pan.c"],
            ["./pan", "-m100000", "-w26" if large else "-w22"],
        ):
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def fault(report: str, assertion: str) -> str:
    """What is wrong with pan's report, if a search must end with this assertion; "" for nothing."""
    if not assertion:
        whole = "errors: 0" in report and not re.search("not completed|too small", report)
        return "" if whole else "no error is expected in a whole search"
    if assertion in report.replace(" ", ""):
        return ""
    return f"the assertion {assertion} must find it"


def main() -> int:
    """Search all configurations, and print a line for each search. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Checks the models of spec/model with SPIN.")
    parser.add_argument("--large", action="store_true", help="the configurations of many states")
    large = parser.parse_args().large
    status = 0
    for configuration in LARGE if large else SMALL:
        for rule, assertion in {"": "", **configuration.broken}.items():
            begin = time.monotonic()
            report = search(configuration, rule, large=large)
            seconds = time.monotonic() - begin
            name = f"{configuration.model} {configuration.macros} {rule}".rstrip()
            states = re.search(r"(\d+) states, stored", report)
            found = fault(report, assertion)
            verdict = f"FAIL, {found}:\n{report}" if found else "found" if rule else "no error"
            print(f"{name}: {int(states[1]) if states else 0:,} states, {seconds:.1f} s, {verdict}")
            status |= bool(found)
    return status


if __name__ == "__main__":
    sys.exit(main())
