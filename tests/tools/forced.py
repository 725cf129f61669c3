"""Which schedules of the models the kit forces on an implementation, and by which tests.

For each rule of a model, a mutant of the reference breaks the same rule. The tests that catch it
bring about what the schedule needs: they stop the driver between two of its steps, make a call fail
as another process would make it fail, or are the other process themselves, between two requests.
What happens within one process is forced by tests of the reference (mutants/within.py).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from pubsub_conformance import suite

SUITE = Path(suite.__path__[0])

MUTANTS: Mapping[str, tuple[str, str]] = {
    "AGE_ALONE": ("FETCH-17", "removes by age alone"),
    "BY_AGE": ("REAP-6", "does not ask whether the process runs"),
    "BY_PID": ("REAP-4", "reaps by the process id alone (formix-pubsub 1.0.0)"),
    "CUT_IS_DAMAGE": ("INLINE-7", "the header first, and then the message"),
    "EMPTY_FIRST": ("FETCH-17", "sees the queue empty before it lists the files"),
    "FETCHES_FOR_EVER": ("FETCH-22", "skips for ever"),
    "FOREIGN_ORPHANS": ("FETCH-18", "reapers remove old messages of the living"),
    "ID_FIRST": ("PUB-8", "enqueues before it links"),
    "IN_PLACE": ("REAP-12", "empties in place"),
    "KEEP_LIVENESS": ("PUB-22", "keeps who was alive"),
    "KEEPS_FOREIGN": ("CHAN-22", "keeps what it has claimed"),
    "KEEPS_OLD": ("INLINE-21", "keeps the queues of a new list's names"),
    "KEPT_BLIND": ("INLINE-18", "waits for room in the queue that it opened first"),
    "LINK_EARLY": ("PUB-5", "writes the rest after the first link"),
    "LOCKED": ("GUAR-8", "publishers lock tmp"),
    "NO_EXCL": ("PUB-6", "truncates what is there (formix-pubsub)"),
    "NO_EXIST": ("PUB-3", "takes a file that has its id for its own"),
    "NO_FALLBACK": ("INLINE-16", "a refused record is a full queue"),
    "NO_LAST_TRY": (
        "INLINE-15",
        "an unstaged message is no record for a queue that is half full",
    ),
    "NO_LOOK": ("PUB-12", "a cleaner's ENOENT is a closed channel"),
    "NO_LOOK_AT_BASE": ("GUAR-5", "keeps its list of channels for ever"),
    "NO_LOOK_AT_PATH": ("FETCH-14", "does not look"),
    "NO_REPROBE": ("REAP-13", "does not look again"),
    "NO_RETRY": ("CHAN-11", "gives up when the rename fails"),
    "NO_UNSTAGE": ("PUB-14", "leaves the staged file"),
    "NO_VERIFY": ("CHAN-12", "does not look at what it renamed"),
    "NO_WITHDRAW": ("PUB-10", "leaves the link (formix-pubsub)"),
    "ONE_PASS": ("CHAN-17", "gives up at a late link (formix-pubsub)"),
    "OPENS_FOR_EVER": ("CHAN-11", "starts again for ever"),
    "ORPHANS_IN_HAND": ("FETCH-17", "does not look at what is in hand"),
    "RACY": ("PUB-21", "takes the tick of the last change for a later one"),
    "REMOVE_VISIBLE": ("CHAN-16", "empties a visible channel"),
    "RENAMES": ("PUB-7", "gives the file its name by rename"),
    "STAGES_FOR_EVER": ("PUB-12", "stages again for ever"),
    "STAGE_FIRST": ("INLINE-14", "a message that cannot be staged ends the publish"),
    "START_OVER": ("INLINE-17", "starts over where tmp vanished"),
    "STOP_AT_ERROR": ("PUB-13", "ends with the first error of a channel"),
    "TAKES_ANY": ("CHAN-20", "removes whatever has its name"),
    "TAKES_FILE": ("INLINE-11", "removes the file that has the id of a record"),
    "VISIBLE_FIRST": ("CHAN-10", "visible before it is read (formix-pubsub)"),
    "WAITS_FOR_EVER": ("PUB-19", "tries a full queue for ever"),
    "WAIT_AT_FULL": ("PUB-20", "waits at the first full queue"),
    "WAIT_LINKED": ("PUB-18", "waits with the message linked"),
    "WITHOUT_GRACE": ("REAP-5", "no grace"),
}
"""The mutant of the reference that breaks the rule of a model: its requirement and its fault."""

REASONS: Mapping[str, str] = {
    "LATE_WAKE_UP": (
        "the reference is safe twice: it writes a word 0 also where an exception ends a fetch; its "
        "tests raise one at each bytecode of a fetch while another thread waits"
    ),
    "TWO_QUEUES": "an implementation with another queue has another layout",
}
"""Why nothing forces the schedule of a rule."""

KINDS = {
    "stopped": "the driver is stopped between two of its steps",
    "failed": "a call is made to fail as another process would make it fail",
    "seen": "the driver's calls are looked at, and their order is all that matters",
    "played": "the kit is the other process, between two requests or while the driver waits",
}
"""How a test brings about what a schedule needs; the first is the most that can be forced."""


def kind(test: str) -> str:
    """Which of the kinds a test of the suite is; `test` is a path in the suite and a name."""
    path, _, name = test.partition("::")
    used = _used(SUITE / path, name)
    if "traced" not in used:
        return "played"
    return next((kind for word, kind in _WORDS.items() if word in used), "seen")


_DRAWN = ("test_failing_calls", "test_faults", "test_lockstep", "test_stress")
"""Modules whose tests come upon a schedule by chance, or by trying each call in turn."""

_WORDS = {"stop": "stopped", "then_stop": "stopped", "fail": "failed"}


def _used(path: Path, name: str) -> set[str]:
    """The names that a function of a module uses, itself or in other functions of the module."""
    functions = _functions(path)
    found: set[str] = set()
    left = [name]
    while left:
        if (function := functions.pop(left.pop(), None)) is not None:
            names = set(_names(function))
            left += names & set(functions)
            found |= names
    return found


def _names(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg


def _functions(path: Path) -> dict[str, ast.FunctionDef]:
    return dict(_parsed(path))


@cache
def _parsed(path: Path) -> Mapping[str, ast.FunctionDef]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


def stopped() -> set[str]:
    """The requirements whose tests stop a driver between two of its steps."""
    found: set[str] = set()
    for path in SUITE.rglob("test_*.py"):
        for name, test in _parsed(path).items():
            if name.startswith("test_") and kind(f"{path.relative_to(SUITE)}::{name}") == "stopped":
                marks = " ".join(map(ast.unparse, test.decorator_list))
                found |= set(re.findall(r"[A-Z]+-\d+", marks))
    return found


def caught_by(rule: str) -> list[str]:
    """The tests of the suite that catch the mutant of a rule. KeyError: there is no such mutant."""
    return _caught()[MUTANTS[rule]]


@cache
def _caught() -> Mapping[tuple[str, str], list[str]]:
    entries = json.loads((SUITE.parent / "mutants.json").read_bytes())
    return {(one["requirement"], one["mutant"]): one["caught_by"] for one in entries}


def forced_by(rule: str) -> tuple[str, list[str]]:
    """The kind of the tests that force the schedule of a rule, and these tests."""
    kinds = {test: kind(test) for test in caught_by(rule) if not test.startswith(_DRAWN)}
    most = next((kind for kind in KINDS if kind in kinds.values()), "TEMP")
    return most, [test for test in kinds if kinds[test] == most]
