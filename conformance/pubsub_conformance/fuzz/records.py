"""Queues of marked channels: records with every field wrong, cut, nested, and ids among them."""

from __future__ import annotations

import struct
from random import Random

from pubsub_conformance.oracle.message import a_message, encode
from pubsub_conformance.oracle.record import LONGEST, SHORTEST

from .queues import CHARACTERS, IDS, Queues, Steps

LENGTHS = (0, 1, SHORTEST - 1, SHORTEST, 35, 48, LONGEST, LONGEST + 1, 0x2200, 0x7FFF, 0xFFFF)
BITS = (0x8001, 0x0000, 0x0080, 0xFFFF, 0x4000, 0xC000)


class Records(Queues):
    """Fuzzes the octets of queues in marked channels."""

    name = "records"
    roles = frozenset({"subscriber", "inline"})
    is_marked = True

    def blame(self, input: Steps) -> str:
        return "INLINE-8"

    def _octets(self, random: Random, ids: list[int]) -> bytes:
        octets = b""
        for _ in range(random.choice((1, 1, 2, 4))):
            if random.random() < 0.3:
                octets += super()._octets(random, ids)
            else:
                octets += self._record(random)
        kind = random.random()
        if kind < 0.1:  # a piece; the rest may follow
            octets = octets[: random.randrange(1, len(octets) + 1)]
        elif kind < 0.15:
            octets = octets[random.randrange(len(octets)) :]
        return octets

    def _record(self, random: Random, depth: int = 2) -> bytes:
        """A record, often with a fault."""
        message = self._message(random, depth)
        n = len(message)
        bits, four = 0x8000, CHARACTERS
        padding = bytes(-n % 8)
        kind = random.random()
        if kind < 0.05:
            n = random.choice((*LENGTHS, n + 1, n - 1, n + 8, n - 8))
        elif kind < 0.1:
            bits = random.choice(BITS)
        elif kind < 0.15:
            four = random.choice((bytes(4), b"fVd4", CHARACTERS.lower(), CHARACTERS[::-1]))
        elif kind < 0.2:
            padding = random.randbytes(len(padding))
        elif kind < 0.25:
            padding = random.randbytes(random.randrange(12))
        return struct.pack(">H4sH", bits, four, n % 2**16) + message + padding

    def _message(self, random: Random, depth: int) -> bytes:
        """The octets of a record: a message, or nearly one, or none."""
        assert self.drawing is not None
        kind = random.random()
        if kind < 0.2:
            data = self.drawing.octets()
            return data if len(data) <= LONGEST + 8 else data[: random.choice(LENGTHS[2:8])]
        content = random.randbytes(random.choice((0, 1, 5, 100)))
        if kind < 0.4 and depth:
            content = self._record(random, depth - 1)
        id = random.choice((*IDS, random.getrandbits(64) or 1))
        data = encode(a_message("queue", content, {"id": str(id)}, id))
        if kind > 0.9:
            at = random.randrange(len(data))
            data = data[:at] + random.randbytes(1) + data[at + 1 :]
        return data if len(data) <= LONGEST else data[:LONGEST]
