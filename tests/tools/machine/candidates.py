"""What the tools for mutation testing could change in a file: one candidate for each change.

A candidate is known by its function, its operator and the code that it changes. An edit elsewhere
in the file leaves all of that as it is.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmic_ray.ast import Visitor, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from universalmutator import mutator

PYTHON_RULES = ["universal.rules", "python.rules"]
C_RULES = ["universal.rules", "c_like.rules", "c.rules"]

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Candidate:
    """A change that has not been made yet."""

    file: Path
    function: str  # with the file's stem: channel.Channel.open; the stem alone outside of functions
    tool: str
    operator: str
    code: str  # the line that is changed
    nth: int  # which of those that are the same in all of this
    changed: Callable[[], str | None]  # the file's text with the change; None: it cannot be made

    @property
    def name(self) -> str:
        """What the order of the draw depends on."""
        return "|".join((self.function, self.tool, self.operator, self.code, str(self.nth)))


@dataclass(frozen=True)
class Change:
    """A change that was made: the lines before and after."""

    function: str
    operator: str
    old: str
    new: str
    nth: int  # which of the places in the function that have these lines

    @property
    def key(self) -> str:
        """The identity of a mutant."""
        again = f" #{self.nth}" if self.nth > 1 else ""
        return f"{self.function} | {self.operator} | {self.old} => {self.new}{again}".rstrip()


def change(candidate: Candidate, text: str) -> Change:
    """What a candidate changed in its file. `text` is the changed file's."""
    source = candidate.file.read_text("utf-8")
    before, after = source.splitlines(), text.splitlines()
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    rest = 0
    while rest < min(len(before), len(after)) - same and before[-1 - rest] == after[-1 - rest]:
        rest += 1
    old = before[same : len(before) - rest]
    functions = _functions(candidate.file, source)
    nth = sum(
        functions[line] == candidate.function and before[line : line + len(old)] == old
        for line in range(same + 1 if old else 1)
    )
    new = after[same : len(after) - rest]
    if not old:  # a line was added
        old, new = [candidate.code], [candidate.code, *new]
    return Change(candidate.function, candidate.operator, _line(old), _line(new), max(nth, 1))


def text_of(file: Path, function: str) -> str:
    """The lines of a function."""
    source = file.read_text("utf-8")
    named = zip(source.splitlines(), _functions(file, source), strict=False)
    return "\n".join(line for line, name in named if name == function)


def _line(lines: Sequence[str]) -> str:
    return " ".join(" ".join(lines).split())


def in_python(file: Path) -> Iterator[Candidate]:
    """What both tools could change in a module."""
    yield from _cosmic_ray(file)
    yield from _universalmutator(file, PYTHON_RULES)


def in_c(file: Path) -> Iterator[Candidate]:
    """What universalmutator could change in a C file."""
    return _universalmutator(file, C_RULES)


def _cosmic_ray(file: Path) -> Iterator[Candidate]:
    source = file.read_text("utf-8")
    tree, lines, functions = get_ast(source), source.splitlines(), _functions(file, source)
    for name in operator_names():
        operator_class = get_operator(name)
        # Those with arguments replace one variable by another; their numbers are drawn anew each
        # time, so that such a mutant has no identity.
        if operator_class.arguments():
            continue
        operator = operator_class()
        seen: Counter[tuple[str, str]] = Counter()
        for occurrence, (row, _) in enumerate(_positions(tree, operator)):
            place = functions[row - 1], _line(lines[row - 1 : row])
            seen[place] += 1

            def changed(operator: Any = operator, occurrence: int = occurrence) -> str | None:
                text: str | None = mutate_code(source, operator, occurrence)
                return text

            short = name.partition("/")[2]
            yield Candidate(file, place[0], "cosmic-ray", short, place[1], seen[place], changed)


def _positions(tree: Any, operator: Any) -> list[tuple[int, int]]:
    """Where an operator could change the tree, in its order."""
    found: list[tuple[int, int]] = []

    class Finder(Visitor):  # type: ignore[misc]
        def visit(self, node: Any) -> Any:
            found.extend(start for start, _ in operator.mutation_positions(node))
            return node

    Finder().walk(tree)
    return found


def _universalmutator(file: Path, rules: Sequence[str]) -> Iterator[Candidate]:
    source = file.read_text("utf-8")
    lines, functions = source.splitlines(keepends=True), _functions(file, source)
    with contextlib.redirect_stdout(io.StringIO()):  # it reports on its rules
        made = mutator.mutants_regexp(
            lines, ruleFiles=rules, ignorePatterns=[], ignoreStringOnly=True
        )
    seen: Counter[tuple[str, str, str]] = Counter()
    for row, new, (rule, _), _ in made:
        place = functions[row - 1], rule.strip(), _line(lines[row - 1 : row])
        seen[place] += 1

        def changed(row: int = row, new: str = new) -> str:
            return "".join([*lines[: row - 1], new, *lines[row:]])

        yield Candidate(
            file, place[0], "universalmutator", place[1], place[2], seen[place], changed
        )


def _functions(file: Path, source: str) -> list[str]:
    """The function of each line."""
    find = _of_python if file.suffix == ".py" else _of_c
    names = [file.stem] * (len(source.splitlines()) + 1)
    for begin, end, name in find(source):
        names[begin - 1 : end] = [f"{file.stem}.{name}"] * (end - begin + 1)
    return names


def _of_python(source: str) -> Iterator[tuple[int, int, str]]:
    """The first and last line and the name of each function and class, an outer one first."""

    def below(node: ast.AST, prefix: str) -> Iterator[tuple[int, int, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, FUNCTION):
                first = min([child.lineno, *(each.lineno for each in child.decorator_list)])
                yield first, child.end_lineno or first, prefix + child.name
                yield from below(child, f"{prefix}{child.name}.")
            else:
                yield from below(child, prefix)

    return below(ast.parse(source), "")


def _of_c(source: str) -> Iterator[tuple[int, int, str]]:
    """The same of C whose functions begin and end with a brace in the first column."""
    name, begin, first = "", 0, 0
    for number, line in enumerate(source.splitlines(), 1):
        if not begin and (head := re.match(r"[A-Za-z].*?(\w+)\(", line)):
            name, first = head[1], number
        if line.startswith("{") and name:
            begin = first
        elif line.startswith("}") and begin:
            yield begin, number, name
            name, begin = "", 0
        elif not begin and line.rstrip().endswith(";"):
            name = ""
