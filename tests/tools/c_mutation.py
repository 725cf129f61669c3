"""Mutants of the implementation in C: one rule of the specification broken.

An edit is text, for there is no syntax tree: `old` occurs once in the file.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mutation import ROOT

SOURCES = ROOT / "conformance/implementations/c"


@dataclass(frozen=True)
class CMutant:
    """`requirement` is the one that must be reported as broken; `what` is the fault in brief."""

    requirement: str
    what: str
    file: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.requirement}, {self.what}"

    def source(self) -> str:
        """The text of the file with the edit. LookupError."""
        text = (SOURCES / self.file).read_text("utf-8")
        if text.count(self.old) != 1:
            times = text.count(self.old)
            raise LookupError(f"{self}: {self.file} has this {times} times, not 1:\n{self.old}")
        return text.replace(self.old, self.new)

    def command(self, directory: Path) -> list[str]:
        """Builds the mutant in a new directory. Returns the command of its driver."""
        built = shutil.ignore_patterns("*.o", "*.a", "driver", "corpus")
        shutil.copytree(SOURCES, directory, ignore=built)
        (directory / self.file).write_text(self.source(), "utf-8")
        make = ["make", "-s", "-C", str(directory), "CFLAGS=-O0", "WARN=-std=c11 -w", "driver"]
        subprocess.run(make, check=True, capture_output=True, text=True)
        return [str(directory / "driver")]
