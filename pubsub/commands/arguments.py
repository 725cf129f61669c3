"""The arguments that several commands share."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from functools import partial
from typing import IO, NoReturn

from ..headers import HeaderValue
from .output import note, write_text

EXIT_CODES = """exit codes:
  0 done; 1 a condition was not met, or the time is over; 2 wrong usage, or an error;
  130 Ctrl-C; 143 SIGTERM"""

_WIDTH = 90  # of help; to ask the terminal, argparse loads modules that a command does not need


class Parser(argparse.ArgumentParser):
    """A parser whose errors take one line, and whose help survives that its reader leaves."""

    def __init__(
        self, command: str, description: str, epilog: str, usage: str | None = None
    ) -> None:
        """`command` is the name of the command; `epilog` is shown as it is."""
        super().__init__(
            prog=f"pubsub {command}".rstrip(),
            usage=usage,
            description=description,
            epilog=epilog,
            formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=_WIDTH),
            allow_abbrev=False,
        )
        self._command = command

    def error(self, message: str) -> NoReturn:
        """End with exit code 2, and say why."""
        note(self._command, f"{message}; see {self.prog} --help")
        self.exit(2)

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:  # type: ignore[override]
        if file is sys.stdout and file is not None:
            write_text(message)
        else:
            super()._print_message(message, file)


def seconds(text: str) -> float:
    """A time in seconds."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return number


def count(text: str) -> int:
    """A number of messages or subscribers."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return number


def header(text: str) -> tuple[str, HeaderValue]:
    """The name and value of a header: `name=text`, or `name:=json`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is neither name=text nor name:=json")
    if not name.endswith(":"):
        return name, value
    try:
        return name[:-1], json.loads(value)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{value!r} is not JSON; a text is name=text, without the colon"
        ) from None


def add_message(parser: Parser) -> None:
    """Add the arguments that make a message: its topic, content and headers."""
    parser.add_argument("topic", metavar="TOPIC", help="words joined by dots, as in news.sports")
    parser.add_argument(
        "content",
        metavar="CONTENT",
        nargs="?",
        type=os.fsencode,
        help="the content; - reads all of stdin; without it the content is empty",
    )
    parser.add_argument(
        "-H",
        dest="headers",
        metavar="NAME=TEXT",
        action="append",
        default=[],
        type=header,
        help="a header; NAME:=JSON for a number, true, false or null; repeatable",
    )


def content_of(options: argparse.Namespace) -> bytes:
    """The content that the command line names. Raises OSError, ValueError."""
    if options.content == b"-":
        return stdin().read()
    return options.content or b""


def headers_of(options: argparse.Namespace) -> dict[str, HeaderValue]:
    """The headers that the command line names. Raises ValueError if one occurs twice."""
    headers: dict[str, HeaderValue] = dict(options.headers)
    if len(headers) < len(options.headers):
        raise ValueError("a header occurs twice (-H)")
    return headers


def stdin() -> IO[bytes]:
    """Standard input. Raises ValueError if it is closed."""
    if sys.stdin is None:
        raise ValueError("stdin is closed: name the content, or redirect a file to stdin")
    return sys.stdin.buffer
