"""What a report says of the machine that it was made on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path


def file_system_of(path: Path) -> str:
    """The type of the file system that holds `path`, such as "tmpfs"; "unknown" if not known."""
    path = path.resolve()
    while not os.path.ismount(path):
        path = path.parent
    try:
        table = subprocess.run(["mount"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    # "on / type ext4 (rw)" on Linux, OpenBSD and NetBSD, "on / (apfs, local)" elsewhere.
    found = re.findall(rf" on {re.escape(str(path))} (?:type |\()(\w+)", table)
    return found[-1] if found else "unknown"


def platform_on(file_system: str) -> dict[str, str]:
    """The system, its release, the processor's family, the Python, and the file system."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "file_system": file_system,
    }
