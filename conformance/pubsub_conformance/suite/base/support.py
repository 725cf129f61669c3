"""What the tests of the base share."""

from __future__ import annotations

from pathlib import Path


def others(path: Path) -> int:
    """The permission bits of a file for group and others."""
    return path.lstat().st_mode & 0o077
