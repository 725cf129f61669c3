"""Steps: what a call does, to which kind of entry. `run` disturbs each step of an operation.

Names and numbers of calls differ from one implementation to the next; steps of the specification
do not. `faults` disturbs every call with every error; the points here are those of the first call
of each step, with the errors that tell implementations apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from pubsub_conformance.linux import strace
from pubsub_conformance.linux.calls import Call
from pubsub_conformance.oracle.base import CHANNEL_NAME, MESSAGE_NAME
from pubsub_conformance.oracle.record import MARKER, RECORD

from .points import EVER, Point, Stop, concerns, errors, kind, may_last, numbered

Step = tuple[str, ...]
"""The kind of a call, and the kinds of the entries that it is about."""

TELLING: dict[str, tuple[str, ...]] = {
    "create": ("ENOSPC", "EMFILE+"),
    "open": ("EMFILE", "EACCES+", "ENOENT+"),
    "entry": ("ENOSPC", "EACCES+", "ENOENT", "EMLINK+"),
    "node": ("ENOSPC", "EIO+"),
    "remove": ("EIO", "EACCES+"),
    "list": ("EIO", "ENOMEM+"),
    "look": ("EACCES+", "ENOENT"),
    "look at an open file": ("EIO+",),
    "mode": ("EACCES", "EIO+"),
    "mode of an open file": ("EIO",),
    "write a file": ("ENOSPC", "EIO+", "EINTR"),
    "write a queue": ("EAGAIN+", "EIO", "EINTR"),
    "write a record": ("EAGAIN", "EAGAIN+", "EIO", "EINTR"),
    "read a file": ("EIO", "ENOMEM+", "EINTR"),
    "read a queue": ("EAGAIN", "EIO+", "EINTR"),
    "sync": ("ENOSPC", "EIO+", "EINTR"),
    "duplicate": ("EMFILE", "EMFILE+"),
    "fill of a queue": ("EINVAL+",),
    "room of a queue": ("EINVAL+",),
    "size of a queue": ("EPERM",),
    "sleep": ("EINTR", "ENOMEM+"),
}
"""The errors with which a step of each kind is disturbed; those with the mark last."""

LANE = (
    *("write a queue", "write a record", "read a queue", "look at an open file", "duplicate"),
    *("fill of a queue", "room of a queue", "size of a queue", "sleep"),
)
"""What is done with an open queue, or to wait for it."""


def steps(
    calls: Iterable[Call], where: Path, base: Path, stop: Stop | None
) -> dict[Step, list[Point]]:
    """Each step of an operation that made these calls, and its points.

    Where the process is stopped, only the steps that follow.
    """
    found: dict[Step, list[Point]] = {}
    later = numbered(calls)
    if stop:
        later = itertools.dropwhile(lambda each: not stop.passes(each[1]), later)
        next(later, None)
    for nth, call in later:
        step = concerns(call, where) and _step(call, base)
        if step and step not in found:
            found[step] = list(_points(call, nth, step[0]))
    return found


def of_lane(step: Step) -> bool:
    """Whether the step has to do with an open queue or a marker, as those have that only the inline
    lane has."""
    of, *entries = step
    names = [entry.rpartition("/")[2] for entry in entries]
    return MARKER in names or (of in LANE and names in ([], ["queue"]))


def _points(call: Call, nth: int, of: str) -> Iterator[Point]:
    possible = set(errors(call))
    if call.name not in strace.LINK:
        possible.discard("EMLINK")  # a file system with so many directories is rare
    for telling in TELLING[of]:
        errno, ever = telling.removesuffix(EVER), telling.endswith(EVER)
        if errno in possible and (not ever or may_last(call, errno)):
            yield Point(call.name, nth, errno, ever)


def _step(call: Call, base: Path) -> Step | None:
    of = kind(call)
    if of is None:
        return None
    if of == "write a queue" and call.data.startswith(RECORD):
        of = "write a record"
    named = [] if of.startswith(("read", "write")) else call.paths  # their strings are data
    paths = named or ([call.descriptor] if call.descriptor else [])
    return of, *(_entry(path, base) for path in paths)


def _entry(path: Path, base: Path) -> str:
    """The kind of the entry at a path."""
    if not path.is_relative_to(base):
        return "above the base" if base.is_relative_to(path) else "elsewhere"
    place, *parts = ("base", *path.relative_to(base).parts)
    for part in parts:
        if part in ("tmp", "queue", MARKER):
            place = part if place == "base" else f"{place}/{part}"
        elif MESSAGE_NAME.fullmatch(part):
            place += "/message"
        elif place == "base" and CHANNEL_NAME.fullmatch(part):
            place = "own channel" if part.startswith("victim_") else "channel"
        else:
            place += "/entry"
    return place
