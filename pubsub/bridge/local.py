"""The bridge's side of its own base: what it exports comes here, and what it imports goes there."""

from __future__ import annotations

import os
import stat
from functools import lru_cache

from .. import queue
from ..channel import Channel


class Export(Channel):
    """A channel that takes what is to be exported, and nothing that a bridge has imported."""

    _of_bridge = True


@lru_cache(maxsize=4096)  # a path has the marker from the beginning, and no name is used twice
def is_for_imports(path: str) -> bool:
    """Whether a channel takes what a bridge imports: all do but those by which bridges export."""
    try:
        marker = os.lstat(f"{path}/{queue.BRIDGE_MARKER}")
        owner = os.lstat(f"{path}/queue").st_uid
    except OSError:
        return True
    return not (stat.S_ISREG(marker.st_mode) and marker.st_uid == owner)
