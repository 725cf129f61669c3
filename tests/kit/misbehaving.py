"""A driver that does one thing wrong, named by its argument; everything else it does right.

No implementation is behind it: it answers hello, `match` (always yes), and streams that are empty
but for their last line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

HELLO: dict[str, Any] = {
    "implementation": "misbehaving",
    "version": "1",
    "language": "Python",
    "spec": "1",
    "roles": ["topics", "publisher", "subscriber"],
}
HELD = open(1, "w", closefd=False)  # noqa: SIM115 - buffered, flushed at the end alone
DONE = {"messages": 0, "count": 0, "start": "1", "end": "2"}


def write(text: str) -> None:
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def answer(seq: object, **fields: object) -> None:
    write(json.dumps({"seq": seq, **fields}) + "\n")


def for_ever() -> None:
    while True:
        time.sleep(0.05)  # pause() would miss a signal that comes just before it


def child(**more: Any) -> None:
    """Leaves a process behind that would outlive the tests by far."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], **more)
    print(f"child {process.pid}", file=sys.stderr, flush=True)


def match(mode: str, seq: int) -> None:
    """Answers the first request after hello in the way that `mode` asks for."""
    if mode == "crash-inside":
        print("about to crash", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    elif mode == "exit-inside":
        print("giving up", file=sys.stderr, flush=True)
        sys.exit(3)
    elif mode == "half-a-line":
        write('{"seq": ')
        sys.exit(0)
    elif mode == "garbage":
        write("matching...\n")
    elif mode == "no-object":
        write("[1]\n")
    elif mode == "not-utf-8":
        sys.stdout.buffer.write(b'{"seq": 2, "match": true, "\xff": 1}\n')
        sys.stdout.buffer.flush()
    elif mode == "not-a-number":
        write(f'{{"seq": {seq}, "match": NaN}}\n')
    elif mode == "name-twice":
        write(f'{{"seq": {seq}, "match": true, "match": false}}\n')
    elif mode == "deep":
        write("[" * 200_000 + "\n")
    elif mode == "late":
        time.sleep(1)
        answer(seq, match=True)
    elif mode == "never":
        print("thinking", file=sys.stderr, flush=True)
        for_ever()
    elif mode == "unflushed":
        HELD.write(json.dumps({"seq": seq, "match": True}) + "\n")
    elif mode == "twice":
        answer(seq, match=True)
        answer(seq, match=True)
    elif mode == "wrong-seq":
        answer(seq + 1, match=True)
    elif mode == "no-seq":
        write('{"match": true}\n')
    elif mode == "wrong-type":
        answer(seq, match="yes")
    elif mode == "field-missing":
        answer(seq)
    elif mode == "field-too-many":
        answer(seq, match=True, because="equal")
    elif mode == "wrong-code":
        answer(seq, error={"code": "bad-topic", "detail": ""})
    elif mode == "no-errno":
        answer(seq, error={"code": "io-error", "detail": "disk"})
    elif mode == "flood-stderr":
        for number in range(40_000):
            print(f"{number:060}", file=sys.stderr)
        print("the end", file=sys.stderr, flush=True)
        answer(seq, match=True)
    elif mode == "flood-stdout":
        while True:
            write("x" * 65536)
    elif mode == "closes-stdout":
        os.close(1)
        for_ever()
    else:
        answer(seq, match=True)


def main() -> None:
    mode = sys.argv[1]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if mode == "crash-at-start":
        print("no such library", file=sys.stderr, flush=True)
        sys.exit(127)
    if mode == "silent-at-start":
        for_ever()
    if mode == "banner":
        write("misbehaving driver 1.0\n")
    if mode == "ignore-sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "child":
        child()
    if mode == "child-without-pipes":
        child(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if mode == "does-not-read":
        answer(1, **HELLO)
        for_ever()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        seq, op = request["seq"], request["op"]
        if op == "hello" and mode == "refuses-hello":
            answer(seq, error={"code": "bad-request", "detail": "protocol 1?"})
        elif op == "hello" and mode == "no-roles":
            answer(seq, **{**HELLO, "roles": []})
        elif op == "hello":
            answer(seq, **HELLO)
        elif op == "match":
            match(mode, seq)
        elif op == "produce":
            for n in range(2):
                answer(seq, event={"n": n, "start": "1", "end": "2", "count": 0})
            if mode == "dies-in-stream":
                write('{"seq": 2, "eve')
                os.kill(os.getpid(), signal.SIGKILL)
            if mode == "waits-in-stream":
                for_ever()
            while mode == "endless-stream":
                answer(seq, event={"n": 2, "start": "1", "end": "2", "count": 0})
            if mode == "event-with-both":
                error = {"code": "too-large", "detail": ""}
                answer(seq, event={"n": 2, "start": "1", "end": "2", "count": 0, "error": error})
            answer(seq, done=DONE)
        elif op == "wait":
            for_ever()
        elif mode == "result-for-nonsense":
            answer(seq, match=True)
        else:
            answer(seq, error={"code": "unknown-op", "detail": op})
    if mode == "ignore-end-of-stdin":
        for_ever()
    if mode == "exit-status":
        sys.exit(1)
    if mode == "farewell":
        write("bye\n")


if __name__ == "__main__":
    main()
