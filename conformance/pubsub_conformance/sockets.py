"""Sockets as entries of a directory."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path


def make_socket(path: Path) -> None:
    """Make a socket that nobody listens on. Raises OSError."""
    # mknod makes one on Linux alone. The path of a socket has some 100 octets at most, and the
    # directory's path may have more: hence the bare name.
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    except OSError as error:
        if error.errno is None:  # so Python says that the name is too long
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path) from None
        raise
    finally:
        os.fchdir(here)
        os.close(here)
