"""What a shell, a container or a CI server hands down changes no verdict; signals leave nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from interrupted import begun
from mutation import ROOT
from toykit import CLI, HELD, Kit, makes_kits

kit = pytest.fixture(makes_kits)

REFERENCE = [sys.executable, str(ROOT / "conformance/implementations/reference/driver.py")]

# What a driver gets is what the process that starts it has. A child's own exit status is seen only
# where SIGCHLD is not ignored.
SUITE = """
import os, pytest, resource, signal, subprocess, sys

@pytest.mark.requirement("PUB-1")
def test_pass(driver, home, tmp_path):
    assert driver.publish("a") == 1
    assert os.umask(0o022) == 0o022
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    assert subprocess.run(["sh", "-c", "exit 3"]).returncode == 3
    assert subprocess.run(["sh", "-c", "kill -TERM $$"]).returncode == -signal.SIGTERM
    limits = (resource.RLIMIT_NOFILE, resource.RLIMIT_STACK, resource.RLIMIT_CORE)
    assert [resource.getrlimit(limit)[0] for limit in limits] == [1024, 8 * 2**20, 0]
    assert all(os.path.exists(f"/dev/fd/{number}") for number in range(3))
    kept = {name for name in os.environ if name.startswith(("PYTHON", "LC_"))}
    assert kept <= {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "LC_ALL"}
    assert (sys.flags.optimize, sys.warnoptions) == (0, [])
    assert "PYTEST_ADDOPTS" not in os.environ

@pytest.mark.requirement("PUB-2")
def test_fail(driver):
    assert driver.publish("a") == 2
"""


def after(program: str) -> list[str]:
    """The prefix of a command that runs it after a program in Python."""
    run = "import os, sys\nos.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-c", f"{program}\n{run}"]


def after_shell(script: str) -> list[str]:
    """The prefix of a command that runs it after a script."""
    return ["sh", "-c", f'{script}\nexec "$@"', "sh"]


IGNORE = "import signal\nsignal.signal(signal.{}, signal.SIG_IGN)"
BLOCK = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())"

SURROUNDINGS = {
    "usual": [],
    "no HOME": ["env", "-u", "HOME"],
    "HOME that is not there": ["env", "HOME=/nonexistent"],
    "relative TMPDIR": ["env", "TMPDIR=a b"],
    "TMPDIR that is not there": ["env", "TMPDIR=/nonexistent"],
    "PUBSUB_HOME": ["env", "PUBSUB_HOME=/nonexistent"],
    "umask 000": after_shell("umask 000"),
    "umask 077": after_shell("umask 077"),
    "ASCII": ["env", "LC_ALL=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0"],
    "locale that is not there": ["env", "LC_ALL=tr_TR.ISO-8859-9", "LANGUAGE=tr"],
    "zone": ["env", "TZ=Asia/Kathmandu"],
    "warnings are errors": ["env", "PYTHONWARNINGS=error"],
    "no assertions": ["env", "PYTHONOPTIMIZE=2"],
    "development mode": ["env", "PYTHONDEVMODE=1"],
    "hash seed": ["env", "PYTHONHASHSEED=7"],
    "safe path": ["env", "PYTHONSAFEPATH=1"],
    "unbuffered": ["env", "PYTHONUNBUFFERED=1"],
    "CI": ["env", "CI=true", "GITHUB_ACTIONS=true"],
    "narrow": ["env", "COLUMNS=1"],
    "colours": ["env", "FORCE_COLOR=1", "PY_COLORS=1", "TERM=xterm-256color"],
    "dumb terminal": ["env", "TERM=dumb"],
    "hypothesis": ["env", "HYPOTHESIS_PROFILE=mine"],
    "in a worker of xdist": ["env", "PYTEST_XDIST_WORKER=gw0"],
    "stdin closed": after_shell("exec <&-"),
    "stderr closed": after_shell("exec 2>&-"),
    "all closed": after_shell("exec <&- >&- 2>&-"),
    "inherited descriptors": after(
        "import os\nfor _ in range(9):\n    os.set_inheritable(os.open('.', os.O_RDONLY), True)"
    ),
    "SIGCHLD ignored": after(IGNORE.format("SIGCHLD")),
    "SIGPIPE ignored": after(IGNORE.format("SIGPIPE")),
    "SIGTERM ignored": after(IGNORE.format("SIGTERM")),
    "nohup": after(IGNORE.format("SIGHUP")),
    "in the background": after(IGNORE.format("SIGINT")),
    "signals blocked": after(BLOCK),
    "few descriptors": after_shell("ulimit -Sn 64"),
    "no files": after_shell("ulimit -Sf 0"),
    "little stack": after_shell("ulimit -Ss 512"),
    "core dumps": after_shell("ulimit -Sc unlimited 2>/dev/null || :"),
    "pytest.ini": after("open('pytest.ini', 'w').write('[pytest]\\naddopts = --nonsense')"),
    "tox.ini": after("open('tox.ini', 'w').write('[pytest]\\naddopts = --nonsense')"),
    "pyproject.toml": after("open('pyproject.toml', 'w').write('[tool.pytest')"),
}


def command(toy: Kit, *options: str) -> list[str]:
    """A run of the kit, whose driver and files have absolute paths."""
    report = str(toy.directory / "report.json")
    driver = [sys.executable, str(toy.directory / "driver.py")]
    # A file, as the command itself is: in a directory that was removed, `-c` of Python 3.13 fails.
    program = toy.directory / "cli.py"
    program.write_text(CLI)
    return [sys.executable, str(program), "run", *options, "--json", report, "--", *driver]


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_what_surrounds_a_run_changes_no_verdict(kit: Callable[..., Kit], name: str) -> None:
    toy = kit(SUITE)
    (toy.directory / "a b").mkdir()
    selected = ("-n", "1", "--requirement=PUB-1", "--requirement=PUB-2")
    done = subprocess.run(
        [*SURROUNDINGS[name], *command(toy, *selected)],
        cwd=toy.directory,
        env=toy.environment(),
        capture_output=True,
        check=False,
    )
    report = json.loads((toy.directory / "report.json").read_text())
    outcomes = {entry["id"]: entry["outcome"] for entry in report["requirements"]}
    assert outcomes == {"PUB-1": "pass", "PUB-2": "fail"}, (done.stdout, done.stderr)
    assert done.returncode == 1
    assert list((toy.directory / "a b").iterdir()) == []


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        (after_shell("ulimit -n 64"), "the kit needs 256 descriptors"),
        (after_shell("ulimit -f 8"), "files must be allowed to have"),
        (after("import os\nos.mkdir('x')\nos.chdir('x')\nos.rmdir('../x')"), "current directory"),
    ],
    ids=["descriptors", "files", "directory"],
)
def test_what_the_machine_lacks_is_no_verdict(
    kit: Callable[..., Kit], prefix: list[str], reason: str
) -> None:
    toy = kit(SUITE)
    done = subprocess.run(
        [*prefix, *command(toy)],
        cwd=toy.directory,
        env=toy.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("nothing can be judged: ")
    assert reason in done.stderr


@pytest.mark.parametrize("name", ["queue", "random", "json", "pytest"])
def test_a_worker_imports_nothing_from_the_current_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("raise RuntimeError('this is not for the kit')")
    program = "import sys\nfrom pubsub_conformance.commands import main\nsys.exit(main())"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kit.py").write_text(program)
    selected = ["-n", "2", "--requirement=TOPIC-3"]
    arguments = [sys.executable, str(tmp_path / "bin" / "kit.py"), "run", *selected, "--"]
    done = subprocess.run(
        [*arguments, *REFERENCE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_progress_that_cannot_be_written_changes_no_verdict(tmp_path: Path) -> None:
    arguments = ["fuzz", "--target=decode", "--inputs=1", "--home", str(tmp_path), "--", *REFERENCE]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pubsub_conformance", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=full,
            check=False,
        )
    assert done.returncode == 0


COMMANDS = {
    "fuzz": ["fuzz", "--seconds=60"],
    "stress": ["stress", "--seconds=60"],
    "soak": ["soak", "--seconds=60"],
    "faults": ["faults"],
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_ends_a_command_with_a_report_and_leaves_nothing(
    tmp_path: Path, name: str, number: signal.Signals
) -> None:
    if name == "faults" and not shutil.which("strace"):
        pytest.skip("faults needs strace")
    home, report = tmp_path / "home", tmp_path / "report.json"
    home.mkdir()
    options = [*COMMANDS[name], "--home", str(home), "--json", str(report)]
    with begun(
        [sys.executable, "-m", "pubsub_conformance", *options, "--", *REFERENCE],
        env={**os.environ, "TMPDIR": str(home)},
        start_new_session=True,
    ) as process:
        assert process.stderr
        while not re.match(" *[0-9]+ s  ", line := process.stderr.readline()):
            assert line, "the command ended"
        for _ in range(2):  # as `timeout` does
            os.killpg(process.pid, number)
        out, err = process.communicate()
    assert process.returncode == 2, out + err
    assert json.loads(report.read_text())["interrupted"]
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_with_a_report_and_leaves_nothing(
    kit: Callable[..., Kit],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    workers: str,
    group: bool,
) -> None:
    suite = """
import pytest

@pytest.mark.requirement("PUB-1")
def test_pass(driver, home, tmp_path):
    home.mkdir()"""
    toy = kit(suite + HELD)
    process, temporary = toy.start_held(monkeypatch, "-n", workers, "--requirement=PUB-1")
    if group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    result = toy.finish(process)
    assert result.code == 2
    assert result.report["interrupted"]
    assert list(temporary.iterdir()) == []
