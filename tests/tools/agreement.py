"""The kit's oracle and the reference's decoder in one process, on the same message files.

Ten times as quick as through a driver, for runs of many millions:

    python tests/tools/agreement.py [--inputs N] [--seed N]   drawn as by `pubsub-conformance fuzz`
    python tests/tools/agreement.py FILE-OR-DIRECTORY…        these, such as what libFuzzer found
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from pubsub_conformance.fuzz.messages import Drawing
from pubsub_conformance.oracle.message import InvalidMessage, Message, decode

import pubsub


def differs(data: bytes) -> str | None:
    """What the two make of a file, where that is not the same."""
    try:
        expected: Message | str = decode(data)
    except InvalidMessage as error:
        expected = f"refused: {error}"
    try:
        read = pubsub.Message.from_bytes(data)
        found: Message | str = Message(
            read.id, read.timestamp, read.topic, read.headers, read.content
        )
    except pubsub.InvalidMessage as error:
        found = f"refused: {error}"
    if isinstance(expected, str) and isinstance(found, str):
        return None
    return None if found == expected else f"oracle: {expected}\nreference: {found}"


def files(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                yield file.read_bytes()


def drawn(inputs: int, seed: int) -> Iterator[bytes]:
    drawing = Drawing(Random(seed))
    for _ in range(inputs):
        yield drawing.octets()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    options = parser.parse_args()
    print(f"seed {options.seed}")
    start, tried, found = time.monotonic(), 0, 0
    for data in files(options.files) if options.files else drawn(options.inputs, options.seed):
        tried += 1
        if difference := differs(data):
            found += 1
            print(f"{data.hex()}\n{difference}")
    print(f"{tried} inputs in {time.monotonic() - start:.0f} s, {found} disagreements")
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main())
