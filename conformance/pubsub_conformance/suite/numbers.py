"""Numbers of things: where arrays, buffers and counters of some size end."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pubsub_conformance.oracle.base import fresh_name
from pubsub_conformance.plugin import not_run

ENDS = (1, 2, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025)
"""Powers of two, one before and one after."""

LONGEST = 200
"""The length of the longest topic, and of the longest pattern, in octets."""


@contextmanager
def room_for(descriptors: int) -> Iterator[None]:
    """Let the kit hold so many descriptors inside. Where the system does not, not run."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = descriptors + 200
    if hard not in (resource.RLIM_INFINITY,) and hard < wanted:
        not_run(f"needs {wanted} descriptors; this system allows {hard} to a process")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def make_foreign(directory: Path, number: int) -> list[str]:
    """Make so many entries with long names that mean nothing in this layout. Returns the names.

    A listing takes many calls: they have 240 octets each.
    """
    names = [f".{fresh_name()}_{n:0226}" for n in range(number)]
    for count, name in enumerate(names):
        if count % 2:
            os.mkdir(directory / name)
        else:
            os.close(os.open(directory / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return names


def missing(names: Iterable[str], directory: Path) -> list[str]:
    """The names that a directory does not hold."""
    return sorted({*names} - {*os.listdir(directory)})
