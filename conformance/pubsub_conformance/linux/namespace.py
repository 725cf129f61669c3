"""Mount namespaces: a command runs with other file systems in the usual places."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

from ..driver import Driver
from . import Unavailable


@cache
def namespace(script: str, *arguments: str) -> tuple[str, ...]:
    """The prefix that runs a command in a new mount namespace, after a shell script.

    The script gets the arguments as $1, $2, … and shifts them away. Without root, the command runs
    as root of a new user namespace. Raises Unavailable, with the reason.
    """
    if shutil.which("unshare") is None:
        raise Unavailable("a mount namespace needs unshare (Linux)")
    for unshare in (("unshare", "-m"), ("unshare", "-rm")):
        prefix = (*unshare, "sh", "-euc", f'{script}\nexec "$@"', "sh", *arguments)
        tried = subprocess.run([*prefix, "true"], capture_output=True, text=True)
        if tried.returncode == 0:
            return prefix
    raise Unavailable(f"no mount namespace can be made: {' '.join(tried.stderr.split())}")


# /tmp has only links to its former entries (the driver may be one of them), without a base, and
# /dev/shm is empty.
_EMPTY_PLACES = """
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


def empty_places(*commands: str) -> tuple[str, ...]:
    """The prefix that runs a command without a default base, after these shell commands.

    Raises Unavailable.
    """
    return namespace("\n".join([_EMPTY_PLACES, *commands]))


def own_tmpfs(path: Path, options: str) -> tuple[str, ...]:
    """The prefix that runs a command with a tmpfs of these options mounted at `path`.

    Raises Unavailable.
    """
    mount = f'mount -t tmpfs -o mode=0700,{options} tmpfs "$1"; shift'
    return namespace(mount, str(path))


def seen_by(driver: Driver, path: str | Path) -> Path:
    """The kit's path to this path of the driver's mount namespace."""
    return Path(f"/proc/{driver.pid}/root{path}")
