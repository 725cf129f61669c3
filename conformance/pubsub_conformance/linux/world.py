"""A mount namespace for a driver, with the default places of a base as a test wants them."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

from pubsub_conformance.driver import Driver

from . import Unavailable

# Shell commands for a mount namespace. In it, /tmp is empty but for links to what was there before
# (the driver itself, perhaps), a base left out, and /dev/shm is empty, too.
WORLD = """
mount -t tmpfs tmpfs /dev/shm
mkdir /dev/shm/.before
mount --rbind /tmp /dev/shm/.before
mount --rbind /dev/shm /tmp
mount -t tmpfs tmpfs /dev/shm
printf '%s\\0' /tmp/.before/* /tmp/.before/.[!.]* | xargs -0 sh -c 'ln -s "$@" /tmp/' sh
rm -f /tmp/pubsub
"""
NO_SHM = """
exec 3</dev
mount -t tmpfs tmpfs /dev
for name in null zero full random urandom tty; do
    touch /dev/$name
    mount -c --bind /proc/self/fd/3/$name /dev/$name
done
exec 3<&-
"""
SHM_IS_A_FILE = f"{NO_SHM}\ntouch /dev/shm"


@cache
def in_a_world_of_its_own(*commands: str) -> tuple[str, ...]:
    """The prefix that runs a command after these, in the WORLD."""
    if shutil.which("unshare") is None:
        raise Unavailable("default places need unshare (Linux)")
    script = "\n".join([WORLD, *commands, 'exec "$@"'])
    for unshare in (["unshare", "-m"], ["unshare", "-rm"]):
        prefix = (*unshare, "sh", "-euc", script, "sh")
        tried = subprocess.run([*prefix, "true"], capture_output=True, text=True)
        if tried.returncode == 0:
            break
    else:
        raise Unavailable(f"default places need a mount namespace: {tried.stderr.strip()}")
    return prefix


def seen_by(driver: Driver, path: str) -> Path:
    """The path, in the driver's mount namespace."""
    return Path(f"/proc/{driver.pid}/root{path}")
