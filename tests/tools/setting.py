"""What the legs of portability.py run their commands in: a Python, a user, other surroundings."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import IO

from mutation import ROOT
from pubsub_conformance.linux import Unavailable
from pubsub_conformance.linux.namespace import namespace

DRIVER = "conformance/implementations/reference/driver.py"
SYSTEM_PYTHON = "/usr/bin/python3"
USER = 54321  # has no name, and no other processes or pipes
LIMIT = 900  # seconds for one command; the longest of them takes some minutes
SILENCE = 60  # seconds without a line of ours
PATIENCE = 20  # seconds until a command that is to end is killed
TAIL = 40  # last lines of a failed command that are shown again at the end
ABORTED = {"PYTHONFAULTHANDLER": "1"}  # each Python that is aborted prints where its threads are


class NotRun(Exception):
    """This machine cannot: why."""


class Failed(Exception):
    """What was found."""


@dataclass(frozen=True)
class Setting:
    """What the tests are run with: a Python, a copy of the repository, a user, surroundings."""

    python: str = sys.executable
    root: Path = ROOT
    prefix: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: int | None = None  # other than the present one

    def run(self, *command: str | Path) -> str:
        """Run a command behind the prefix. What it printed; Failed if it does not exit with 0.

        It prints to a file: a pipe ends only when all that the command left behind has ended.
        """
        words = " ".join(map(str, command))
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [*self.prefix, *map(str, command)],
                cwd=self.root,
                env={**os.environ, **ABORTED, **self.env},
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                if not (ended := _await(process, output)):
                    _stop(process, signal.SIGABRT)
            finally:
                _stop(process, signal.SIGINT)
            printed = _printed(output)
        if not ended:
            raise Failed(f"{printed}\nstopped after {LIMIT} s: {words}")
        if process.returncode:
            raise Failed(f"{printed}\nexit status {process.returncode} of {words}")
        return printed

    def tests(self, home: Path, *which: str) -> None:
        """These tests, else those of the reference, except those that install formix-pubsub.

        And except those that raise at each bytecode: nothing of that depends on the surroundings,
        and between the threads of xdist they have come to a standstill.
        """
        options = ["-q", "-rfEs", "--tb=short", "-n", "2", f"--basetemp={home / 'tests'}"]
        options += ["--ignore=tests/reference/test_formix.py"]
        options += ["--ignore-glob=*/test_interrupted*.py"]
        options += ["-p", "no:cacheprovider"]  # tox has it where only its own user can write
        which = which or ("tests/reference",)
        out = self.run(self.python, "-m", "pytest", *options, *which)
        skipped: Counter[str] = Counter()
        for number, reason in re.findall(r"^SKIPPED \[(\d+)\] \S+: (.*)", out, re.MULTILINE):
            skipped[reason] += int(number)
        lines = (f"{number} skipped: {reason}" for reason, number in skipped.items())
        show("tests", *lines, out.splitlines()[-1])

    def kit(self, home: Path, *options: str, driver: Sequence[str | Path] = ()) -> None:
        """The kit against a driver, else against the reference."""
        options = ("run", "-n", "2", f"--home={home}", *options, "--")
        driver = driver or (self.python, DRIVER)
        out = self.run(self.python, "-m", "pubsub_conformance", *options, *driver).splitlines()
        left_out = [line.strip() for line in out if re.match(r" +[A-Z]+-[0-9]+ +not run ", line)]
        show("kit", *left_out, *out[-2:])

    def command(self, *words: str | Path) -> None:
        """Another command of the kit."""
        out = self.run(self.python, "-m", "pubsub_conformance", *words).splitlines()
        show(str(words[0]), out[-1])

    def both(self, home: Path, *sections: str, tests: Sequence[str] = ()) -> None:
        """These tests of the reference, else all; and the kit, even if they fail."""
        which = [f"tests/reference/test_{name}.py" for name in tests]
        options = [f"--section={name}" for name in sections]
        every(lambda: self.tests(home, *which), lambda: self.kit(home, *options))


def every(*steps: Callable[[], None]) -> None:
    """Take each step, even after one has failed."""
    failures = []
    for step in steps:
        try:
            step()
        except Failed as failed:
            print(failed)  # now: the rest may take long
            failures.append(_end(str(failed)))
    if failures:
        raise Failed("\n".join(failures))


def _end(printed: str) -> str:
    """Its last lines, without what the libraries below our code did."""
    of_libraries = ("/site-packages/", 'File "<')
    lines = [
        line for line in printed.splitlines() if not any(part in line for part in of_libraries)
    ]
    return "\n".join(lines[-TAIL:])


def _await(process: subprocess.Popen[bytes], output: IO[bytes]) -> bool:
    """Whether it ended within the limit. From time to time, its last line so far is shown."""
    began = time.monotonic()
    while (taken := time.monotonic() - began) < LIMIT:
        try:
            process.wait(SILENCE)
            return True
        except subprocess.TimeoutExpired:
            last = _printed(output).strip().rpartition("\n")[2]
            show(f"after {taken + SILENCE:.0f} s", last or "nothing printed yet")
    return False


def _stop(process: subprocess.Popen[bytes], first: signal.Signals) -> None:
    """End what still runs. After SIGINT, as after Ctrl-C, it removes what it has made."""
    for number in (first, signal.SIGKILL):
        with suppress(subprocess.TimeoutExpired):
            if process.poll() is None:
                os.killpg(process.pid, number)
                process.wait(PATIENCE)


def _printed(output: IO[bytes]) -> str:
    size = os.fstat(output.fileno()).st_size  # its position is the command's, too
    return os.pread(output.fileno(), size, 0).decode("utf-8", "replace")


def show(what: str, *lines: str) -> None:
    for line in lines:
        print(f"  {what}: {line}", flush=True)


@contextmanager
def directory(below: Path | str | None = None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="portability-", dir=below) as name:
        os.chmod(name, 0o755)  # the kit has other users look into it
        yield Path(name)


def file_system(path: str) -> str:
    """Its type: by `stat`, since a list of mounts has those that others hide, too."""
    try:
        return Setting().run("stat", "-f", "-c", "%T", path).strip()
    except Failed as failed:
        raise NotRun(f"the type of the file system is not known: {failed}") from None


def in_namespace(script: str, *arguments: str | Path) -> tuple[str, ...]:
    """The prefix that runs a command in a mount namespace, in which the script was run first.

    The script finds the arguments as $1, $2, …, and has to shift them away.
    """
    try:
        return namespace(script, *map(str, arguments))
    except Unavailable as lacking:
        raise NotRun(str(lacking)) from lacking


@cache
def unprivileged() -> Setting:
    """The system's own Python, run by a user without privileges in a clone of that user's."""
    program = "import sys, venv; print(sys.version_info >= (3, 10), sys.version.split()[0])"
    try:
        tried = subprocess.run([SYSTEM_PYTHON, "-c", program], capture_output=True, text=True)
    except OSError as error:
        raise NotRun(f"{SYSTEM_PYTHON}: {error.strerror}") from None
    if not tried.stdout.startswith("True"):
        raise NotRun(f"{SYSTEM_PYTHON} is too old or has no venv: {tried.stdout} {tried.stderr}")
    if os.geteuid() == 0 and sys.platform != "linux":
        raise NotRun("only Linux lets go of all privileges with the user id")
    clone = Path(tempfile.mkdtemp(prefix="portability-", dir="/var/tmp"))
    atexit.register(shutil.rmtree, clone)
    os.chmod(clone, 0o755)
    python = f"{clone}/.venv/bin/python"
    # As it is in the working tree, committed or not.
    files = Setting().run(
        *("git", "-c", "safe.directory=*", "ls-files", "-z"),
        *("--cached", "--others", "--exclude-standard"),
    )
    for name in filter(os.path.lexists, files.split("\0")[:-1]):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, clone / name, follow_symlinks=False)
    setting = Setting(python, clone)
    # Without pip of its own: for that, Debian wants a package more.
    setting.run(SYSTEM_PYTHON, "-m", "venv", "--without-pip", ".venv")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q")
    setting.run(*pip, "--root-user-action=ignore", "-e.", "-e./conformance[html]", "--group=test")
    for name in ("home", "tmp"):
        (clone / name).mkdir()
    show("user", f"Python {tried.stdout.split()[1]} in a clone under /var/tmp")
    setting = replace(setting, env={"HOME": f"{clone}/home", "TMPDIR": f"{clone}/tmp"})
    if os.geteuid() != 0:
        return setting
    setting.run("chown", "--recursive", "--no-dereference", f"{USER}:{USER}", ".")
    return replace(setting, user=USER)
