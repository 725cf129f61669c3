"""What the options of a run amount to, and where hooks and fixtures keep what they share."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .. import pinned, requirements
from ..driver import Driver
from ..driver.protocol import ROLES
from ..judge import expected
from ..judge.expected import OF_RUN, ExpectedError, Listed
from ..names import Unknown, find
from ..requirements import Requirement, SpecError


@dataclass
class Session:
    """The options, in the main process and in every xdist worker."""

    command: list[str]
    requirements: Mapping[str, Requirement]
    selected: frozenset[str]
    expected: Listed
    without_test: frozenset[str]
    """Those of `requirements` that this kit does not know: see `--requirements`."""
    hello: dict[str, Any] = field(default_factory=dict)
    """What the driver says of itself; empty before the handshake."""
    tests: dict[str, list[str]] = field(default_factory=dict)
    """The selected requirements of each test, by its node id; empty before the collection."""


SESSION = pytest.StashKey[Session]()
"""Of the configuration. Missing without `--driver`."""
STARTED = pytest.StashKey[Sequence[Driver]]()
"""Of a test: the drivers that it started."""
FAILED = pytest.StashKey[bool]()
"""Of a test that failed, or whose driver did."""
HOME = pytest.StashKey[Path]()
"""Of a test: its base directory."""


def session_of(config: pytest.Config) -> Session:
    """What the options amount to. Raises pytest.UsageError if one of them is wrong."""
    try:
        own = requirements.load()
        path = config.getoption("requirements")
        judged = pinned.load(Path(path), own) if path else own
        known = {**own, **judged}
        path = config.getoption("expected")
        listed = expected.load(Path(path), {"requirement": known}, OF_RUN) if path else {}
    except (SpecError, ExpectedError) as error:
        raise pytest.UsageError(str(error)) from None
    command = shlex.split(config.getoption("driver"))
    if not command:
        raise pytest.UsageError("--driver: the command is empty")
    home = config.getoption("home")
    if home and not Path(home).is_dir():
        raise pytest.UsageError(f"--home: {home} is not a directory")
    without_test = judged.keys() - own.keys()
    return Session(command, known, _selection(config, judged), listed, frozenset(without_test))


def name_in_suite(nodeid: str) -> str:
    """A test as reports call it: its file below the suite, as `publish/test_ids.py::test_new`."""
    path, _, function = nodeid.partition("::")
    *_, name = path.rpartition("suite/")
    return f"{name if name != path else Path(path).name}::{function}"


def _selection(config: pytest.Config, known: Mapping[str, Requirement]) -> frozenset[str]:
    """The ids that every one of the three kinds of option lets through."""
    there = {
        "requirement": known,
        "section": dict.fromkeys(requirement.key for requirement in known.values()),
        "role": ROLES,
    }
    try:
        ids, sections, roles = (
            {find(name, names, kind) for name in config.getoption(kind)}
            for kind, names in there.items()
        )
    except Unknown as error:
        raise pytest.UsageError(str(error)) from None
    return frozenset(
        requirement.id
        for requirement in known.values()
        if (not ids or requirement.id in ids)
        and (not sections or requirement.key in sections)
        and (not roles or roles & set(requirement.roles))
    )
