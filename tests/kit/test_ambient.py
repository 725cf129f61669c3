"""What surrounds a run changes no verdict, and nothing of a run is left."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pubsub_conformance import fuzz, requirements
from pubsub_conformance.commands import main
from pubsub_conformance.driver import group
from pubsub_conformance.fuzz import planting
from pubsub_conformance.matrix import run as matrix
from pubsub_conformance.sockets import make_socket
from toykit import CLI, HELD, Kit, makes_kits

kit = pytest.fixture(makes_kits)


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYTEST_ADDOPTS", "-k test_pass"),
        ("PYTEST_ADDOPTS", "--collect-only"),
        ("PYTEST_ADDOPTS", "--nonsense"),
        ("PYTEST_PLUGINS", "nonsense"),
    ],
)
def test_settings_of_pytest_change_nothing(
    kit: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch, name: str, value: str, workers: str
) -> None:
    monkeypatch.setenv(name, value)
    result = kit().run("-n", workers, "--requirement=PUB-2", "--requirement=PUB-8")
    assert result.outcomes == {"PUB-2": "fail", "PUB-8": "pass"}
    assert result.code == 1


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_test_that_was_not_started_is_not_run(kit: Callable[..., Kit], workers: str) -> None:
    toy = kit()
    options = ["--driver", shlex.join(toy.driver), "--json", "report.json", "-n", workers]
    names = ("PUB-1", "PUB-2", "PUB-8")
    selected = [f"--requirement={name}" for name in names]
    result = toy.pytest(*options, *selected, "-k", "test_pass")
    assert result.outcomes == dict.fromkeys(names, "not run")
    assert result.entry("PUB-1")["reason"] == "1 of 2 tests: the test was not started"
    assert result.code == 2


@pytest.fixture(params=["run", "list", "help"])
def arguments(request: pytest.FixtureRequest, kit: Callable[..., Kit]) -> list[str]:
    """Command lines that print much and end with 0."""
    toy = kit()
    run = ["run", "-n", "0", "--requirement=PUB-8", "--", *toy.driver]
    given = {"run": run, "list": ["list"], "help": ["run", "--help"]}[request.param]
    return [sys.executable, "-c", CLI, *given]


def ended(arguments: list[str], where: Path, stdout: int, **env: str) -> tuple[int, str]:
    """The exit code and stderr of a command line."""
    path = os.pathsep.join([str(Path(requirements.PACKAGE).parent), str(where)])
    done = subprocess.run(
        arguments,
        cwd=where,
        env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "", **env},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_output_in_ascii_is_as_good(tmp_path: Path, arguments: list[str]) -> None:
    code, err = ended(arguments, tmp_path, subprocess.DEVNULL, PYTHONIOENCODING="ascii")
    assert (code, err) == (0, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_is_no_verdict(
    tmp_path: Path, arguments: list[str], unbuffered: str
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code, err = ended(arguments, tmp_path, writing, PYTHONUNBUFFERED=unbuffered)
    os.close(writing)
    assert "Traceback" not in err
    if not (unbuffered and "--help" in arguments):  # argparse itself ignores the error
        assert code == 2
        # To read the beginning of a list is no error; a verdict that nobody read is.
        assert ("Broken pipe" in err) == ("list" not in arguments)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_no_verdict(tmp_path: Path, arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        code, err = ended(arguments, tmp_path, full.fileno())
    assert code == 2
    assert {*err.splitlines()} == {f"stdout: {OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))}"}


def test_an_exception_of_the_kit_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load() -> None:
        raise RuntimeError("this is a fault of the kit")

    monkeypatch.setattr(requirements, "load", load)
    assert main(["list"]) == 2
    assert "this is a fault of the kit" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["matrix", "fuzz"])
def test_an_exception_of_the_kit_leaves_a_report(
    kit: Callable[..., Kit],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    toy = kit()
    path = toy.directory / "report.json"
    driver = [sys.executable, str(toy.directory / "driver.py")]
    arguments = ["matrix", f"a={shlex.join(driver)}", "--json", str(path)]
    if command == "fuzz":
        arguments = ["fuzz", "--target=requests", "--json", str(path), "--", *driver]

    def crash(*_: object) -> None:
        raise RuntimeError("this is a fault of the kit")

    monkeypatch.setattr(matrix, "judge", crash)
    monkeypatch.setattr(fuzz._Search, "draw", crash)
    assert main(arguments) == 2
    assert "this is a fault of the kit" in capsys.readouterr().err
    assert json.loads(path.read_text())["interrupted"]


@pytest.mark.parametrize("listing", [group._by_proc, group._by_ps])
def test_a_zombie_does_not_run(
    monkeypatch: pytest.MonkeyPatch, listing: Callable[[int], Iterator[tuple[int, str]]]
) -> None:
    if listing is group._by_proc and not (group.PROC / "self" / "stat").exists():
        pytest.skip("this system does not have it")
    assert os.getpid() in [pid for pid, _ in listing(os.getpgrp())]
    monkeypatch.setattr(group, "_by_proc", listing)
    monkeypatch.setattr(group, "_by_ps", listing)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True) as process:
        assert group.running(process.pid) == [process.pid]
        assert process.stdin
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(PermissionError):  # so macOS says it of a group of zombies
            os.killpg(process.pid, 0)  # it is there, as a zombie
        assert group.running(process.pid) == []


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_run_leaves_nothing_among_temporary_files(
    kit: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch, workers: str, interrupted: bool
) -> None:
    suite = """
import os, pytest

@pytest.mark.requirement("PUB-1")
def test_pass(driver, home, tmp_path):
    home.mkdir()
    (home / "closed").mkdir()
    (home / "closed" / "file").touch()
    (home / "closed").chmod(0)"""
    toy = kit(suite + HELD)
    process, temporary = toy.start_held(monkeypatch, "-n", workers, "--requirement=PUB-1")
    if interrupted:
        os.killpg(process.pid, signal.SIGINT)
    else:
        (toy.directory / "go on").write_text("")
    assert toy.finish(process).code == (2 if interrupted else 0)
    assert list(temporary.iterdir()) == []


def test_a_base_does_not_inherit_a_group(kit: Callable[..., Kit]) -> None:
    suite = """
import os, pytest, stat

@pytest.mark.requirement("PUB-1")
def test_pass(home):
    status = home.parent.stat()
    assert status.st_gid == os.getegid()
    assert stat.S_IMODE(status.st_mode) == 0o700
"""
    toy = kit(suite)
    where = toy.directory / "where"
    where.mkdir()
    if os.geteuid() == 0:
        os.chown(where, -1, 4711)
    where.chmod(0o2777)
    result = toy.run("--home", str(where), "--requirement=PUB-1")
    assert result.outcomes == {"PUB-1": "pass"}, result.out


def test_a_socket_in_a_long_path(tmp_path: Path) -> None:
    here = os.getcwd()
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    make_socket(directory / "socket")
    assert stat.S_ISSOCK((directory / "socket").stat().st_mode)
    with pytest.raises(OSError, match="too long") as refused:
        make_socket(directory / ("s" * 120))
    assert refused.value.errno == errno.ENAMETOOLONG
    assert os.getcwd() == here


def test_an_entry_that_cannot_be_planted_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the fuzzer would take it for something that the driver left."""

    def refused(path: Path, kind: str) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)

    monkeypatch.setattr(planting, "make_special", refused)
    planter = planting.Planter(tmp_path, {"base": tmp_path})
    planter.plant("base", "a", "queue socket", None)
    assert (planter.planted, list(tmp_path.iterdir())) == ([], [])
