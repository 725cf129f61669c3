"""Runs pytest on each of these files at once: at_once.py FILE [FILE…].

Each has a process of its own, without xdist. Ends with 1 if one of them fails.
"""

from __future__ import annotations

import subprocess
import sys


def main() -> int:
    runs = [
        subprocess.Popen([sys.executable, "-m", "pytest", "-n", "0", file], stdout=subprocess.PIPE)
        for file in sys.argv[1:]
    ]
    outputs = [run.communicate()[0] for run in runs]
    for output in outputs:
        sys.stdout.buffer.write(output)
    return int(any(run.returncode for run in runs))


if __name__ == "__main__":
    sys.exit(main())
