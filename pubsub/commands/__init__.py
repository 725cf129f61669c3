"""The command line: `pubsub COMMAND …`, a module for each command.

Only the module of the command that runs is imported: a command starts in little more time than
Python itself. Such a module has `parser() -> Parser` and `run(options) -> int`, the exit code.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

from .. import __version__
from .arguments import EXIT_CODES, Parser
from .output import ReaderLeft, note

COMMANDS = {
    "sub": (".sub", "subscribe: print the messages of topics"),
    "pub": (".pub", "publish: send messages to a topic"),
    "request": (".request", "send a request, and print the reply"),
    "ls": (".ls", "list the channels, and the processes that opened them"),
    "reap": (".reap", "remove what dead processes left behind"),
    "bridge": ("..bridge.command", "carry topics to and from other machines, over NATS"),
}
"""The module of each command, as seen from here, and what it does; in the order of `--help`."""

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of the process). Returns the exit code."""
    words = sys.argv[1:] if arguments is None else [*arguments]
    for number in _ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` and `&` in a script have it
            signal.signal(number, _end)
    name = words[0] if words[:1] and words[0] in COMMANDS else ""
    try:
        if not name:
            _parser().parse_args(words)  # ends here
        module = import_module(COMMANDS[name][0], __name__)
        code: int = module.run(module.parser().parse_intermixed_args(words[1:]))
    except ReaderLeft:
        return 0  # the reader has what it wants, as `head` has
    except OSError as error:
        what = error.strerror or str(error)
        note(name, f"{error.filename}: {what}" if error.filename else what)
        return 2
    except ValueError as error:
        note(name, str(error))
        return 2
    except Exception:  # a fault of this package: 1 would say that a condition was not met
        sys.excepthook(*sys.exc_info())
        return 2
    return code


def _end(number: int, frame: FrameType | None) -> None:
    """End the command by a signal: channels close, and nothing disturbs that."""
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _parser() -> Parser:
    """What the command line asks for if it names no command."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {does}" for name, (_, does) in COMMANDS.items())
    parser = Parser(
        "",
        "Publish and subscribe between processes on this machine, without a broker.",
        f"""commands:
{commands}

examples, in two terminals:
  pubsub sub news.+
  pubsub pub news.sports 'Team wins championship!'

{EXIT_CODES}

`pubsub COMMAND --help` says more. All processes that use the same directory hear of each
other: PUBSUB_HOME names it; without PUBSUB_HOME it is /dev/shm/pubsub on Linux.""",
        usage="pubsub COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"pubsub {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=[*COMMANDS], help=argparse.SUPPRESS)
    return parser
