"""How mutants are made (tests/tools/mutation.py)."""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterator

import pytest
from c_mutation import SOURCES, CMutant
from mutants import FURTHER, MUTANTS
from mutants.c import C_MUTANTS
from mutants.within import WITHIN
from mutation import Edit, Mutant

SOURCE = '''\
LIMIT: int = 10

def send(queue, message):
    """Sends."""
    if LIMIT:
        count = len(message)
    count = len(message)
    return count

class Channel:
    name = 'a'

    def send(self):
        return send(self.queue, self.name) or send(self.queue, b'')

async def wait():
    await ready()
'''


def edited(*edits: Edit) -> str:
    trees = {"source.py": ast.parse(SOURCE), "other.py": ast.parse("def receive():\n    pass\n")}
    for edit in edits:
        assert edit.apply(trees) == "source.py"
    return ast.unparse(trees["source.py"])


@pytest.mark.parametrize(
    ("edit", "old", "new"),
    [
        (Edit("LIMIT", "10", "3"), "int = 10", "int = 3"),
        (Edit("send", "return (  count )", "return 0  # layout"), "return count", "return 0"),
        (Edit("source.wait", "await ready()", "pass"), "await ready()", "pass"),
        (Edit("Channel.name", '"a"', '"b"'), "'a'", "'b'"),
        (Edit("Channel", '"a"', '"b"'), "'a'", "'b'"),
        (Edit("Channel.send", "send(self.queue, b'')", "not ..."), "or send", "or not send"),
        (Edit("send", "len(message)", "... + 1", times=2), "(message)", "(message) + 1"),
        (
            Edit("send", "count = len(message)\nreturn count", "return 0"),
            "    count = len(message)\n    return count",
            "    return 0",
        ),
        (
            Edit(
                "send",
                """
                if LIMIT:
                    count = len(message)
                """,
                """
                try:
                    ...
                finally:
                    pass
                """,
            ),
            "    if LIMIT:\n        count = len(message)\n",
            "    try:\n        if LIMIT:\n            count = len(message)\n"
            "    finally:\n        pass\n",
        ),
        (
            Edit("send", "if LIMIT: count = len(message)", ""),
            "    if LIMIT:\n        count = len(message)\n",
            "",
        ),
        (Edit("send", None, "queue = b''\n..."), "    if LIMIT", "    queue = b''\n    if LIMIT"),
        (Edit("wait", None, "return"), "await ready()", "return"),
    ],
)
def test_an_edit_changes_what_it_names(edit: Edit, old: str, new: str) -> None:
    expected = SOURCE.replace(old, new)
    assert expected != SOURCE
    assert ast.dump(ast.parse(edited(edit))) == ast.dump(ast.parse(expected))


def test_edits_follow_each_other() -> None:
    twice = edited(Edit("send", "return count", "return 1; ..."), Edit("send", "return 1", ""))
    assert ast.dump(ast.parse(twice)) == ast.dump(ast.parse(SOURCE))


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (Edit("close", "pass", ""), "close is not defined"),
        (Edit("Channel.close", "pass", ""), "Channel.close is not defined"),
        (Edit("other.send", "pass", ""), "other.send is not defined"),
        (Edit("send", "return 0", ""), r"send \(source.py\) has this 0 times, not 1:\nreturn 0"),
        (Edit("send", "count = len(message)", ""), "has this 2 times, not 1"),
        (Edit("send", "return count", "", times=2), "has this 1 times, not 2"),
        (Edit("LIMIT", None, "3"), r"LIMIT \(source.py\) is not a function"),
    ],
)
def test_an_edit_that_does_not_apply_says_why(edit: Edit, error: str) -> None:
    with pytest.raises(LookupError, match=error):
        edited(edit)


def test_a_name_of_two_modules_needs_the_module() -> None:
    trees = {name: ast.parse("def send():\n    return 1\n") for name in ("a.py", "b.py")}
    with pytest.raises(LookupError, match=r"send is defined 2 times, in a\.py, b\.py"):
        Edit("send", "1", "2").apply(trees)
    Edit("b.send", "1", "2").apply(trees)
    assert [ast.unparse(tree)[-1] for tree in trees.values()] == ["1", "2"]


def test_an_error_names_the_mutant() -> None:
    with pytest.raises(LookupError, match=r"^PUB-9, two writes: nowhere is not defined$"):
        Mutant("PUB-9", "two writes", Edit("nowhere", "1", "2")).sources()


@pytest.mark.parametrize(
    "mutant", [*MUTANTS, *FURTHER, *(mutant for mutant, _ in WITHIN.values())], ids=str
)
def test_a_mutant_applies_and_knows_its_names(mutant: Mutant) -> None:
    for name, source in mutant.sources().items():
        module = symtable.symtable(source, name, "exec")
        known = {*module.get_identifiers(), *dir(builtins), "__file__"}
        assert set(global_names(module)) <= known, name


@pytest.mark.parametrize("mutant", C_MUTANTS, ids=str)
def test_a_mutant_in_c_applies(mutant: CMutant) -> None:
    assert mutant.source() != (SOURCES / mutant.file).read_text("utf-8")


def global_names(table: symtable.SymbolTable) -> Iterator[str]:
    """The global names that the code below a table refers to."""
    for child in table.get_children():
        yield from (symbol.get_name() for symbol in child.get_symbols() if symbol.is_global())
        yield from global_names(child)
