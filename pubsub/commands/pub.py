"""`pubsub pub`: publish messages."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator

from ..clock import monotonic
from ..delivery import deliver
from ..message import Message
from ..overview import channels
from ..publisher import PublishFailed
from ..topics import check_topic
from .arguments import (
    EXIT_CODES,
    Parser,
    add_message,
    content_of,
    count,
    headers_of,
    seconds,
    stdin,
)
from .output import note, write_text

_LOOK_SECONDS = 0.05  # how often to look for subscribers


def parser() -> Parser:
    """The arguments of the command."""
    made = Parser(
        "pub",
        "Publish a message, and print how many subscribers' queues took it.",
        f"""Nobody need be there: the count is then 0, and the exit code 0. Nothing is kept for
subscribers that come later. Write -- before a content that begins with a hyphen.

examples:
  pubsub pub news.sports 'Team wins championship!'
  pubsub pub jobs.done -H job=backup -H minutes:=12
  pubsub pub --lines logs.app < app.log
  pubsub pub images.cat - < cat.png
  pubsub pub --need 1 --timeout 5 jobs.new go   # wait for a subscriber, or fail

{EXIT_CODES}""",
    )
    add_message(made)
    made.add_argument(
        "--lines",
        action="store_true",
        help="each line of stdin is a message; the count is the sum",
    )
    made.add_argument(
        "--need",
        metavar="N",
        type=count,
        default=0,
        help="wait up to --timeout for N subscribers; exit code 1 if fewer took a message",
    )
    made.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        help="wait that long for room in full queues, for each message; exit code 1 if one got"
        " none (without it: no wait, and exit code 0; with --lines: no limit)",
    )
    return made


def run(options: argparse.Namespace) -> int:
    """Publish. Returns the exit code."""
    if options.lines and options.content not in (None, b"-"):
        raise ValueError("--lines reads the contents from stdin: leave CONTENT out")
    headers = headers_of(options)
    limit = options.timeout
    if limit is None:
        limit = math.inf if options.lines else 0.0
    contents = _lines() if options.lines else [content_of(options)]
    if options.need:
        _await_subscribers(options.topic, options.need, options.timeout or 0.0)
    total, least, refused = 0, math.inf, 0
    for content in contents:
        outcome = deliver(Message(options.topic, content, headers), limit)
        if outcome.failed:
            raise PublishFailed(len(outcome.taken), outcome.failed)
        total += len(outcome.taken)
        least = min(least, len(outcome.taken))
        refused += len(outcome.full)
    write_text(f"{total}\n")
    if refused:
        messages = "message" if refused == 1 else "messages"
        remedy = "" if options.timeout else "; --timeout waits for room"
        note("pub", f"full queues did not take {refused} {messages}{remedy}")
    if least < options.need:
        remedy = "" if options.timeout else "; --timeout waits for them"
        found = f"a message had {least} subscribers of the {options.need} that --need asks for"
        note("pub", found + remedy)
    return int(least < options.need or (refused > 0 and options.timeout is not None))


def _lines() -> Iterator[bytes]:
    for line in stdin():
        yield line.removesuffix(b"\n")


def _await_subscribers(topic: str, number: int, limit: float) -> None:
    """Wait until as many live channels match the topic, or the time is over."""
    check_topic(topic)
    deadline = monotonic() + limit
    while True:
        there = sum(found.alive is not False for found in channels(topic))
        left = deadline - monotonic()
        if there >= number or left <= 0:
            return
        time.sleep(min(left, _LOOK_SECONDS))
