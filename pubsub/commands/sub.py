"""`pubsub sub`: print messages as they are published."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from ..channel import Channel, fetch
from ..clock import monotonic
from ..hand import DamagedQueue
from ..message import Message
from ..message_file import InvalidMessage
from ..waiting import wait
from .arguments import EXIT_CODES, Parser, count, seconds
from .output import look_for_reader, note, write
from .rendering import add_formats, renderer, with_topic

_LOOK_SECONDS = 1.0  # how often to look whether the reader of the output is still there


def parser() -> Parser:
    """The arguments of the command."""
    made = Parser(
        "sub",
        """Subscribe to patterns, and print the content of each message, one line a message, as soon
as it is published. On a terminal, characters that it would obey are escaped.""",
        f"""A pattern is words joined by dots; = stands for any one word, + for one or more.
Several patterns are several channels: a message that two of them match is printed
twice. The command ends by Ctrl-C or SIGTERM, or when the reader of its output ends.

examples:
  pubsub sub news.+                         # all below news, until Ctrl-C
  pubsub sub -v news.sports 'alerts.='      # two patterns; the topic before the content
  pubsub sub -n 1 --timeout 5 jobs.done     # wait up to 5 seconds for one message
  pubsub sub --json '+' >> messages.jsonl   # keep all of every message

{EXIT_CODES}""",
    )
    made.add_argument("patterns", metavar="PATTERN", nargs="+", help="what to subscribe to")
    formats = add_formats(made)
    formats.add_argument(
        "-v",
        "--verbose",
        dest="render",
        action="store_const",
        const=with_topic,
        help="the topic before the content",
    )
    made.add_argument(
        "-n", dest="count", metavar="COUNT", type=count, help="end after COUNT messages"
    )
    made.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=math.inf,
        help="end after this time, with exit code 1",
    )
    made.add_argument(
        "--inline",
        action="store_true",
        help="small messages travel in the queue itself, which is faster (Linux)",
    )
    return made


def run(options: argparse.Namespace) -> int:
    """Print messages. Returns the exit code."""
    if sys.stdout is None:
        raise ValueError("stdout is closed")
    render = renderer(options)
    left = options.count or math.inf
    with ExitStack() as stack:
        channels = [Channel(pattern, options.inline) for pattern in options.patterns]
        for channel in channels:
            stack.enter_context(channel)
        for message in _messages(channels, monotonic() + options.timeout):
            write(render(message))
            left -= 1
            if not left:
                return 0
    return 1


def _messages(channels: Sequence[Channel], deadline: float) -> Iterator[Message]:
    """The messages of all channels, one of each in turn, until the time is over."""
    while True:
        found = 0
        for channel in channels:
            try:
                message = fetch(channel)
            except (InvalidMessage, DamagedQueue) as error:
                note("sub", str(error))
                found += 1
                continue
            if message is not None:
                found += 1
                yield message
        left = deadline - monotonic()
        if left <= 0:
            return
        if not found:
            wait(channels, min(left, _LOOK_SECONDS))
            look_for_reader()
