"""The seed of a run: it decides everything that the kit draws at random."""

from __future__ import annotations

import random


def draw() -> int:
    """A fresh seed, of 32 bits."""
    return random.SystemRandom().getrandbits(32)
