"""The tests that stop a driver, wait or measure, again and again: is each verdict the same?

    python tests/tools/repetition.py [--times N] [--busy N] -- COMMAND…

COMMAND starts the driver of an implementation that conforms. Each repetition has a seed of its own.
It runs once beside nothing, and once beside `--busy` processes that compute without a pause. A test
that does not pass each time it is run is a finding: nobody believes a verdict that changes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

PROGRAM = """
import sys
import pytest
from pubsub_conformance.commands.run import ISOLATED, SUITE
from pubsub_conformance.surroundings import settle

settle()
sys.exit(pytest.main([*ISOLATED, "-m", "timing", "-n", "2", *sys.argv[1:], *SUITE]))
"""
RIGHT = ("pass", "not run", "not applicable", "untested")


@contextlib.contextmanager
def busy(number: int) -> Iterator[None]:
    """Beside so many processes that compute without a pause."""
    with contextlib.ExitStack() as running:
        for _ in range(number):
            process = running.enter_context(
                subprocess.Popen([sys.executable, "-c", "while True: pass"])
            )
            running.callback(process.kill)
        yield


def outcomes(driver: Sequence[str], seed: int) -> dict[str, tuple[str, str]]:
    """The outcome and the reason of each test that was started."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory, "report.json")
        options = [f"--driver={shlex.join(driver)}", f"--seed={seed}", f"--json={report}"]
        options += [f"--hypothesis-seed={seed}", f"--basetemp={directory}/pytest"]
        command = [sys.executable, "-c", PROGRAM, *options]
        env = {**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": directory}
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if not report.exists():
            sys.exit(f"no report was written:\n{done.stdout}{done.stderr}")
        found = json.loads(report.read_text("utf-8"))
    return {
        test["name"]: (test["outcome"], test.get("reason") or "")
        for requirement in found["requirements"]
        for test in requirement["tests"]
        if test.get("reason") != "the test was not started"
    }


def main() -> int:
    parser = argparse.ArgumentParser(usage="%(prog)s [--times N] [--busy N] -- COMMAND…")
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--busy", type=int, default=20)
    parser.add_argument("driver", nargs="+", metavar="COMMAND")
    options = parser.parse_args()
    wrong: Counter[tuple[str, str, str]] = Counter()
    for number in (0, options.busy):
        with busy(number):
            for seed in range(1, options.times + 1):
                began = time.monotonic()
                found = outcomes(options.driver, seed)
                bad = {name: said for name, said in found.items() if said[0] not in RIGHT}
                for name, (outcome, reason) in bad.items():
                    wrong[str(number), name, outcome] += 1
                    print(f"  {name}: {outcome}: {reason}")
                took = time.monotonic() - began
                print(
                    f"beside {number} busy processes, seed {seed}: {len(found)} tests,"
                    f" {len(bad)} wrong, {took:.0f} s",
                    flush=True,
                )
    for (beside, name, outcome), times in wrong.most_common():
        print(f"{name}: {outcome} {times} of {options.times} times beside {beside} busy processes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
