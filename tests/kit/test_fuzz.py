"""The fuzzer finds what is broken, within few inputs, and says it in the right words; and what
coverage found is judged alike by the oracle, the reference and the implementation in C."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import mutants
import pytest
from agreement import differs
from mutants.further import BELIEVES_A_LENGTH, DIES_OF_A_REQUEST, DIES_OF_HALF_A_PAIR
from mutation import ROOT, Mutant
from pubsub_conformance import fuzz
from pubsub_conformance.commands import main
from pubsub_conformance.driver import Driver, Limits
from pubsub_conformance.fuzz import TARGETS, requests
from pubsub_conformance.fuzz.messages import Drawing
from pubsub_conformance.fuzz.report import Finding
from pubsub_conformance.fuzz.requests import Requests
from pubsub_conformance.fuzz.target import pruned
from pubsub_conformance.judge.verdict import Verdict

DRIVER = [sys.executable, str(ROOT / "conformance/implementations/reference/driver.py")]
C = ROOT / "conformance/implementations/c"
CORPUS = C / "corpus"


def nothing(seconds: float, text: str) -> None:
    """Nobody looks on."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where evidence is kept
    monkeypatch.setattr(fuzz, "SHRINK_SECONDS", 2.0)
    monkeypatch.setattr(Driver, "limits", Limits(reply_seconds=2.0))


def found(mutant: Mutant, target: str, inputs: int, directory: Path) -> Finding:
    command = mutant.command(directory / "mutant")
    report = fuzz.run(
        command, directory, names=[target], seed=1, seconds=30, inputs=inputs, tell=nothing
    )
    (outcome,) = report.outcomes
    assert outcome.findings, f"{mutant.what}: not found with {outcome.inputs} inputs"
    assert report.verdict is Verdict.BROKEN
    finding = outcome.findings[0]
    assert finding.file.read_bytes() == finding.input
    return finding


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (mutants.of("MSG-14"), "accepted an invalid file: 1 octets follow the content"),
        (BELIEVES_A_LENGTH, "MiB of memory for"),
        (DIES_OF_HALF_A_PAIR, "exit status 3"),
        (mutants.of("MSG-10"), "accepted an invalid file: not an interoperable integer: "),
    ],
    ids=lambda value: value.what if isinstance(value, Mutant) else "",
)
def test_decode(mutant: Mutant, words: str, tmp_path: Path) -> None:
    status = Path("/proc/self/status")
    if mutant.requirement == "MSG-13" and not (status.exists() and "VmPeak" in status.read_text()):
        pytest.skip("needs VmPeak in /proc/PID/status")
    finding = found(mutant, "decode", 4000, tmp_path)
    if words != "exit status 3":  # which may come of any of several faults of one file
        assert finding.requirement == mutant.requirement
    assert words in finding.what
    if "accepted" in words:  # else each try takes a new process, and time may be short
        assert len(finding.input) < 100, "it was not made small"


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        ("BASE-10", "expected"),
        ("REAP-5", "gone, but must stay"),
    ],
)
def test_entries(requirement: str, words: str, tmp_path: Path) -> None:
    finding = found(mutants.of(requirement), "entries", 300, tmp_path)
    if requirement != "BASE-10":  # which breaks all that follows
        assert finding.requirement == requirement
    assert words in finding.what
    _, *planted = json.loads(finding.input)
    assert planted, "the fault is in an entry"


@pytest.mark.parametrize(
    ("requirement", "words"),
    [("FETCH-3", "found None"), ("FETCH-7", "expected invalid-message"), ("FETCH-9", "damaged")],
)
def test_queue(requirement: str, words: str, tmp_path: Path) -> None:
    finding = found(mutants.of(requirement), "queue", 300, tmp_path)
    assert finding.requirement == requirement
    assert words in finding.what
    assert len(json.loads(finding.input)) <= 3, "three steps are enough"


def test_requests(tmp_path: Path) -> None:
    finding = found(DIES_OF_A_REQUEST, "requests", 300, tmp_path)
    assert finding.requirement == "DRIVER-5"
    assert "did not live through it" in finding.what
    assert "Traceback" in finding.what


# What the reference's driver died of, or answered as if it were a request, when this began.
ONCE_TOO_MUCH = [
    b"[" * 100_000,
    b'{"seq": true, "op": "hello", "protocol": 1}',
    b'{"seq": 1, "op": "hello", "protocol": 1, "more": NaN}',
    b'{"seq": 1, "op": "no-such-op", "report": "nothing"}',
    b'{"seq": 1, "op": "reap", "stale_age": 1%s}' % (b"0" * 400),
    b'{"seq": 1, "op": "wait", "channel": "@channel@", "timeout": 1%s}' % (b"0" * 400),
    '{"seq": 1, "op": "hello", "protocol": 1}'.encode("utf-16-be") + b"\0",  # the newline's
    *(
        b'{"seq": 1, "op": "produce", "topic": "a", "prefix": "p", "count": 1, "sizes": %s,'
        b' "report": "totals"}' % sizes
        for sizes in (b"[]", b'["a"]', b"[null]", b"[[]]")
    ),
]


def test_the_reference_answers_what_was_once_too_much(tmp_path: Path) -> None:
    target = Requests(DRIVER, tmp_path)
    try:
        for line in ONCE_TOO_MUCH:
            assert target.attempt(line) is None, line[:100]
    finally:
        target.stop()


@pytest.mark.parametrize(
    ("line", "codes", "seqs"),
    [
        (b"", {"bad-request"}, (None,)),
        (b"[" * 100_000, {"bad-request"}, (None,)),
        (b'{"seq": 1, "op": "reap", "stale_age": NaN}', {"bad-request"}, (None,)),
        (b'{"seq": true, "op": "hello", "protocol": 1}', {"bad-request"}, (None,)),
        (b'{"seq": 1, "op": "hello", "protocol": "1"}', {"bad-request"}, (1,)),
        (b'{"seq": 1, "op": "coffee"}', {"unknown-op"}, (1,)),
        (b'{"seq": 1, "op": "wait", "channel": "c1", "timeout": 1e400}', set(), None),
        (b'{"seq": 1, "op": "wait", "channel": "c1", "timeout": -1}', set(), (1,)),
        (b'{"seq": 1, "op": "hello", "protocol": 1, "more": 1}', set(), (1,)),
        (b'{"seq": 1, "seq": 2, "op": "hello", "protocol": 1}', set(), None),
    ],
    ids=lambda value: value[:50].decode() if isinstance(value, bytes) else "",
)
def test_no_more_is_demanded_than_is_promised(
    line: bytes, codes: frozenset[str], seqs: tuple[float | None, ...] | None
) -> None:
    demand = requests.demanded(line, {"subscriber", "reaper"})
    assert (demand.code, demand.seqs) == (codes, seqs)


def test_the_reference_withstands(tmp_path: Path) -> None:
    against = shlex.join(DRIVER)
    arguments = ["fuzz", "--inputs", "12", "--seed", "1", "--against", against]
    report = tmp_path / "report.json"
    home = ["--home", str(tmp_path)]
    assert main([*arguments, *home, "--json", str(report), "--", *DRIVER]) == 0
    told = json.loads(report.read_text())
    assert [(target["target"], target["inputs"]) for target in told["targets"]] == [
        (name, 12) for name in TARGETS
    ]


def test_a_saved_input_is_judged_again(tmp_path: Path) -> None:
    mutant = mutants.of("MSG-10")
    finding = found(mutant, "decode", 4000, tmp_path)
    command = [sys.executable, str(tmp_path / "mutant" / "driver.py")]
    replay = ["fuzz", "--target", "decode", "--replay", str(finding.file), "--"]
    assert shlex.join([*replay[:-1], "--", *command]).endswith(finding.repeat)
    assert main([*replay, *command]) == 1
    assert main([*replay, *DRIVER]) == 0


def test_what_cannot_be_judged(tmp_path: Path) -> None:
    assert main(["fuzz", "--inputs", "1", "--", "false"]) == 2
    with pytest.raises(SystemExit):
        main(["fuzz", "--replay", str(tmp_path), "--", *DRIVER])


def test_the_same_seed_draws_the_same() -> None:
    first, second = (Drawing(Random(7)) for _ in range(2))
    assert [first.octets() for _ in range(300)] == [second.octets() for _ in range(300)]


def test_pruning_keeps_what_matters() -> None:
    assert pruned(b"xxaxxbxx", lambda octets: {*b"ab"} <= {*octets}) == b"ab"


def test_the_corpus_is_read_alike() -> None:
    files = sorted(CORPUS.iterdir())
    assert len(files) > 30
    for file in files:
        assert differs(file.read_bytes()) is None, file.name


def test_the_drivers_read_the_corpus_alike(tmp_path: Path) -> None:
    against = None
    if shutil.which("cc") and shutil.which("make"):
        shutil.copytree(C, tmp_path / "c", ignore=shutil.ignore_patterns("*.o", "corpus", "driver"))
        subprocess.run(["make", "-s", "-C", tmp_path / "c", "CFLAGS=-O0", "driver"], check=True)
        against = [str(tmp_path / "c" / "driver")]
    report = fuzz.run(
        DRIVER,
        tmp_path,
        names=["decode"],
        against=against,
        seed=1,
        seconds=60,
        inputs=0,
        saved=[CORPUS],
        tell=nothing,
    )
    assert report.verdict is Verdict.CONFORMS, report
