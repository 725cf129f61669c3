"""Mutants of the reference."""

from __future__ import annotations

import ast
import hashlib
import marshal
import shutil
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from compileall import compile_dir
from pathlib import Path

from mutation import DRIVER, ROOT

from . import candidates
from .candidates import Candidate
from .making import Invalid

_FACES = ("__main__", "log", "overview", "request")  # no operation of a driver comes there


class Reference:
    """The modules of `pubsub/`, one of them changed, beside the driver."""

    name = "reference"

    def __init__(self, directory: Path) -> None:
        modules = sorted((ROOT / "pubsub").glob("*.py"))
        self.files: Sequence[Path] = [file for file in modules if file.stem not in _FACES]
        self._common = directory
        shutil.copytree(ROOT / "pubsub", directory / "pubsub")
        shutil.copy2(DRIVER, directory)
        compile_dir(directory, quiet=1)

    def candidates(self, file: Path) -> Iterator[Candidate]:
        return candidates.in_python(file)

    def code(self, file: Path, text: str) -> str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # SyntaxWarning: `1 is 1`
                plain = ast.fix_missing_locations(_Plain().visit(ast.parse(text)))
                code = compile(ast.unparse(plain), file.name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            raise Invalid(str(error)) from None
        return hashlib.sha256(marshal.dumps(_without_places(code))).hexdigest()[:16]

    def make(self, directory: Path, file: Path, text: str) -> list[str]:
        shutil.copytree(self._common, directory)
        (directory / "pubsub" / file.name).write_text(text, "utf-8")
        return [sys.executable, str(directory / DRIVER.name)]


class _Plain(ast.NodeTransformer):
    """Without what is never run: docstrings and annotations."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        node.annotation = ast.Constant(None)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.Pass() if node.module == "__future__" else node  # it must come first

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return ast.Pass() if isinstance(node.value, ast.Constant) else self.generic_visit(node)


def _without_places(code: types.CodeType) -> types.CodeType:
    """The same code without its lines and columns."""
    constants = tuple(
        _without_places(each) if isinstance(each, types.CodeType) else each
        for each in code.co_consts
    )
    return code.replace(co_consts=constants, co_firstlineno=1, co_linetable=b"")
