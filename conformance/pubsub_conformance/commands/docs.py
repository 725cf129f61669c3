"""`docs`: show a page of the documentation, or a requirement."""

from __future__ import annotations

import argparse
import os
import pydoc
import sys
from pathlib import Path

from .. import explain, requirements
from ..judge.report import print_page
from ..requirements import PACKAGE, SPEC
from .options import Subparsers, one_of

OF_THE_KIT = ("README", "TUTORIAL", "DRIVER")
"""The pages of the kit: what it does, a driver from nothing, the driver protocol."""


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "docs",
        help="show a page of the documentation, or a requirement",
        description=f"Shows a page: {', '.join(OF_THE_KIT)}, spec (where to begin with the"
        " specification), or one of its pages, such as publish. Or shows a requirement, such as"
        " PUB-7. Without NAME, lists the pages. A terminal gets them through PAGER.",
    )
    text = "a page, or the id of a requirement"
    parser.add_argument("name", nargs="?", type=_name, metavar="NAME", help=text)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. Raises SpecError and OSError."""
    pages = _pages()
    if not options.name:
        return print_page("\n".join(f"{name:<14}{_heading(path)}" for name, path in pages.items()))
    if options.name in pages:
        text = pages[options.name].read_text(encoding="utf-8")
    else:
        text = explain.text(requirements.load()[options.name])
    if sys.stdout.isatty():
        os.environ.setdefault("LESS", "FRX")  # as git: what fits the screen is just printed
        pydoc.pager(text)
        return 0
    return print_page(text.rstrip("\n"))


def _heading(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def _name(text: str) -> str:
    return one_of([*_pages(), *requirements.load()], "page or requirement")(text)


def _pages() -> dict[str, Path]:
    """The pages by name: those of the kit, then those of the specification."""
    pages = {name: PACKAGE / f"{name}.md" for name in OF_THE_KIT}
    pages["spec"] = SPEC / "README.md"
    for path in requirements.spec_pages():
        if path.stem != "README":
            pages[path.stem] = path
    return pages
