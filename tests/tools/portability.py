"""The tests of the reference, and the kit against it, where the machine is another than usual.

    python tests/tools/portability.py               every leg
    python tests/tools/portability.py LEG [LEG…]    only these

A leg that this machine cannot run says why. Where root runs this on Linux with CI set, that is a
failure. Nothing is changed but temporary files: mounts are made in namespaces that end with the
leg. PyPy is left out: Debian 12 has 7.3.11, which is Python 3.9, and pubsub needs 3.10.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from mutants.further import DOES_NOT_ASK_THE_CLOCK
from mutation import ROOT
from pubsub_conformance.linux import Unavailable
from pubsub_conformance.linux.namespace import namespace

DRIVER = "conformance/implementations/reference/driver.py"
SYSTEM_PYTHON = "/usr/bin/python3"
IN_MEMORY = ("tmpfs", "ramfs")
ON_DISK = ("guarantee", "base", "channel", "publish", "fetch", "reap")  # the kit's sections
USER = 54321  # has no name, and no other processes or pipes


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
        """Run a command behind the prefix. What it printed; Failed if it does not exit with 0."""
        done = subprocess.run(
            [*self.prefix, *map(str, command)],
            cwd=self.root,
            env={**os.environ, **self.env},
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if done.returncode:
            words = " ".join(map(str, command))
            raise Failed(f"{done.stdout}\nexit status {done.returncode} of {words}")
        return done.stdout

    def tests(self, home: Path) -> None:
        """The tests of the reference, except those that install formix-pubsub."""
        options = ["-q", "-rfEs", "--tb=short", "-n", "2", f"--basetemp={home / 'tests'}"]
        options += ["--ignore=tests/reference/test_formix.py"]
        options += ["-p", "no:cacheprovider"]  # tox has it where only its own user can write
        out = self.run(self.python, "-m", "pytest", *options, "tests/reference").splitlines()
        show("tests", *(line for line in out if line.startswith("SKIPPED")), out[-1])

    def kit(self, home: Path, *options: str, driver: str | Path = DRIVER) -> None:
        options = ("run", f"--home={home}", *options)
        command = (self.python, "-m", "pubsub_conformance", *options, "--", self.python, driver)
        out = self.run(*command).splitlines()
        left_out = [line.strip() for line in out if re.match(r" +[A-Z]+-[0-9]+ +not run ", line)]
        show("kit", *left_out, *out[-2:])

    def both(self, home: Path, *sections: str) -> None:
        """The tests; and the kit, or only these sections of it, even if they fail."""
        options = [f"--section={name}" for name in sections]
        try:
            self.tests(home)
        except Failed as first:
            try:
                self.kit(home, *options)
            except Failed as second:
                raise Failed(f"{first}\n{second}") from None
            raise
        self.kit(home, *options)


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
    told = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True)
    if told.returncode:
        raise NotRun(f"the type of the file system is not told: {told.stderr.strip()}")
    return told.stdout.strip()


def in_namespace(script: str, *arguments: str | Path) -> tuple[str, ...]:
    """The prefix that runs a command in a mount namespace, in which the script was run first.

    The script finds the arguments as $1, $2, …, and has to shift them away.
    """
    try:
        return namespace(script, *map(str, arguments))
    except Unavailable as lacking:
        raise NotRun(str(lacking)) from lacking


# --- the legs ---


def disk() -> None:
    """A base on a file system of a disk."""
    for place in ("/var/tmp", "/tmp", str(ROOT)):
        if (kind := file_system(place)) not in IN_MEMORY:
            break
    else:
        raise NotRun(f"no disk under /var/tmp, /tmp or {ROOT}")
    print(f"  {place} is {kind}")
    with directory(place) as home:
        Setting().both(home)


def tmpfs() -> None:
    """A base in memory, where the default one is; not what the kit tests without a base."""
    if (kind := file_system("/dev/shm")) != "tmpfs":
        raise NotRun(f"/dev/shm is {kind}")
    with directory("/dev/shm") as home:
        Setting().both(home, *ON_DISK)


HIDE_SHM = """
mount -t tmpfs tmpfs "$1"
for name in null zero full random urandom tty; do
    touch "$1/$name"
    mount --bind "/dev/$name" "$1/$name"
done
ln -s /proc/self/fd "$1/fd"
mount --move "$1" /dev
shift
test ! -e /dev/shm
"""
USE_DEFAULT = """
from pubsub import Channel, fetch, publish

with Channel("a") as channel:
    assert publish("a", b"x") == 1
    assert fetch(channel).content == b"x"
    print(channel.directory_path.parent)
"""


def no_shm() -> None:
    """No /dev/shm: for the default base (BASE-2), and for semaphores of Python's.

    The kit's own test of that default hides a /dev/shm, and so is not run where there is none.
    What else the kit tests has no business there, and stays out.
    """
    with directory() as home:
        (home / "dev").mkdir()
        env = {"TMPDIR": str(home)}
        setting = Setting(prefix=in_namespace(HIDE_SHM, home / "dev"), env=env)
        default = replace(setting, env={**env, "PUBSUB_HOME": ""})
        found = default.run(setting.python, "-c", USE_DEFAULT).strip()
        if found != f"{home}/pubsub":
            raise Failed(f"the default base was {found}, with TMPDIR={home}")
        print("  the default base is in TMPDIR")
        setting.both(home, "base")


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
    setting.run(*pip, "--root-user-action=ignore", "-e.", "-e./conformance", "--group=test")
    for name in ("home", "tmp"):
        (clone / name).mkdir()
    print(f"  Python {tried.stdout.split()[1]} in a clone under /var/tmp")
    setting = replace(setting, env={"HOME": f"{clone}/home", "TMPDIR": f"{clone}/tmp"})
    if os.geteuid() != 0:
        return setting
    setting.run("chown", "--recursive", "--no-dereference", f"{USER}:{USER}", ".")
    return replace(setting, user=USER)


def user() -> None:
    """A user without privileges, and for root one without a name; the system's own Python."""
    setting = unprivileged()
    setting.both(setting.root / "tmp")


# Pipes count per user, in pages; beyond fs.pipe-user-pages-soft a new one gets the fewest that
# there are. Large ones come to that sooner. Some small ones more, lest the processes that this
# user has besides give enough back.
HOLD_PIPES = """
import fcntl, os, subprocess, sys, tempfile
from contextlib import suppress

page = os.sysconf("SC_PAGE_SIZE")
with open("/proc/sys/fs/pipe-max-size") as file:
    largest = int(file.read())
held, small = [], 0
while small < 256:
    held.append(os.pipe())
    small += fcntl.fcntl(held[-1][0], fcntl.F_GETPIPE_SZ) <= 2 * page
    with suppress(PermissionError):
        fcntl.fcntl(held[-1][0], fcntl.F_SETPIPE_SZ, largest)
with tempfile.TemporaryDirectory() as directory:
    os.mkfifo(f"{directory}/queue")
    reading = os.open(f"{directory}/queue", os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(f"{directory}/queue", os.O_WRONLY | os.O_NONBLOCK)
    ids = 0
    with suppress(BlockingIOError):
        while os.write(writing, bytes(8)):
            ids += 1
if 8 * ids not in (page, 2 * page):
    sys.exit(f"a FIFO still takes {ids} ids")
if not sys.argv[1:]:
    print(f"a FIFO takes {ids} ids")
else:
    sys.exit(subprocess.run(sys.argv[1:]).returncode)
"""


def small_queues() -> None:
    """Queues of the smallest size that the system has: what fills them or waits for room."""
    if sys.platform != "linux":
        raise NotRun("only Linux has queues of several sizes")
    setting = unprivileged()
    setting = replace(setting, prefix=(setting.python, "-c", HOLD_PIPES))
    print(" ", setting.run().strip())
    setting.both(setting.root / "tmp", "guarantee", "publish", "fetch")


MOUNT_RAMFS = """
mount -t ramfs ramfs "$1"
chmod 755 "$1"
shift
"""


def coarse_clock() -> None:
    """File times that tick as coarsely as they do on ramfs: which listing may be used again.

    Only there do two changes fall into one tick so often that a publisher that does not mind must
    be found out: if that one passes too, the leg has proved nothing.
    """
    careless = DOES_NOT_ASK_THE_CLOCK
    with directory() as outside:
        home, report = outside / "ramfs", outside / "report.json"
        for path in (home, outside / "mutant"):
            path.mkdir()
        # In /tmp, pytest wants a directory of root's; who is root here only may not use it.
        env = {"TMPDIR": str(outside)}
        setting = Setting(prefix=in_namespace(MOUNT_RAMFS, home), env=env)
        setting.kit(home, "--requirement=PUB-21", "--requirement=GUAR-5")
        driver = careless.driver(outside / "mutant")
        try:
            setting.kit(home, "--requirement=PUB-21", f"--json={report}", driver=driver)
        except Failed as failed:
            verdicts = json.loads(report.read_text())["requirements"] if report.exists() else []
            if [verdict["outcome"] for verdict in verdicts] != ["fail"]:
                raise Failed(f"the mutant was not judged\n{failed}") from None
            print(f"  a mutant ({careless.what}) fails")
        else:
            raise Failed(f"a mutant passes ({careless.what})")


LEGS: dict[str, Callable[[], None]] = {
    "disk": disk,
    "tmpfs": tmpfs,
    "no-shm": no_shm,
    "user": user,
    "small-queues": small_queues,
    "coarse-clock": coarse_clock,
}


def main() -> int:
    os.chdir(ROOT)
    strict = bool(os.environ.get("CI")) and sys.platform == "linux" and os.geteuid() == 0
    counts = {"passed": 0, "failed": 0, "not run": 0}
    for name in sys.argv[1:] or LEGS:
        print(f"{name}: {(LEGS[name].__doc__ or '').splitlines()[0]}", flush=True)
        began = time.monotonic()
        try:
            LEGS[name]()
            verdict = "passed"
        except NotRun as reason:
            print(f"  {reason}")
            verdict = "not run"
        except Failed as failed:
            print(failed)
            verdict = "failed"
        counts[verdict] += 1
        print(f"{name}: {verdict}, {time.monotonic() - began:.0f} s", flush=True)
    print(", ".join(f"{number} {verdict}" for verdict, number in counts.items()))
    return 1 if counts["failed"] or (strict and counts["not run"]) else 0


if __name__ == "__main__":
    sys.exit(main())
