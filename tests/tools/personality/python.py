"""Python with what it has on the system that PERSONALITY names; libc.c is the rest of it."""

from __future__ import annotations

import fcntl
import os
import posix
import resource
import select
import sys
import sysconfig

PLATFORMS = {
    "macos": "darwin",
    "freebsd": "freebsd15",
    "openbsd": "openbsd7",
    "netbsd": "netbsd10",
}
_LINUX_ALONE = ["pidfd_open", "memfd_create", "splice", "setns", "unshare", "getrandom"]
_LINUX_ALONE += ["getxattr", "setxattr", "listxattr", "removexattr", "P_PIDFD"]
_FREEBSD_TOO = ["O_PATH", "sched_getaffinity", "sched_setaffinity", "eventfd", "EFD_CLOEXEC"]
_FREEBSD_TOO += ["posix_fadvise", "fdatasync", "copy_file_range"]
_HAVE_LCHMOD = ("macos", "freebsd", "netbsd")
_MACOS_LACKS = ["pipe2", "mkfifoat", "sched_param", "posix_fallocate"]


def _remove(module: object, *names: str) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


def _become(system: str) -> None:
    # Debian's Python finds its own settings by the platform.
    os.environ["_PYTHON_SYSCONFIGDATA_NAME"] = sysconfig._get_sysconfigdata_name()  # type: ignore[attr-defined]
    sys.platform = PLATFORMS[system]
    gone = [*_LINUX_ALONE, *(_FREEBSD_TOO if system != "freebsd" else [])]
    gone += _MACOS_LACKS if system == "macos" else []
    for module in (os, posix):
        _remove(module, *gone)
    _remove(fcntl, "F_SETPIPE_SZ", "F_GETPIPE_SZ", "F_ADD_SEALS", "F_NOTIFY")
    _remove(select, *(name for name in vars(select).copy() if name.lower().startswith("epoll")))
    _remove(resource, "prlimit")
    if system in _HAVE_LCHMOD:
        os.supports_follow_symlinks.add(os.chmod)
    if system == "macos":  # built before macOS 13, which has mkfifoat
        real = os.mkfifo

        def mkfifo(path: str, mode: int = 0o666, *, dir_fd: int | None = None) -> None:
            if dir_fd is not None:
                raise NotImplementedError("dir_fd unavailable on this platform")
            real(path, mode)

        os.supports_dir_fd.discard(real)
        os.mkfifo = mkfifo  # type: ignore[assignment]


if "PERSONALITY" in os.environ:
    _become(os.environ["PERSONALITY"])
