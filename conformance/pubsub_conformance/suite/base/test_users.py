"""Programs whose effective user is not their real one, such as set-user-id programs."""

from __future__ import annotations

import os

import pytest

from pubsub_conformance.linux.namespace import empty_places, seen_by
from pubsub_conformance.suite.helpers import GROUP, Start, as_user, start_as, through
from pubsub_conformance.suite.roles import (
    EVERYBODY,
    attempt,
    check_that_it_is_refused,
)

REAL, EFFECTIVE = 4721, 4722


def _with_two_users() -> list[str]:
    """The prefix that runs a command as the user EFFECTIVE, started by the user REAL."""
    as_user(EFFECTIVE)  # without root, the test is not run
    return [
        "setpriv",
        f"--ruid={REAL}",
        f"--euid={EFFECTIVE}",
        f"--regid={GROUP}",
        "--clear-groups",
    ]


@through("BASE-4", *EVERYBODY)
@pytest.mark.parametrize("owner", [REAL, EFFECTIVE], ids=["real", "effective"])
def test_the_effective_user_counts(start: Start, role: str, owner: int) -> None:
    """A program trusts the default base of its effective user, and not that of the real one."""
    make = f"mkdir -m 0700 /dev/shm/pubsub; chown {owner}:{GROUP} /dev/shm/pubsub"
    prefix = [*empty_places(make), *_with_two_users()]
    driver = start_as(start, prefix, PUBSUB_HOME=None)
    place = seen_by(driver, "/dev/shm")
    if owner == EFFECTIVE:
        attempt(role, driver)
    else:
        check_that_it_is_refused(role, driver, place, "the base belongs to the real user")
    assert os.stat(place / "pubsub").st_uid == owner
