"""Drawn schedules, step by step through several drivers, against a model (guarantee.md).

One search is made, and every test looks at what it found for the breach of one requirement.
"""

from __future__ import annotations

import functools
import shlex

import pytest

from pubsub_conformance.driver import DriverError
from pubsub_conformance.lockstep.search import Failure, search
from pubsub_conformance.lockstep.world import CHECKED
from pubsub_conformance.plugin import not_run


@functools.cache
def _searched(command: str, under: str | None, seed: int) -> Failure | None:
    return search(shlex.split(command), under, seed)


@pytest.mark.parametrize(
    "rule", [pytest.param(name, marks=pytest.mark.requirement(name)) for name in CHECKED]
)
def test_lockstep(rule: str, request: pytest.FixtureRequest, seed: int) -> None:
    """In drawn schedules of requests to two drivers and the kit, what each reply says and what is
    on the disk after it is what the steps so far make of it."""
    options = request.config.option
    found = _searched(options.driver, options.home, seed)
    if found is None:
        return
    if isinstance(found.error, DriverError):
        error = found.error
        script = "\n".join(["", "after these steps:", *found.script]) if found.script else ""
        raise DriverError(
            error.what + script, request=error.request, end=error.end, stderr=error.stderr
        )
    if found.requirement == rule:
        pytest.fail(str(found), pytrace=False)
    not_run(f"the search ended at {found.requirement}, {found.place}")
