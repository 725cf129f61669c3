"""The faults: what they list, what they excuse, and mutants that nothing else catches."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import mutants
import pytest
from interrupted import begun
from mutants.further import (
    DROPS_A_BATCH,
    FORGETS_THE_STAGED_FILE,
    GIVES_THE_ID_UP,
    LEAKS_A_DESCRIPTOR,
    NOTES_WHAT_IT_PUBLISHES,
    REPORTS_A_QUEUE_THAT_STAYS_LARGE,
    TAKES_A_REFUSAL_FOR_FULL,
    TAKES_SILENCE_FOR_FULL,
)
from mutation import REFERENCE, Mutant
from pubsub_conformance import faults
from pubsub_conformance.commands import main
from pubsub_conformance.faults import points as listing
from pubsub_conformance.faults import scenes
from pubsub_conformance.faults.points import Hit, Point
from pubsub_conformance.judge.verdict import Verdict
from pubsub_conformance.linux.calls import Call, parse
from test_c import build, copy_sources

BASE = Path("/where/parent/base")
CHANNEL = "a_Zq3vKx81LmPw_31415"


def call(text: str) -> Call:
    (parsed,) = parse(f"7 {text}")
    return parsed


def listed(*lines: str) -> set[str]:
    found = listing.points(map(call, lines), Path("/where"))
    return {str(point) for point in found}


# --- which points there are ---


def test_each_call_on_the_base_is_a_point_and_the_reply_is_one() -> None:
    """Counts are those of strace: of a thread's calls of one name, whatever they are about."""
    found = listed(
        'read(0<pipe:[1]>, "{}", 4096) = 2',
        f"read(3<{BASE}/{CHANNEL}/queue>, 0x1, 8) = 8",
        f"close(3<{BASE}/{CHANNEL}/queue>) = 0",
        'openat(AT_FDCWD</>, "/usr/lib/some/module", O_RDONLY) = 3',
        'write(1<pipe:[2]>, "{", 1) = 1',
        'write(1<pipe:[2]>, "}", 1) = 1',
    )
    assert found == {
        *("read:2:KILL", "read:2:EAGAIN", "read:2:EAGAIN+", "read:2:EIO", "read:2:EIO+"),
        "read:2:EINTR",  # for ever it may be repeated for ever
        "close:1:KILL",  # an injected error would leave it open, which no system does
        "write:1:KILL",
    }


@pytest.mark.parametrize(
    ("line", "errors"),
    [
        (f'open("{BASE}/tmp/5", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3', listing.CREATE),
        (f'open("{BASE}/{CHANNEL}/queue", O_WRONLY) = 3', listing.CREATE[1:]),
        (f'newfstatat(3<{BASE}>, "", {{...}}, AT_EMPTY_PATH) = 0', ("ENOMEM", "EIO")),
        (f'newfstatat(3<{BASE}>, "tmp", {{...}}, 0) = 0', ("ENOMEM", "EACCES", "EIO", "ENOENT")),
        (f'write(3<{BASE}/tmp/5>, "x", 1) = 1', ("ENOSPC", "EIO", "EINTR")),
        (f'write(3<{BASE}/{CHANNEL}/queue>, "x", 1) = 1', ("EAGAIN", "EIO", "EINTR")),
        (f"poll([{{fd=3<{BASE}/{CHANNEL}/queue>}}], 1, 0) = 1 ([{{fd=3}}])", ("ENOMEM", "EINTR")),
        (f"lseek(3<{BASE}/tmp/5>, 0, SEEK_SET) = 0", ()),
        (f"fcntl(3<{BASE}/{CHANNEL}/queue>, F_GETPIPE_SZ) = 65536", ("EINVAL", "ENOTTY")),
        (f"ioctl(3<{BASE}/{CHANNEL}/queue>, FIONREAD, [0]) = 0", ("EINVAL", "ENOTTY")),
        (f"fcntl(3<{BASE}/{CHANNEL}/queue>, F_SETPIPE_SZ, 4096) = 0", ("EBUSY", "ENOMEM", "EPERM")),
        (f"fcntl(3<{BASE}/tmp>, F_DUPFD_CLOEXEC, 0) = 4", ("EMFILE",)),
        (f"fcntl(3<{BASE}/tmp>, F_SETFD, FD_CLOEXEC) = 0", ()),
    ],
)
def test_errors_are_those_that_the_call_can_have(line: str, errors: tuple[str, ...]) -> None:
    assert listing.errors(call(line)) == errors


def test_a_removal_does_not_fail_for_ever_with_what_cannot_last() -> None:
    found = listed(f'unlink("{BASE}/tmp/5") = 0', f'rename("{BASE}/tmp/a", "{BASE}/b") = 0')
    assert "unlink:1:ENOENT" in found
    assert "unlink:1:ENOENT+" not in found
    assert "rename:1:ENOENT+" in found


@pytest.mark.parametrize("text", ["link:1:EIO", "link:12:EIO+", "link:1:KILL"])
def test_a_point_is_repeated_by_what_is_told_of_it(text: str) -> None:
    assert str(listing.parse(text)) == text


@pytest.mark.parametrize("text", ["", "link", "link:0:EIO", "link:1:KILL+", "link:1:eio"])
def test_no_point(text: str) -> None:
    with pytest.raises(ValueError, match="is no point"):
        listing.parse(text)


def test_a_sample_is_spread_evenly_and_the_same_each_time() -> None:
    points = [("x", Point("link", n, "EIO")) for n in range(100)]
    assert [point.nth for _, point in listing.sample(points, 4)] == [12, 37, 62, 87]
    assert listing.sample(points, 100) == points


def test_a_lasting_error_ends_where_it_would_be_none() -> None:
    """An open file is never gone, and the driver's conversation says nothing."""
    injected = "-1 ENOENT (No such file or directory) (INJECTED)"
    look = f'statx(AT_FDCWD</>, "{BASE}", 0) = {injected}'
    calls = [
        call(line) for line in (look, look, f'statx(3<{BASE}>, "", AT_EMPTY_PATH) = {injected}')
    ]
    point = Point("statx", 1, "ENOENT", ever=True)
    assert listing.bound(point, None, calls, {}) == 2
    assert listing.bound(point, 2, calls[:2], {}) is None
    own = call('read(0<pipe:[1]>, "", 4096) = -1 EIO (x) (INJECTED)')
    assert listing.bound(Point("read", 1, "EIO", ever=True), None, [own], {"read": 0}) == 0


def test_a_lasting_error_lasts_as_long_as_the_operation() -> None:
    """It ends before the reply, also if the operation makes more calls than without the error."""
    to_queue = f'write(3<{BASE}/{CHANNEL}/queue>, "x", 1) = '
    reply = call('write(1<pipe:[1]>, "{}", 3) = 3')
    own = listing.conversation([call(f"{to_queue}1"), call(f"{to_queue}1"), reply])
    assert own == {"write": 2}
    failed, worked = call(f"{to_queue}-1 EIO (x) (INJECTED)"), call(f"{to_queue}1")
    point = Point("write", 1, "EIO", ever=True)
    assert listing.bound(point, 2, [failed, failed, reply], own) is None
    assert listing.bound(point, 2, [failed, failed, worked, reply], own) == 3
    assert listing.bound(point, 3, [failed, failed, failed, worked, reply], own) is None


def test_what_a_failed_call_was_about() -> None:
    link = Hit(call(f'link("{BASE}/tmp/5", "{BASE}/{CHANNEL}/5") = -1 EIO (x) (INJECTED)'), BASE)
    assert (link.channel, link.entry, link.staged, link.removes) == (CHANNEL, CHANNEL, True, False)
    staged = Hit(call(f'unlinkat(3<{BASE}>, "tmp/5", 0) = -1 EIO (x) (INJECTED)'), BASE)
    assert (staged.channel, staged.entry, staged.staged, staged.removes) == (
        *(None, "tmp/5"),
        *(True, True),
    )


# --- what is found ---

needs_strace = pytest.mark.skipif(sys.platform != "linux", reason="strace is there on Linux only")


def run(mutant: Mutant, directory: Path, operation: str, *points: str) -> faults.Run:
    return run_points(mutant.command(directory), operation, *points)


def run_points(command: Sequence[str], operation: str, *points: str) -> faults.Run:
    result = faults.run(
        command,
        operations=[operation],
        only=list(map(listing.parse, points)),
        workers=1,
    )
    if result.not_run:
        pytest.skip(result.not_run)
    assert not result.failed
    return result


FAULTY = [
    (
        FORGETS_THE_STAGED_FILE,
        "publish-one",
        "getdents64:1:EIO",
        "PUB-14: a publish that returns leaves no staged file",
    ),
    (
        LEAKS_A_DESCRIPTOR,
        "publish-several",
        "link:2:EIO",
        "BASE-16: after an error no descriptor stays open",
    ),
    (
        GIVES_THE_ID_UP,
        "fetch",
        "newfstatat:1:EIO",
        "FETCH-8: all that the queue took is yielded once, in order",
    ),
    (
        NOTES_WHAT_IT_PUBLISHES,
        "publish-one",
        "link:1:KILL",
        "REAP-3: reaping leaves nothing of the dead behind",
    ),
    (
        mutants.of("INLINE-4"),
        "open-inline",
        "mknodat:2:ENOSPC",
        "INLINE-4: a channel that cannot be marked opens without a marker",
    ),
    (
        mutants.of("INLINE-14"),
        "publish-inline",
        "openat:1:ENOSPC",
        "INLINE-14: where staging fails, a marked channel gets the message",
    ),
    (
        TAKES_SILENCE_FOR_FULL,
        "publish-kept",
        "ioctl:1:ENOTTY+",
        "INLINE-12: a queue takes a record, also if it does not say how full it is",
    ),
    (
        TAKES_A_REFUSAL_FOR_FULL,
        "publish-kept",
        "write:1:EAGAIN",
        "INLINE-16: a record that a queue refuses is sent by file",
    ),
    (
        DROPS_A_BATCH,
        "fetch-inline",
        "openat:1:EMFILE",
        "FETCH-8: all that the queue took is yielded once, in order: first, second, third",
    ),
    (
        REPORTS_A_QUEUE_THAT_STAYS_LARGE,
        "close-inline",
        "fcntl:1:EPERM",
        "INLINE-25: an error of reading the queue empty, or of its size, is ignored",
    ),
]


@needs_strace
@pytest.mark.parametrize(
    ("mutant", "operation", "point", "words"), FAULTY, ids=[one[1] for one in FAULTY]
)
def test_a_mutant_that_only_a_fault_shows(
    mutant: Mutant, operation: str, point: str, words: str, tmp_path: Path
) -> None:
    """It behaves where nothing fails, and is caught where something does, in the right words."""
    result = run(mutant, tmp_path / "mutant", operation, point)
    assert result.verdict is Verdict.BROKEN
    (violation,) = result.violations  # of the point, and none of the dry run
    assert str(violation.point) == point
    assert words in " ".join(problem.expected for problem in violation.problems)
    assert f"--operation {operation} --point {point}" in result.repeat(violation)


@needs_strace
@pytest.mark.parametrize(
    ("requirement", "operation"), [("INLINE-1", "open-inline"), ("INLINE-25", "close-inline")]
)
def test_a_mutant_that_shows_without_a_fault(
    requirement: str, operation: str, tmp_path: Path
) -> None:
    result = run(mutants.of(requirement), tmp_path / "mutant", operation, "close:1:KILL")
    (violation,) = (each for each in result.violations if each.point is None)
    assert [problem.requirement for problem in violation.problems] == [requirement]


@needs_strace
def test_a_crash_shows_what_is_linked_before_it_is_whole(tmp_path: Path) -> None:
    """The call at which the process is killed is not done: what it had done before lies open."""
    result = run(mutants.of("PUB-5"), tmp_path / "mutant", "publish-one", "write:2:KILL")
    (violation,) = result.violations
    assert "PUB-5" in " ".join(problem.expected for problem in violation.problems)


@needs_strace
@pytest.mark.parametrize("operation", ["publish-kept", "wait-inline", "close-inline"])
def test_the_lane_without_a_fault(operation: str, tmp_path: Path) -> None:
    """Their checks hold for the reference, and so does a point of each that failed once."""
    points = {"publish-kept": ["write:1:EAGAIN"], "close-inline": ["fcntl:1:EPERM"]}
    result = run(REFERENCE, tmp_path / "whole", operation, *points.get(operation, ["write:1:KILL"]))
    assert (result.verdict, result.violations) == (Verdict.CONFORMS, [])


@needs_strace
def test_the_reference_keeps_what_it_promises_of_records(tmp_path: Path) -> None:
    """Also where it did not once: a look at the staged file, and a listing, that fail."""
    points = ["newfstatat:3:EIO", "openat:2:EINTR", "newfstatat:2:ENOENT"]
    result = run(REFERENCE, tmp_path / "whole", "publish-inline", *points)
    assert (result.verdict, result.violations) == (Verdict.CONFORMS, [])
    assert result.tallies["publish-inline"].run == {"error": 3}


@needs_strace
def test_c_keeps_what_it_promises_of_records(tmp_path: Path) -> None:
    """Also where it did not once: looks at a kept queue, and at others, that fail."""
    settings = "CFLAGS=-O0", "WARN=-std=c11 -w"
    driver = build(copy_sources(tmp_path / "c"), "driver", *settings)
    result = run_points([str(driver)], "publish-kept", "newfstatat:2:EIO+", "openat:1:ENOENT")
    assert (result.verdict, result.violations) == (Verdict.CONFORMS, [])


@needs_strace
def test_the_reference_keeps_what_it_promises(tmp_path: Path) -> None:
    """Also where it did not once: the count of an error, the end of what is repeated."""
    points = ["link:1:KILL", "link:2:EIO", "link:1:EMLINK+", "unlink:1:EACCES"]
    result = run(REFERENCE, tmp_path / "whole", "publish-several", *points)
    assert (result.verdict, result.violations) == (Verdict.CONFORMS, [])
    assert result.tallies["publish-several"].run == {"crash": 1, "error": 3}
    assert result.as_dict()["operations"]["publish-several"]["error"] == 3


@needs_strace
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    driver = Path(__file__).parents[2] / "conformance/implementations/reference/driver.py"
    command = [sys.executable, str(driver)]
    kit = [sys.executable, "-m", "pubsub_conformance", "faults", "--home", str(tmp_path)]
    with begun([*kit, "--", *command], start_new_session=True) as run:
        assert run.stderr
        assert "dry runs" in run.stderr.readline()  # it is at work
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: strace gets it, too
        told, errors = run.communicate()
    if "NOT RUN" in told:
        pytest.skip(told)
    assert run.returncode == 2, told + errors
    assert "interrupted" in told
    assert "0 violations" in told
    assert list(tmp_path.iterdir()) == []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # somebody else's
            assert str(tmp_path).encode() not in path.read_bytes(), "a driver lives on"


def test_without_strace_nothing_is_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says "not run", with the reason, and never that anything passed.

    It makes no scene: on a system without strace, there may be no /proc that a scene looks at.
    """
    monkeypatch.setattr(scenes.Stage, "scene", None)
    true = shutil.which("true")
    assert true
    (tmp_path / "true").symlink_to(true)
    monkeypatch.setenv("PATH", str(tmp_path))
    driver = Path(__file__).parents[2] / "conformance/implementations/reference/driver.py"
    assert main(["faults", "--operation", "fetch", "--", sys.executable, str(driver)]) == 2
    assert "NOT RUN: forcing an interleaving needs strace" in capsys.readouterr().out
