"""Mutants: the reference with one rule of the specification broken.

An edit names a definition, wherever it is in `pubsub/` or in the driver, and replaces code in it.
Code is compared as syntax trees: layout and comments make no difference.
"""

from __future__ import annotations

import ast
import copy
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DRIVER = ROOT / "conformance/implementations/reference/driver.py"

Code = list[ast.AST]  # one expression, or statements that follow each other
Place = tuple[ast.AST, str, int]  # a node, one of its fields, and where in it, if that is a list

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Edit:
    """Replaces `old` by `new` in the definition of `where`.

    `where` names a function, a class, a method or a module-level assignment: `Channel.open`.
    If several modules define it, the name of one comes first: `publisher.publish`.

    `old` is an expression, or statements that follow each other. It occurs `times` times there.
    None is the body of a function without its docstring. Each `...` in `new` is the old code.
    """

    where: str
    old: str | None
    new: str
    times: int = 1

    def apply(self, trees: Mapping[str, ast.Module]) -> str:
        """Edits one of these trees, by their files' names. Returns that name. LookupError."""
        file, definition = _find(self.where, trees)
        if self.old is not None:
            old, new = _parse_both(self.old, self.new)
            places = list(_places(old, definition))
            if len(places) != self.times:
                raise LookupError(
                    f"{self.where} ({file}) has this {len(places)} times, not {self.times}:"
                    f"\n{textwrap.dedent(self.old).strip()}"
                )
        elif isinstance(definition, FUNCTION):
            begin = 0 if ast.get_docstring(definition) is None else 1
            old, new = list(definition.body[begin:]), _parse(self.new)
            places = [(definition, "body", begin)]
        else:
            raise LookupError(f"{self.where} ({file}) is not a function")
        for node, field, index in reversed(places):  # so that the indices before stay right
            replacement = _with_old(new, old)
            value = getattr(node, field)
            if isinstance(value, list):
                value[index : index + len(old)] = replacement
            else:
                setattr(node, field, *replacement)
        return file


class Mutant:
    """`requirement` is the one that must be reported as broken; `what` is the fault in brief."""

    def __init__(self, requirement: str, what: str, *edits: Edit) -> None:
        self.requirement = requirement
        self.what = what
        self.edits = edits

    def __str__(self) -> str:
        return f"{self.requirement}, {self.what}"

    def sources(self) -> dict[str, str]:
        """The source of each file, by its path in a mutant's directory. LookupError.

        Those of the bridge, the commands and `aio` are not among them: no driver uses them.
        """
        files = {str(path.relative_to(ROOT)): path for path in (ROOT / "pubsub").glob("*.py")}
        sources = {
            name: path.read_text("utf-8") for name, path in {**files, DRIVER.name: DRIVER}.items()
        }
        trees = {name: ast.parse(source) for name, source in sources.items()}
        for edit in self.edits:
            try:
                name = edit.apply(trees)
            except LookupError as error:
                raise LookupError(f"{self}: {error}") from None
            sources[name] = ast.unparse(trees[name])
        return sources

    def driver(self, directory: Path) -> Path:
        """Makes the mutant in a new directory. Returns the path of its driver there."""
        for name, source in self.sources().items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(source, "utf-8")
        return directory / DRIVER.name

    def command(self, directory: Path) -> list[str]:
        """Makes the mutant in a new directory. Returns the command of its driver.

        The driver finds the `pubsub` beside it first.
        """
        return [sys.executable, str(self.driver(directory))]


REFERENCE = Mutant("none", "the reference itself")


def _find(where: str, trees: Mapping[str, ast.Module]) -> tuple[str, ast.stmt]:
    """The one definition of this name, and its file."""
    found = [
        (file, definition)
        for file, tree in trees.items()
        for name, definition in _definitions(tree)
        if where in (name, f"{Path(file).stem}.{name}")
    ]
    if not found:
        raise LookupError(f"{where} is not defined")
    if len(found) > 1:
        files = ", ".join(file for file, _ in found)
        raise LookupError(f"{where} is defined {len(found)} times, in {files}")
    return found[0]


def _definitions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.stmt]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTION, ast.ClassDef)):
            yield prefix + child.name, child
            yield from _definitions(child, f"{prefix}{child.name}.")
        elif isinstance(child, (ast.Assign, ast.AnnAssign)):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            yield from ((prefix + name.id, child) for name in targets if isinstance(name, ast.Name))


def _parse(source: str) -> Code:
    return list(ast.parse(textwrap.dedent(source)).body)


def _parse_both(old: str, new: str) -> tuple[Code, Code]:
    """Both as an expression if both are one, otherwise as statements."""
    codes = _parse(old), _parse(new)
    match codes:
        case ([ast.Expr(value=one)], [ast.Expr(value=other)]):
            return [one], [other]
    return codes


def _places(code: Code, definition: ast.stmt) -> Iterator[Place]:
    """Where the code occurs."""
    wanted = [ast.dump(node) for node in code]
    for node in ast.walk(definition):
        for field, value in ast.iter_fields(node):
            nodes = value if isinstance(value, list) else [value]
            dumps = [ast.dump(child) if isinstance(child, ast.AST) else "" for child in nodes]
            for index in range(len(dumps) - len(wanted) + 1):
                if dumps[index : index + len(wanted)] == wanted:
                    yield node, field, index


def _with_old(new: Code, old: Code) -> Code:
    """A copy of the new code, with the old code in place of each `...`."""

    class Fill(ast.NodeTransformer):
        def visit_Expr(self, node: ast.Expr) -> ast.AST | Code:
            ellipsis = isinstance(node.value, ast.Constant) and node.value.value is ...
            return copy.deepcopy(old) if ellipsis else self.generic_visit(node)

        def visit_Constant(self, node: ast.Constant) -> ast.AST:
            return copy.deepcopy(old[0]) if node.value is ... else node

    filled: Code = []
    for node in copy.deepcopy(new):
        replacement = Fill().visit(node)
        filled += replacement if isinstance(replacement, list) else [replacement]
    return filled
