"""Implementations from before the inline lane and those of today: each publishes to each.

    python tests/tools/before_inline.py [options of matrix]

The old ones are built from a commit of this repository. spec/inline.md promises that programs which
do not know the lane mix with those that do: here they write to marked channels, and read from
channels that have no marker.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mutation import ROOT
from pubsub_conformance.commands import main as pubsub_conformance

BEFORE = "973217ea55027d33e0e238b7a8a5a438ddcf1c4e"
"""The last commit without the lane."""

IMPLEMENTATIONS = "conformance/implementations"


def extract(commit: str, directory: Path) -> None:
    """Put the implementations of a commit into a directory. Raises CalledProcessError."""
    command = ["git", "-C", str(ROOT), "archive", commit, "pubsub", IMPLEMENTATIONS]
    archive = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x", "-C", directory], check=True, input=archive)


def drivers(name: str, root: Path) -> list[str]:
    """The implementations below a directory, as arguments of `matrix`."""
    subprocess.run(["make", "-s", "-C", root / IMPLEMENTATIONS / "c", "driver"], check=True)
    reference = [sys.executable, str(root / IMPLEMENTATIONS / "reference/driver.py")]
    return [
        f"{name}-ref={shlex.join(['env', f'PYTHONPATH={root}', *reference])}",
        f"{name}-c={shlex.join([str(root / IMPLEMENTATIONS / 'c/driver')])}",
    ]


def main(arguments: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="pubsub-") as directory:
        old = Path(directory)
        extract(BEFORE, old)
        return pubsub_conformance(
            ["matrix", *arguments, *drivers("old", old), *drivers("new", ROOT)]
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
