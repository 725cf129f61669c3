"""`pubsub request`: ask, and print the answer."""

from __future__ import annotations

import argparse

from ..request import NobodyListens, request
from .arguments import EXIT_CODES, Parser, add_message, content_of, headers_of, seconds
from .output import note, write
from .rendering import add_formats, renderer


def parser() -> Parser:
    """The arguments of the command."""
    made = Parser(
        "request",
        "Publish a request, wait for the reply, and print its content in a line.",
        f"""A program replies by pubsub.reply (README: Request and reply). Exit code 1 if nobody
listens, or no reply comes in time.

examples:
  pubsub request rpc.add '2 + 2'
  pubsub request --timeout 60 --json rpc.report - < query.sql

{EXIT_CODES}""",
    )
    add_message(made)
    add_formats(made)
    made.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=5.0,
        help="how long to wait for the reply (default 5)",
    )
    return made


def run(options: argparse.Namespace) -> int:
    """Ask. Returns the exit code."""
    render = renderer(options)
    content, headers = content_of(options), headers_of(options)
    try:
        answer = request(options.topic, content, headers, timeout_seconds=options.timeout)
    except NobodyListens as error:
        note("request", str(error))
        return 1
    if answer is None:
        note("request", f"no reply within {options.timeout:g} seconds; --timeout waits longer")
        return 1
    write(render(answer))
    return 0
