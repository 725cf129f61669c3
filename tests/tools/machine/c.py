"""Mutants of the implementation in C."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mutation import ROOT

from . import candidates
from .candidates import Candidate
from .making import Invalid

SOURCE = ROOT / "conformance/implementations/c"
# What speaks with the kit is not the implementation.
DRIVER = ("driver.c", "driver_protocol.c", "driver_operations.c", "driver_streams.c")


class C:
    """The library's object files, one of them changed, linked with the driver's."""

    name = "c"

    def __init__(self, directory: Path) -> None:
        self._common = directory
        directory.mkdir()
        for file in sorted(SOURCE.glob("*.[ch]")):
            shutil.copy2(file, directory)
        self.files: Sequence[Path] = [
            f for f in sorted(SOURCE.glob("*.c")) if f.name not in (*DRIVER, "fuzz.c")
        ]
        for name in (*DRIVER, *(file.name for file in self.files)):
            _compile(directory / name, directory / f"{name}.o")

    def candidates(self, file: Path) -> Iterator[Candidate]:
        return candidates.in_c(file)

    def code(self, file: Path, text: str) -> str:
        # In a directory of its own: several mutants are made at once.
        with tempfile.TemporaryDirectory(dir=self._common) as directory:
            changed = Path(directory, file.name)  # an object file has its source's name
            changed.write_text(text, "utf-8")
            made = changed.with_suffix(".o")
            _compile(changed, made, "-I", "..")
            code = hashlib.sha256(made.read_bytes()).hexdigest()[:16]
            made.rename(self._object(code))
        return code

    def make(self, directory: Path, file: Path, text: str) -> list[str]:
        directory.mkdir()
        others = [f.name for f in self.files if f.name != file.name]
        objects = [self._common / f"{name}.o" for name in (*DRIVER, *others)]
        changed = self._object(self.code(file, text))
        command = ["cc", "-o", str(directory / "driver"), *map(str, (*objects, changed))]
        if subprocess.run([*command, "-lm", "-lpthread"], capture_output=True).returncode:
            raise Invalid("it cannot be linked")
        return [str(directory / "driver")]

    def _object(self, code: str) -> Path:
        return self._common / f"{code}.o"


def _compile(source: Path, made: Path, *options: str) -> None:
    """Raises Invalid."""
    command = ["cc", "-std=c11", "-w", "-O2", *options, "-c", "-o", str(made), source.name]
    done = subprocess.run(command, cwd=source.parent, capture_output=True, text=True)
    if done.returncode:
        raise Invalid(done.stderr.strip().partition("\n")[0][-200:])
