"""How a command prints a message."""

from __future__ import annotations

import argparse
import json
from binascii import b2a_base64
from collections.abc import Callable

from ..message import Message
from .arguments import Parser
from .output import encoding, is_terminal, printable


def add_formats(parser: Parser) -> argparse._MutuallyExclusiveGroup:
    """Add the options for the format of a message."""
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument(
        "--json",
        dest="render",
        action="store_const",
        const=as_json,
        default=as_line,
        help="a JSON object a line, with all of the message; content that is not UTF-8 is in"
        " base64, as content_base64",
    )
    formats.add_argument(
        "--raw",
        dest="render",
        action="store_const",
        const=as_it_is,
        help="the octets of the content alone: no line ends, no escapes",
    )
    return formats


def renderer(options: argparse.Namespace) -> Callable[[Message], bytes]:
    """The function that makes octets for stdout of a message."""
    render: Callable[[Message], bytes] = options.render
    return shown(render) if is_terminal() and render in (as_line, with_topic) else render


def as_line(message: Message) -> bytes:
    """The content, and a line end."""
    return message.content + b"\n"


def with_topic(message: Message) -> bytes:
    """The topic, the content, and a line end."""
    return b"%s %s\n" % (message.topic.encode(), message.content)


def as_it_is(message: Message) -> bytes:
    """The content."""
    return message.content


def as_json(message: Message) -> bytes:
    """A line of JSON in ASCII.

    Numbers of 64 bits are strings: many readers of JSON round them.
    """
    fields = {
        "id": str(message.id),
        "timestamp": str(message.timestamp),
        "topic": message.topic,
        "headers": message.headers,
    }
    try:
        fields["content"] = message.content.decode()
    except UnicodeDecodeError:
        fields["content_base64"] = b2a_base64(message.content, newline=False).decode()
    # The one character of ASCII that json leaves as it is, and a terminal may obey.
    return json.dumps(fields).replace("\x7f", "\\u007f").encode() + b"\n"


def shown(render: Callable[[Message], bytes]) -> Callable[[Message], bytes]:
    """A renderer for a terminal, which obeys what others have published."""

    def safe(message: Message) -> bytes:
        text = render(message)[:-1].decode("utf-8", "backslashreplace")
        return printable(text).encode(encoding(), "backslashreplace") + b"\n"

    return safe
