"""The mutants of the reference, by page of the specification.

Each must fail the conformance test of its requirement: a test that no mutant fails proves nothing.
Those that name formix-pubsub are bugs that happened: its version 0.9.0 has them, unless they name
another.
"""

from __future__ import annotations

from mutation import Mutant

from . import base, channel, fetch, further, guarantee, inline, message, publish, reap, topics

MUTANTS = [
    *guarantee.MUTANTS,
    *topics.MUTANTS,
    *message.MUTANTS,
    *base.MUTANTS,
    *channel.MUTANTS,
    *publish.MUTANTS,
    *fetch.MUTANTS,
    *inline.MUTANTS,
    *reap.MUTANTS,
]

FURTHER = [mutant for mutant in vars(further).values() if isinstance(mutant, Mutant)]


def of(requirement: str) -> Mutant:
    """The first mutant of this requirement."""
    return next(mutant for mutant in MUTANTS if mutant.requirement == requirement)
