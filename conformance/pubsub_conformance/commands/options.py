"""What several commands have in common: options, and the end of a command."""

from __future__ import annotations

import argparse
import difflib
import itertools
import math
import shlex
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn, TypeAlias

from .. import requirements, seeds
from ..driver.protocol import ROLES
from ..names import Unknown, find
from ..stress.lanes import LANES

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

EXIT_CODES = "Exit codes: 0 conforms, 1 does not conform, 2 could not be judged, or interrupted."


def positive(text: str) -> int:
    """A whole number from 1 on. Raises argparse.ArgumentTypeError."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number


def duration(text: str) -> float:
    """Seconds: a finite number above 0. Raises argparse.ArgumentTypeError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return seconds


def add_number(
    parser: argparse.ArgumentParser, option: str, help: str, default: int | None = None
) -> None:
    """Add an option whose value is a whole number from 1 on."""
    parser.add_argument(option, type=positive, default=default, metavar="N", help=help)


def one_of(known: Collection[str], what: str) -> Callable[[str], str]:
    """The type of an option that takes one of these names, in upper or lower case."""

    def convert(name: str) -> str:
        try:
            return find(name, known, what)
        except Unknown as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def requirement(name: str) -> str:
    """The id of a requirement. Raises argparse.ArgumentTypeError and SpecError."""
    return one_of(requirements.load(), "requirement")(name)


def section(name: str) -> str:
    """The section of a requirement. Raises argparse.ArgumentTypeError and SpecError."""
    known = dict.fromkeys(each.key for each in requirements.load().values())
    return one_of(known, "section")(name)


role = one_of(ROLES, "role")


def refuse_unknown(parser: argparse.ArgumentParser, words: Sequence[str]) -> NoReturn:
    """Exit: the command has no such options. The nearest one that it has is named."""
    name, *_ = words[0].partition("=")
    near = difflib.get_close_matches(name, parser._option_string_actions, 1)
    hint = f": did you mean {near[0]}?" if near else ""
    parser.error(f"unrecognized arguments: {shlex.join(words)}{hint}")


def add_several(parser: argparse.ArgumentParser, option: str, help: str, **more: Any) -> None:
    """Add an option that may be repeated: `options` has a list of its values."""
    parser.add_argument(option, action="append", default=[], help=help, **more)


def add_driver(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    """Have the command need the driver's command line, as `options.driver`, and then `run`.

    The `--` before it may be left out where no word of it looks like an option.
    """
    parser.usage = "%(prog)s [options] -- COMMAND…"
    parser.add_argument("before", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)

    def run_with_driver(options: argparse.Namespace) -> int:
        if options.before and options.driver:
            refuse_unknown(parser, options.before)
        if any(word.startswith("-") for word in options.before):
            own, words = _apart(parser, options.before)
            line = [*options.arguments[1 : -len(options.before)], *own, "--", *words]
            parser.error(f"put -- before the driver's command:\n{parser.prog} {shlex.join(line)}")
        options.driver = options.driver or options.before
        if not options.driver:
            parser.error("the driver's command is missing: end the line with -- COMMAND…")
        return run(options)

    parser.set_defaults(run=run_with_driver)


def _apart(parser: argparse.ArgumentParser, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options of this parser among the words, with their values, and the other words."""
    own: list[str] = []
    others: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, _ = word.partition("=")
        action = parser._option_string_actions.get(name)
        if action is None:
            others.append(word)
            continue
        own.append(word)
        if action.nargs is None and not equals:
            own += itertools.islice(rest, 1)
    return own, others


def add_home(parser: argparse.ArgumentParser, default: str = "TMPDIR or /tmp") -> None:
    """Add `--home`: the directory in which the command makes base directories."""
    text = f"test on the file system of DIR (default: {default})"
    parser.add_argument("--home", metavar="DIR", help=text)


def add_lane(parser: argparse.ArgumentParser) -> None:
    """Add `--lane`. Without it, `options.lane` is None: the driver's roles decide."""
    text = (
        "which channels ask for the inline lane: none (files), all (inline), or every other one"
        " (mixed); default: mixed if the driver claims the role inline, otherwise files"
    )
    parser.add_argument("--lane", choices=LANES, help=text)


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add `--seed`. Without it, `options.seed` is drawn."""
    text = "repeat the random choices of an earlier run (default: drawn, and shown)"
    parser.add_argument("--seed", type=int, default=seeds.draw(), metavar="N", help=text)


def add_workers(
    parser: argparse.ArgumentParser,
    help: str,
    convert: Callable[[str], object] = positive,
    default: int | None = 2,
) -> None:
    """Add `-n`: how much runs at the same time."""
    parser.add_argument("-n", type=convert, default=default, dest="workers", metavar="N", help=help)
