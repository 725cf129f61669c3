"""Measure implementations, and beside them what a user would pick instead, in one table.

    python conformance/benchmarks/compare.py [options of bench] NAME=COMMAND…

An alternative that is not installed is left out, with the reason. Under CI that is an error.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

import floor
import mosquitto_pubsub
import multiprocessing_pipe
import multiprocessing_queue
import nats_pubsub
import posix_queue
import redis_pubsub
import zeromq_pubsub
import zeromq_pushpull
from pubsub_conformance.commands import main as pubsub_conformance

ALTERNATIVES = {
    "floor": floor,
    "queue": multiprocessing_queue,
    "pipe": multiprocessing_pipe,
    "posix": posix_queue,
    "redis": redis_pubsub,
    "zeromq": zeromq_pubsub,
    "pushpull": zeromq_pushpull,
    "nats": nats_pubsub,
    "mosquitto": mosquitto_pubsub,
}


def command(name: str) -> list[str]:
    """The command of an alternative's driver."""
    return [sys.executable, str(ALTERNATIVES[name].__file__)]


def main(arguments: Sequence[str]) -> int:
    """Run `bench` with all alternatives. Returns 0 if everything was measured, 2 if not."""
    reasons = {name: module.missing() for name, module in ALTERNATIVES.items()}
    present = [f"{name}={shlex.join(command(name))}" for name in reasons if not reasons[name]]
    code = pubsub_conformance(["bench", *arguments, *present])
    absent = {name: reason for name, reason in reasons.items() if reason}
    for name, reason in absent.items():
        print(f"{name} is not measured: {reason}")
    return 2 if absent and "CI" in os.environ else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
