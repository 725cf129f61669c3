"""The evidence of a stress run that failed: a directory from which it can be judged again."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pubsub_conformance import __version__
from pubsub_conformance.judge.events import Event, save

from .scene import Scene


def keep(scene: Scene, events: Iterable[Event], epoch: int, parent: Path | None) -> Path:
    """Save history, base and parameters in a new directory in `parent` (None: where temporary
    files are). The directory."""
    directory = Path(tempfile.mkdtemp(prefix="pubsub-stress-", dir=parent))
    if scene.home.is_dir():
        _copy(scene.home, directory / "base")
    save(directory / "history.jsonl", events)
    parameters = {
        "kit": __version__,
        "command": list(scene.command),
        "seed": scene.seed,
        "epoch": epoch,
        "load": scene.load.as_dict(),
    }
    (directory / "run.json").write_text(json.dumps(parameters, indent=2), encoding="utf-8")
    return directory


def _copy(source: Path, target: Path) -> None:
    """Copy a base directory. A FIFO stays unread, for a reader would take its ids."""
    target.mkdir(exist_ok=True)
    for entry in os.scandir(source):
        path = target / entry.name
        if entry.is_symlink():
            path.symlink_to(os.readlink(entry.path))
        elif entry.is_dir():
            _copy(Path(entry.path), path)
        elif entry.is_file():
            shutil.copy2(entry.path, path)
        elif stat.S_ISFIFO(entry.stat().st_mode):
            os.mkfifo(path)
