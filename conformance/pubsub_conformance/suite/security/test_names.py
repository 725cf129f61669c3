"""Attacks from inside: names of any octets, and deep directories."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.suite.helpers import (
    answers,
    through,
)
from pubsub_conformance.suite.roles import (
    EVERYBODY,
    check_that_it_works,
)
from pubsub_conformance.suite.scenes import plant_a_deep_one, remove_any_depth

from .support import marked


def plant_all_octets(directory: Path) -> None:
    """Make files whose names hold every possible octet, or have a meaning to some programs."""
    names = [bytes(octet for octet in range(1, 256) if octet != ord("/"))]
    names += [
        b"-rf",
        b"\n",
        b"\x7f\x1b[2J",
        b"\xed\xa0\x80",
        b"\xc3",
        b"\\",
        b"$(id)",
        b"%s%n",
        b"\xff" * 255,
        b"a_\xff\xff\xff\xff\xff\xff_1",
    ]
    for name in names:
        with contextlib.suppress(OSError):  # not every file system takes each name
            os.close(os.open(os.fsencode(directory) + b"/" + name, os.O_CREAT | os.O_WRONLY, 0o600))


@pytest.mark.parametrize(
    "plant", [plant_all_octets, plant_a_deep_one], ids=lambda plant: plant.__name__[6:]
)
@pytest.mark.parametrize(
    "role",
    [
        pytest.param("subscriber", marks=marked("CHAN-14", role="subscriber")),
        pytest.param("reaper", marks=marked("REAP-3", role="reaper")),
    ],
)
def test_whatever_is_planted_is_removed(
    driver: Driver, base: Base, role: str, plant: Callable[[Path], None]
) -> None:
    """Closing and reaping remove a channel with names of any octets, or of any depth, in it."""
    try:
        if role == "subscriber":
            channel = driver.open("a")
            plant(channel.directory)
            with answers("closing"):
                driver.close_channel(channel)
        else:
            plant(base.dead_channel("a", dead_pid()))
            with answers("reaping"):
                driver.reap()
        left = [*base.channels(), *base.tmp.iterdir()]
        assert not left, f"left: {left}"
    finally:
        remove_any_depth(base.path)


@through("BASE-10", *EVERYBODY)
def test_names_of_any_octets_in_the_base(driver: Driver, base: Base, role: str) -> None:
    """Files with names of any octets, in the base and in `tmp`, disturb no operation."""
    base.make()
    plant_all_octets(base.path)
    plant_all_octets(base.tmp)
    before = sorted(os.listdir(os.fsencode(base.path)))
    with answers(f"the {role} in a base with such names"):
        check_that_it_works(role, driver, base)
    assert sorted(os.listdir(os.fsencode(base.path))) == before
