"""Drawn schedules, step by step through several drivers, against a model (guarantee.md).

One search is made, and every test looks at what it found for the breach of one requirement.
"""

from __future__ import annotations

import pytest

from pubsub_conformance.driver import DriverError
from pubsub_conformance.lockstep import CHECKED, failure


@pytest.mark.parametrize(
    "rule", [pytest.param(name, marks=pytest.mark.requirement(name)) for name in CHECKED]
)
def test_lockstep(rule: str, request: pytest.FixtureRequest, seed: int) -> None:
    """In drawn schedules of requests to two drivers and the kit, what each reply says and what is
    on the disk after it is what the steps so far make of it."""
    found = failure(request.config.getoption("driver"), request.config.getoption("home"), seed)
    if found is not None and isinstance(found.error, DriverError):
        error = found.error
        what = f"{error.what}, after these steps:\n" + "\n".join(found.script)
        raise DriverError(what, request=error.request, end=error.end, stderr=error.stderr)
    if found is not None and found.requirement == rule:
        pytest.fail(str(found), pytrace=False)
