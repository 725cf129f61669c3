"""Files without permissions, and drivers without privileges."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import Start, start_as

NOBODY = 65534
"""The id of a user that is not root."""


def close_off(path: Path, mode: int) -> None:
    """Give the file this mode, and, as root, to another user, whose mode binds root's driver."""
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def tmp_is_a_file(base: Base) -> None:
    base.tmp.rmdir()
    base.tmp.write_bytes(b"")


def tmp_is_a_link(base: Base) -> None:
    base.tmp.rmdir()
    base.tmp.symlink_to(base.path)


def start_without_privileges(start: Start) -> Driver:
    """A driver that file permissions bind, even where root runs the kit."""
    if os.geteuid() != 0:
        return start()
    if shutil.which("setpriv") is None:
        not_run("needs setpriv: permissions do not bind root")
    given_up = "-dac_override,-dac_read_search,-fowner,-kill"
    return start_as(start, ["setpriv", f"--bounding-set={given_up}", "--inh-caps=-all"])


def plant_a_deep_one(directory: Path) -> None:
    """Make nested directories, deeper than a stack and longer than a path can be."""
    here = os.open(directory, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("directory", dir_fd=here)
        inner = os.open("directory", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def remove_any_depth(directory: Path) -> None:
    """Remove a directory, if it is there: Python cannot remove such depths."""
    subprocess.run(["rm", "-rf", directory], check=False)
