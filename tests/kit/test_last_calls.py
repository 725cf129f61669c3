"""A forced interleaving that fails, or cannot be forced, shows what the driver did."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable

import pytest
from pubsub_conformance.linux.calls import Begun, Call, Continued, Event, Signalled, Stopped
from pubsub_conformance.linux.last_calls import SHOWN, last_calls
from toykit import Kit, makes_kits

kit = pytest.fixture(makes_kits)

OPENED = Call(7, "open", '"queue"', 3, None, False)
DENIED = Call(8, "link", '"a", "b"', -1, "EPERM", True)

SUITE = """
import pytest
from pubsub_conformance.linux.strace import {calls}, stop, traced

@pytest.mark.requirement("PUB-1")
def test_it(driver):
    with traced(driver, stop({calls})) as trace:
        count = trace.begin(driver.publish, "opens")
        trace.stopped()
        assert False, "the driver is not as it should be"
"""


def shown(*events: Event) -> list[str]:
    return last_calls(events, {9}).splitlines()[1:]


def test_calls_come_with_their_threads_and_what_the_kit_did() -> None:
    assert shown(Begun(7, "open"), OPENED, DENIED, Signalled(7), Stopped(7), Continued(8)) == [
        '  7: open("queue") = 3',
        '  8: link("a", "b") = EPERM (made by the kit)',
        "  7: the kit stops the driver",
        "  8: the kit lets the driver go on",
    ]


def test_a_driver_that_is_still_stopped_or_still_waits() -> None:
    assert shown(OPENED, Begun(7, "poll"), Signalled(7), Begun(9, "read")) == [
        '  7: open("queue") = 3',
        "  7: the kit stops the driver",
        "  7: poll has not ended",
        "then the kit ended the test: it had stopped the driver",
    ]


def test_only_the_last_calls_are_shown() -> None:
    lines = last_calls([OPENED] * (SHOWN + 5), set()).splitlines()
    assert len(lines) == SHOWN + 1
    assert f"the last {SHOWN} of {SHOWN + 5}" in lines[0]


def test_nothing_seen_is_nothing_to_show() -> None:
    assert last_calls([], set()) == ""


needs_strace = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("strace"), reason="needs strace, on Linux"
)


@needs_strace
def test_a_failure_shows_the_last_calls(kit: Callable[..., Kit]) -> None:
    result = kit(SUITE.format(calls="OPEN")).run()
    assert result.outcomes["PUB-1"] == "fail"
    assert re.search(r"  \d+: open(at)?\(.*/dev/null", result.out)
    assert re.search(r"  \d+: the kit stops the driver\n", result.out)
    assert "it had stopped the driver" in result.out


@needs_strace
def test_what_could_not_be_forced_shows_them_too(kit: Callable[..., Kit]) -> None:
    result = kit(SUITE.format(calls="LINK")).run()
    assert result.outcomes["PUB-1"] == "not run"
    details = result.out[result.out.index("\nPUB-1 not run") :]
    assert re.search(r"  \d+: write\(1<", details)
    assert "the driver made no such call that strace could stop it at" in details
