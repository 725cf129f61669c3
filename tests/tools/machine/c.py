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
            if not self._driver(code).exists():
                others = [f.name for f in self.files if f.name != file.name]
                objects = [made, *(self._common / f"{name}.o" for name in (*DRIVER, *others))]
                linked = Path(directory, "driver")
                _run("cc", "-o", linked, *objects, "-lm", "-lpthread")
                linked.rename(self._driver(code))
        return code

    def make(self, directory: Path, file: Path, text: str) -> list[str]:
        directory.mkdir()
        driver = directory / "driver"
        shutil.copy2(self._driver(self.code(file, text)), driver)
        return [str(driver)]

    def _driver(self, code: str) -> Path:
        return self._common / code


def _compile(source: Path, made: Path, *options: str) -> None:
    """Raises Invalid."""
    plain = ("cc", "-std=c11", "-w", "-O2", *options)
    _run(*plain, "-c", "-o", made, source.name, directory=source.parent)


def _run(*command: str | Path, directory: Path | None = None) -> None:
    """Raises Invalid if it fails."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise Invalid(done.stderr.strip().partition("\n")[0][-200:])
