"""The command `pubsub bridge`."""

from __future__ import annotations

import argparse
import logging
import os
import ssl
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from ..commands.arguments import EXIT_CODES, Parser, seconds
from ..commands.output import note
from ..place import BaseUnusable, Place
from ..topics import InvalidPattern, check_pattern

_LOGIN = {"NATS_USER": "user", "NATS_PASSWORD": "password", "NATS_TOKEN": "token"}


def parser() -> Parser:
    """The arguments of the command."""
    made = Parser(
        "bridge",
        """Carry topics between this machine and others over a NATS server. Messages that match an
--export go to the server; messages that match an --import come from there. SIGUSR1 prints the
status, SIGTERM ends the bridge.""",
        f"""examples:
  pubsub bridge nats://server:4222 --export news.+ --import news.+
  pubsub bridge tls://server:4222 --stream jobs --export jobs.= --timeout 60

NATS_USER and NATS_PASSWORD, or NATS_TOKEN, are what the server asks for. They are environment
variables, because everybody can see the arguments of a command.

{EXIT_CODES}""",
    )
    add = made.add_argument
    add(
        "urls",
        metavar="URL",
        type=_urls,
        help="nats://HOST:PORT, or tls://HOST:PORT; a comma between the servers of a cluster",
    )
    add("--export", metavar="PATTERN", type=_pattern, action="append", default=[])
    add("--import", metavar="PATTERN", type=_pattern, action="append", default=[], dest="imports")
    add("--stream", metavar="NAME", type=_word, help="use this stream of JetStream")
    add(
        "--make-stream",
        action="store_true",
        help="make the stream if it is missing: it keeps an hour, and at most 1 GiB",
    )
    add(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=5.0,
        help="how long to wait for room in a full local queue (default: 5)",
    )
    add("--name", metavar="NAME", default="bridge", help="tells several bridges of a base apart")
    add(
        "--state",
        metavar="DIR",
        type=Path,
        help="where the bridge keeps its state (default: ~/.local/state/pubsub-bridge)",
    )
    add("--ca", metavar="FILE", type=Path, help="use TLS, and trust these authorities only")
    add("--cert", metavar="FILE", type=Path, help="use TLS with this certificate")
    add("--key", metavar="FILE", type=Path, help="the private key of the certificate")
    add("--credentials", metavar="FILE", type=Path, help="a .creds file (needs nats-py[nkeys])")

    return made


def run(options: argparse.Namespace) -> int:
    """Run a bridge. Returns the exit code: 0 after SIGTERM or SIGINT, 2 after an error."""
    logging.basicConfig(format="pubsub bridge: %(message)s", level=logging.INFO)
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # what matters of it is said here
    if not (options.export or options.imports):
        return _fail("give an --export or an --import, or both")
    if options.make_stream and not options.stream:
        return _fail("--make-stream needs the name of the stream: --stream NAME")
    if options.make_stream and any(
        pattern[0] in "=+" for pattern in (*options.export, *options.imports)
    ):
        # A stream of such subjects would store its own deliveries, and the questions to it.
        return _fail("with --make-stream, each pattern begins with a word")
    try:
        from .client import Server
        from .run import Task, serve
        from .state import State, StateUnusable, default_directory
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] != "nats":
            raise
        return _fail("nats-py is missing: pip install 'pubsub-reference[nats]'")
    if options.credentials and find_spec("nkeys") is None:
        return _fail("--credentials needs nkeys: pip install 'nats-py[nkeys]'")
    try:
        login = {its: os.environ[name] for name, its in _LOGIN.items() if name in os.environ}
        if options.credentials:
            login["user_credentials"] = str(options.credentials)
        servers = [Server(url, _tls(url, options), login) for url in options.urls]
        task = Task(
            options.export,
            options.imports,
            options.name,
            options.timeout,
            options.stream,
            options.make_stream,
        )
        directory = options.state or default_directory(Place.here().path)
        serve(servers, task, State(directory, options.name))
    except (StateUnusable, BaseUnusable) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "))
    return 0


def _fail(line: str) -> int:
    note("bridge", line)
    return 2


def _tls(url: str, options: argparse.Namespace) -> ssl.SSLContext | None:
    if url.startswith("nats:") and not (options.ca or options.cert):
        return None
    context = ssl.create_default_context(cafile=options.ca)
    if options.cert:
        context.load_cert_chain(options.cert, options.key)
    return context


def _urls(text: str) -> list[str]:
    return [_url(url) for url in text.split(",")]


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in ("nats", "tls") and parts.hostname and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or parts.path or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError("the address is nats://HOST:PORT or tls://HOST:PORT")
    if "@" in parts.netloc:  # it is not repeated here
        raise argparse.ArgumentTypeError(
            "a password in the address is visible to everybody: use NATS_USER, NATS_PASSWORD or"
            " NATS_TOKEN in the environment"
        )
    return text


def _pattern(text: str) -> str:
    try:
        return check_pattern(text)
    except InvalidPattern as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _word(text: str) -> str:
    if not text.replace("-", "").replace("_", "").isalnum() or not text.isascii():
        raise argparse.ArgumentTypeError(f"{text!r} is not one word of [A-Za-z0-9_-]")
    return text
