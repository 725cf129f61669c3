"""What a report says of the machine that it was made on."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path


def file_system_of(path: Path) -> str:
    """The type of the file system that holds `path`, such as "tmpfs"; "unknown" if not known."""
    while not path.exists():
        path = path.parent
    try:
        # Not os.path.ismount: macOS joins two file systems, and lists one of them elsewhere.
        *_, used = _printed("df", "-P", str(path)).splitlines()
        *_, place = used.split(maxsplit=5)
        table = _printed("mount")
    except (OSError, ValueError, subprocess.SubprocessError):
        return "unknown"
    # "on / type ext4 (rw)" on Linux, OpenBSD and NetBSD, "on / (apfs, local)" elsewhere.
    found = re.findall(rf" on {re.escape(place)} (?:type |\()(\w+)", table)
    return found[-1] if found else "unknown"


def _printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout


def platform_on(file_system: str) -> dict[str, str]:
    """The system, its release, the processor's family, the Python, and the file system."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "file_system": file_system,
    }
