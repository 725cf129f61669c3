"""What a failed test found, in words that mean the same to authors in every language.

pytest's own words come first: an exception, and for an `assert` a look into the Python objects that
it compared. `plain` keeps only what says something about the implementation.
"""

from __future__ import annotations

import ast
import re

from ..excerpt import excerpt, without_walls

_VALUE_CHARACTERS = 120
_SENTENCE_WALL = 48  # characters
_RAISED = re.compile(r"(?:AssertionError|Failed)(?:: |$)")
_REJECTED = re.compile(r"(?:\w+\.)*Rejected: ")
_WHERE = re.compile(r"\n *\+ +(?:where|and) ")


def plain(text: str) -> str:
    """The text of an exception without what only a reader of Python understands.

    `assert 3 == 2` becomes "expected 2, found 3"; another comparison is dropped where a message
    says it all.
    """
    text = _REJECTED.sub("the driver replied with the error ", _RAISED.sub("", text, count=1))
    text = without_walls(text)
    message, compared = _split(text)
    if not compared:
        return message
    comparison, *where = _WHERE.split(compared)
    found = _as_expected_and_found(comparison)
    if message:
        return f"{message}\n{found}" if found else message
    # "11 = publish('a')" says what was done to find 11; "0 = len([])" says nothing.
    done = where[0].partition(" = ")[2] if where and " object at 0x" not in where[0] else ""
    done = "" if done.startswith("len(") else done
    return f"{done}: {found or comparison}" if done else found or comparison


def _split(text: str) -> tuple[str, str]:
    """The message of an exception, and what pytest adds to it from the line `assert …` on."""
    if text.startswith("assert "):
        return "", text
    message, begin, compared = text.partition("\nassert ")
    return message, f"assert {compared}" if begin else ""


def _as_expected_and_found(comparison: str) -> str:
    """The suite writes `found == expected`. Empty for a comparison of another kind."""
    try:
        (statement,) = ast.parse(comparison.partition("\n")[0]).body
    except (SyntaxError, ValueError, RecursionError):  # cut by pytest
        return ""
    test = statement.test if isinstance(statement, ast.Assert) else None
    if not isinstance(test, ast.Compare) or not isinstance(test.ops[0], ast.Eq | ast.Is):
        return ""
    return f"expected {_value(test.comparators[0])}, found {_value(test.left)}"


def _value(node: ast.expr) -> str:
    """A value, with the constants as JSON writes them."""
    text = ast.unparse(node)
    return {"None": "null", "True": "true", "False": "false"}.get(
        text, excerpt(text, _VALUE_CHARACTERS)
    )


_EXPECTED = re.compile(r"expected .*, found .*")
_MODE = re.compile(r"[-a-z][-a-zA-Z]{9} ")  # of a file, in a listing
_LISTED = re.compile(r":$|[;:,] found$")  # it announces a listing
_PLACE = re.compile(r"\(\w+\.py, line \d+\)")


def sentence(reason: str) -> str:
    """The one line of a finding that decides: its first, and what was expected and found.

    Of a driver error: also how the process ended, and the last line of its stderr.
    """
    lines = map(str.strip, without_walls(reason, _SENTENCE_WALL).splitlines())
    first, *others = [line for line in lines if line and not _PLACE.fullmatch(line)] or [""]
    if first.startswith("driver error: "):
        ends = [line for line in others if line.startswith("process: ")]
        last = others[-1:] if "stderr:" in others[:-1] else []
        return "; ".join([first, *ends, *last])
    more = [] if "expected" in first else others[:1]
    if first.endswith(":") and more and not _MODE.match(more[0]):
        return f"{first} {more[0]}"
    return ": ".join([_LISTED.sub("", first), *filter(_EXPECTED.fullmatch, more)])


def signature(line: str) -> str:
    """A line without what differs from test to test: numbers, names of files, quoted texts."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|/\S+|\S*\d\S*", "…", line)
