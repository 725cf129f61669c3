"""The tests of the reference, and the kit against it, where the machine is another than usual.

    python tests/tools/portability.py               every leg but the usual one and the long ones
    python tests/tools/portability.py LEG [LEG…]    only these

Of `disk` and `tmpfs`, the usual one is where the temporary directory is: there the other
environments run the same tests.

A leg that this machine cannot run says why. Where root runs this on Linux with CI set, that is a
failure. Nothing is changed but temporary files: mounts are made in namespaces that end with the
leg. PyPy is left out: Debian 12 has 7.3.11, which is Python 3.9, and pubsub needs 3.10.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mutants.further import DOES_NOT_ASK_THE_CLOCK
from mutation import ROOT
from personalities import personality, sample
from setting import (
    DRIVER,
    Failed,
    NotRun,
    Setting,
    directory,
    every,
    file_system,
    in_namespace,
    unprivileged,
)

C_DRIVER = "conformance/implementations/c/driver"
IN_MEMORY = ("tmpfs", "ramfs")
# The kit's sections that need a base.
ON_DISK = ("guarantee", "base", "channel", "publish", "fetch", "reap", "inline")


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
        Setting().both(home, *ON_DISK)


def tmpfs() -> None:
    """A base in memory, where the default one is, and where the kit has run already."""
    if (kind := file_system("/dev/shm")) != "tmpfs":
        raise NotRun(f"/dev/shm is {kind}")
    with directory("/dev/shm") as home:
        Setting().tests(home)


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


def no_shm() -> None:
    """No /dev/shm: for the default base (BASE-2).

    Other tests have no business there, and stay out.
    """
    with directory() as home:
        (home / "dev").mkdir()
        prefix = in_namespace(HIDE_SHM, home / "dev")
        setting = Setting(prefix=prefix, env={"TMPDIR": str(home)})
        setting.both(home, "base", tests=("base", "environment", "fork"))


def user() -> None:
    """A user without privileges, and for root one without a name; the system's own Python.

    The tests of the reference, and all that the kit can do, a short time each. Nothing may be left.
    """
    setting = unprivileged()
    home, reference = setting.root / "tmp", (setting.python, DRIVER)
    setting.run("make", "-s", "-C", "conformance/implementations/c", "driver")
    every(
        lambda: setting.tests(home),
        lambda: setting.kit(home),
        lambda: setting.kit(home, driver=(C_DRIVER,)),
        lambda: setting.command("stress", "--seconds=10", "--", *reference),
        lambda: setting.command("stress", "--chaos", "--seconds=10", "--", *reference),
        lambda: setting.command("faults", "--sample=60", "--", *reference),
        lambda: setting.command("fuzz", "--seconds=10", "--", *reference),
        lambda: setting.command("matrix", f"a={shlex.join(reference)}", f"c={C_DRIVER}"),
    )
    _nothing_is_left(home)


def user_kit() -> None:
    """The same user: the kit's own tests, a quarter of an hour."""
    setting = unprivileged()
    home = setting.root / "tmp"
    setting.run("make", "-s", "-C", "conformance/implementations/c", "driver")
    # These are about the kit alone.
    alone = (
        "test_action.py",
        "test_bench.py",
        "test_browser.py",
        "test_drivers.py",
        "test_faults.py",
        "test_matrix.py",
        "test_mutants.py",
    )
    setting.tests(home, "tests/kit", *(f"--ignore=tests/kit/{name}" for name in alone))
    _nothing_is_left(home)


def _nothing_is_left(home: Path) -> None:
    # pytest keeps the directories of its last runs; some tests of the kit start one of their own.
    own = ("tests", "pytest-of-")
    if left := sorted(name for name in os.listdir(home) if not name.startswith(own)):
        raise Failed(f"left in the temporary directory: {', '.join(left)}")


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
    """Queues of the smallest size that the system has: what fills them, or waits for room."""
    if sys.platform != "linux":
        raise NotRun("only Linux has queues of several sizes")
    setting = unprivileged()
    setting = replace(setting, prefix=(setting.python, "-c", HOLD_PIPES))
    print(" ", setting.run().strip())
    tests = ("channel", "inline", "kept", "nested_inline", "publisher", "subscribe")
    setting.both(setting.root / "tmp", "guarantee", "publish", "fetch", tests=tests)


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
            options = ("--requirement=PUB-21", f"--json={report}")
            setting.kit(home, *options, driver=(setting.python, driver))
        except Failed as failed:
            verdicts = json.loads(report.read_text())["requirements"] if report.exists() else []
            if [verdict["outcome"] for verdict in verdicts] != ["fail"]:
                raise Failed(f"the mutant was not judged\n{failed}") from None
            print(f"  a mutant ({careless.what}) fails")
        else:
            raise Failed(f"a mutant passes ({careless.what})")


def systems() -> None:
    """As on macOS, FreeBSD, OpenBSD and NetBSD: a sample of the legs with these names."""
    sample()


def macos() -> None:
    """As on macOS: the tests, and the kit against the reference and C."""
    personality("macos")


def freebsd() -> None:
    """As on FreeBSD: the same."""
    personality("freebsd")


def openbsd() -> None:
    """As on OpenBSD: the same."""
    personality("openbsd")


def netbsd() -> None:
    """As on NetBSD: the same."""
    personality("netbsd")


LEGS: dict[str, Callable[[], None]] = {
    "disk": disk,
    "tmpfs": tmpfs,
    "no-shm": no_shm,
    "user": user,
    "small-queues": small_queues,
    "coarse-clock": coarse_clock,
    "systems": systems,
}
LONG_LEGS: dict[str, Callable[[], None]] = {
    "user-kit": user_kit,
    "macos": macos,
    "freebsd": freebsd,
    "openbsd": openbsd,
    "netbsd": netbsd,
}


def usual() -> str:
    return "tmpfs" if file_system(tempfile.gettempdir()) in IN_MEMORY else "disk"


def main() -> int:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    # Nothing is left of a run that is cut off.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.chdir(ROOT)
    strict = bool(os.environ.get("CI")) and sys.platform == "linux" and os.geteuid() == 0
    failures = []
    legs: dict[str, list[str]] = {"passed": [], "failed": [], "not run": []}
    for name in sys.argv[1:] or [name for name in LEGS if name != usual()]:
        leg = {**LEGS, **LONG_LEGS}[name]
        print(f"{name}: {(leg.__doc__ or '').splitlines()[0]}")
        began = time.monotonic()
        try:
            leg()
            verdict = "passed"
        except NotRun as reason:
            print(f"  {reason}")
            verdict = "not run"
        except Failed as failed:
            failures.append(f"{name}: {failed}")
            verdict = "failed"
        legs[verdict].append(name)
        print(f"{name}: {verdict}, {time.monotonic() - began:.0f} s")
    # The end of a long output is what is read first, and sometimes all that is kept.
    for verdict, names in legs.items():
        print(f"{len(names)} {verdict}{': ' if names else ''}{', '.join(names)}")
    for why in failures:
        print(why)
    return 1 if legs["failed"] or (strict and legs["not run"]) else 0


if __name__ == "__main__":
    sys.exit(main())
