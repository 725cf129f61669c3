"""Names and kinds of entries, to draw from: good names, and names that are wrong in a detail."""

from __future__ import annotations

import os
import string
from random import Random

FILES = ("file", "hard link", "symlink", "dangling", "loop", "FIFO", "socket", "device")
"""The kinds of entries that are not directories."""

QUEUES = ("queue FIFO", "queue file", "queue directory", "queue link", "queue loop", "queue socket")
DIRECTORIES = ("directory", "tree", "read FIFO", *QUEUES)
"""The kinds of directories, many by what their `queue` is. Beside these there is "deep"."""

TMP = ("file", "symlink", "dangling", "loop", "FIFO", "socket", "device", "missing")
"""What may take the place of `tmp`."""

NOBODY = 2**31 - 1
"""The id of a process that does not run."""

NAMES = (
    *("TMP", "tmp ", ".tmp", "tmp\n", "queue", "-", "--help", "*", "...", " ", "\n", "%s%n"),
    "$HOME",
    *("0", "1", "007", "18446744073709551615", "18446744073709551616", "1" * 20, "1" * 21, "1\n"),
    *("\udcff\udcfe", "\u0661", "\u00e9", "e\u0301", "a" * 255, "\udc80" * 255, "-1", "+1", "1.0"),
)
PATTERNS = ("a.b", "a.+", "+", "=.=", "a.=", "z", "-", "a" * 200)
NO_PATTERNS = ("", ".", "a..b", "a.b+", "a" * 201, "a.", "a b", "\u00e9", "a.b\n", "..", "a_b")
FRESH = ("Ab3dE5gH7jK9", "000000000000")
NO_FRESH = (
    *("", "Ab3dE5gH7jK", "Ab3dE5gH7jK99", "Ab3dE5gH7jK-", "Ab3dE5gH7jK\u00e9"),
    "Ab3dE5gH7jK\u0661",
)
PIDS = (str(NOBODY), str(NOBODY), "9999999999", "1", "self")
NO_PIDS = ("0", "01", "-1", "+1", "", "12345678901", "1\n", "1 ", "\u0661", "1a", "0x1")


def draw_name(random: Random, where: str) -> str:
    """A name for an entry of this directory, as os.fsdecode returns it.

    `_self` at the end of a channel's name stands for the kit's process id.
    """
    kind = random.random()
    if kind < (0.65 if where == "base" else 0.2):
        spoiled = random.randrange(6)
        pattern = random.choice(NO_PATTERNS if spoiled == 0 else PATTERNS)
        fresh = random.choice(NO_FRESH if spoiled == 1 else FRESH)
        if spoiled != 1:
            fresh = "".join(random.choices(string.ascii_letters + string.digits, k=12))
        pid = random.choice(NO_PIDS if spoiled == 2 else PIDS)
        return f"{pattern}_{fresh}_{pid}"
    if kind < 0.85:
        return random.choice(NAMES)
    octets = random.randbytes(random.choice((1, 2, 8, 255)))
    return os.fsdecode(octets.replace(b"/", b"\\").replace(b"\0", b"\n"))
