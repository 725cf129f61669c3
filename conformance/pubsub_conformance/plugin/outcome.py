"""The outcome of one test, from how pytest's phases of it ended."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from ..driver import DriverError, Rejected
from ..judge.findings import plain
from ..judge.outcome import Outcome
from ..oracle.message import InvalidMessage
from .left_open import LeftOpen

_NOT_APPLICABLE = "not applicable: "


def not_run(reason: str) -> NoReturn:
    """End a test that this machine cannot run."""
    pytest.skip(reason)


class _Broken(AssertionError):
    """A failure that says what it means for each requirement of its test."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("\n".join(reasons.values()))
        self.reasons = reasons


def broken(reasons: Mapping[str, str]) -> None:
    """End a test that found these requirements broken; without any, it goes on.

    The other requirements of the test pass.
    """
    if reasons:
        raise _Broken(reasons)


def reasons_of(call: pytest.CallInfo[None]) -> Mapping[str, str]:
    """What a failure means for each requirement; empty: the same for all of its test."""
    error = call.excinfo.value if call.excinfo else None
    return error.reasons if isinstance(error, _Broken) else {}


def not_applicable(*roles: str) -> NoReturn:
    """End a test that needs one of these roles, of which the driver claims none."""
    pytest.skip(f"{_NOT_APPLICABLE}the driver does not claim {' or '.join(roles)}")


def outcome_of(call: pytest.CallInfo[None], path: Path) -> tuple[Outcome, str, bool]:
    """The outcome of a phase, the reason, and whether the kit itself is at fault.

    `path` is the file of the test.
    """
    if call.excinfo is None:
        return Outcome.PASS, "", False
    error = call.excinfo.value
    if isinstance(error, pytest.skip.Exception):
        reason = str(error.msg)
        if reason.startswith(_NOT_APPLICABLE):
            return Outcome.NOT_APPLICABLE, reason.removeprefix(_NOT_APPLICABLE), False
        return Outcome.NOT_RUN, reason, False
    if driver_error := _driver_error(error):
        return Outcome.DRIVER_ERROR, str(driver_error), False
    if isinstance(error, LeftOpen | _Broken):
        return Outcome.FAIL, str(error), False
    # The last line of the test itself, not one of what it called.
    trace = call.excinfo.traceback
    where = [entry for entry in trace if Path(entry.path) == path] or trace
    place = f"({Path(where[-1].path).name}, line {where[-1].lineno + 1})"
    reason = f"{plain(call.excinfo.exconly())}\n{place}"
    if "from pytest-timeout" in reason:
        return Outcome.DRIVER_ERROR, f"the test did not come to an end: {reason}", False
    if _is_finding(error):
        return Outcome.FAIL, reason, False
    return Outcome.NOT_RUN, f"the test is broken: {reason}", True


def _is_finding(error: BaseException) -> bool:
    """Whether it says something about the implementation, and not about the kit's own code."""
    if inner := getattr(error, "exceptions", ()):
        return all(map(_is_finding, inner))
    if isinstance(error, OSError):  # no file, or no reader, where one should be
        return error.errno in {errno.ENOENT, errno.ENXIO}
    return isinstance(error, (AssertionError, pytest.fail.Exception, Rejected, InvalidMessage))


def _driver_error(error: BaseException) -> DriverError | None:
    """The driver error in an exception, in what it was raised from, or in a group of them."""
    if isinstance(error, DriverError):
        return error
    inner = [*getattr(error, "exceptions", ()), *filter(None, [error.__cause__])]
    return next(filter(None, map(_driver_error, inner)), None)
