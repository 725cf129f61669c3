"""`list`: list the requirements, or explain some."""

from __future__ import annotations

import argparse

from .. import explain, requirements
from ..driver.protocol import ROLES
from ..judge.report import note, print_page
from .options import Subparsers, add_several, requirement, role, section


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "list",
        help="list the requirements, or explain some",
        description="Lists the requirements by id, level and title, or shows those named in full,"
        " with the tests that check them. Nothing is run.",
    )
    text = "show this one in full, as PUB-7"
    parser.add_argument("ids", nargs="*", metavar="ID", type=requirement, help=text)
    only = f"only of these: {', '.join(requirements.PREFIXES)}"
    add_several(parser, "--section", only, type=section, metavar="NAME")
    only = f"only of these: {', '.join(ROLES)}"
    add_several(parser, "--role", only, type=role, metavar="NAME")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. Raises SpecError."""
    if options.ids and (options.section or options.role):
        note("ids select already: leave out --section and --role")
        return 2
    known = requirements.load()
    if options.ids:
        return print_page("\n".join(explain.text(known[id]) for id in options.ids))
    return print_page(
        "\n".join(
            f"{each.id:<11}{each.level:<8}{each.title}"
            for each in known.values()
            if (not options.section or each.key in options.section)
            and (not options.role or set(options.role) & set(each.roles))
        )
    )
