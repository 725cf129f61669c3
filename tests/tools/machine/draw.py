"""The order in which candidates are made: drawn by a seed, spread evenly over functions and tools.

The order within a function depends on its own candidates only, so that a draw of N stays nearly the
same when the code changes.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import zip_longest

from .candidates import Candidate


def draw(candidates: Iterable[Candidate], seed: int) -> Iterator[Candidate]:
    """All of them: of each function its first, then of each its second …"""

    def drawn(name: str) -> bytes:
        return hashlib.sha256(f"{seed}|{name}".encode()).digest()

    functions: dict[str, dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    for candidate in candidates:
        functions[candidate.function][candidate.tool].append(candidate)
    queues = []
    for function in sorted(functions, key=drawn):
        tools = [
            sorted(of_tool, key=lambda each: drawn(each.name))
            for _, of_tool in sorted(functions[function].items())
        ]
        queues.append([each for turn in zip_longest(*tools) for each in turn if each])
    for turn in zip_longest(*queues):
        yield from filter(None, turn)
