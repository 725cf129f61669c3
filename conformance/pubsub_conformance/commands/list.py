"""`list`: list the requirements, or explain some."""

from __future__ import annotations

import argparse
import json

from .. import requirements, traceability
from ..driver.protocol import ROLES
from ..requirements import Requirement
from .options import Subparsers, add_several, requirement, role, section

MUTANTS = requirements.PACKAGE / "mutants.json"
"""For each MUST, how a reference broke it on trial, and which tests caught that."""


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
    known = requirements.load()
    for each in map(known.__getitem__, options.ids or known):
        if options.section and each.key not in options.section:
            continue
        if options.role and not set(options.role) & set(each.roles):
            continue
        if options.ids:
            _explain(each)
        else:
            print(f"{each.id:<11}{each.level:<8}{each.title}")
    return 0


def _explain(requirement: Requirement) -> None:
    roles = ", ".join(requirement.roles)
    print(f"{requirement.id}  {requirement.title}")
    print(f"({requirement.level}; {roles}; {requirement.file})")
    print(requirement.text)
    if requirement.untested:
        print(f"Untested: {requirement.untested}")
    for trace in traceability.traces():
        if trace.requirement == requirement.id:
            through = f" ({', '.join(sorted(trace.roles))})" if trace.roles else ""
            print(f"\n  {trace.test}{through}\n    {trace.says}.")
    for mutant in json.loads(MUTANTS.read_text(encoding="utf-8")):
        if mutant["requirement"] == requirement.id:
            print(f"\n  mutant of the reference: {mutant['mutant']};")
            print(f"    caught by {', '.join(mutant['caught_by'])}")
    print()
