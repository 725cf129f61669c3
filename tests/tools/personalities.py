"""This machine as macOS or a BSD: for a user without privileges, Linux answers as they do."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from personality.python import PLATFORMS
from setting import Failed, NotRun, Setting, every, show, unprivileged

ANSWERS = """
import errno, os, sys, tempfile
with tempfile.TemporaryDirectory() as directory:
    try:
        os.unlink(directory)
    except OSError as error:
        print(sys.platform, errno.errorcode[error.errno], os.path.exists("/dev/shm"))
"""
LINUX_ALONE = ("strace", "unshare", "setpriv", "nsenter", "prlimit")
C_DRIVER = "conformance/implementations/c/driver"
# With it, /private/var/folders/xx/…/T of macOS has 56 octets, and a socket's path 103 at most.
MACOS_TMPDIR = 56
SAMPLE = {  # of the kit's sections
    "macos": ("base",),
    "freebsd": ("reap",),
    "openbsd": ("channel",),
    "netbsd": ("publish", "fetch", "inline"),
}


@cache
def _built() -> Setting:
    """The clone, with the driver in C and what a personality needs."""
    for tool in ("cc", "make"):
        if shutil.which(tool) is None:
            raise NotRun(f"a personality needs {tool}")
    setting = unprivileged()
    here = setting.root / "tests/tools/personality"
    setting.run("make", "-s", "-C", "conformance/implementations/c", "driver")
    setting.run("cc", "-shared", "-fPIC", "-O1", "-o", here / "libc.so", here / "libc.c", "-ldl")
    packages = setting.run(
        setting.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"
    )
    Path(packages.strip(), "personality.pth").write_text(
        f"{setting.root}/tests/tools\nimport personality.python\n", encoding="utf-8"
    )
    programs = setting.root / "bin"
    programs.mkdir()
    for directory in os.defpath.strip(":").split(":"):
        for program in Path(directory).iterdir():
            link = programs / program.name
            if program.name not in LINUX_ALONE and not link.is_symlink():
                link.symlink_to(program)
    return setting


def _as_on(system: str) -> Setting:
    setting = _built()
    temporary = setting.root / system
    if system == "macos":
        temporary /= "x" * (MACOS_TMPDIR - len(str(temporary)) - len("//T"))
        temporary /= "T"
    temporary.mkdir(parents=True, exist_ok=True)
    if setting.user is not None:
        # What is made in /tmp of the BSDs has the directory's group, wheel; the user is not of it.
        os.chown(temporary, setting.user, setting.user if system == "macos" else 0)
        temporary.chmod(0o700 if system == "macos" else 0o3777)
    env = {
        **setting.env,
        "PATH": f"{setting.root}/.venv/bin:{setting.root}/bin",
        "TMPDIR": str(temporary),
        "LD_PRELOAD": f"{setting.root}/tests/tools/personality/libc.so",
        "PERSONALITY": system,
    }
    setting = replace(setting, env=env)
    answers = setting.run(setting.python, "-c", ANSWERS).split()
    if answers != [PLATFORMS[system], "EPERM", "False"]:
        raise Failed(f"this is not {system}: {answers}")
    return setting


def personality(system: str) -> None:
    """The tests of the reference, and the kit against it and against C."""
    setting = _as_on(system)
    home = Path(setting.env["TMPDIR"])
    every(
        lambda: setting.tests(home),
        lambda: setting.kit(home),
        lambda: setting.kit(home, driver=(C_DRIVER,)),
    )


def sample() -> None:
    """A part of the kit on each system: three times against the reference, once against C."""

    def run(system: str) -> None:
        setting = _as_on(system)
        options = [f"--section={name}" for name in SAMPLE[system]]
        driver = (C_DRIVER,) if system == "netbsd" else ()
        show(system, f"the kit against {'C' if driver else 'the reference'}")
        setting.kit(Path(setting.env["TMPDIR"]), *options, driver=driver)

    every(*(partial(run, system) for system in SAMPLE))
