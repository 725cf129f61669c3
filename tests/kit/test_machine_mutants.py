"""The mutants that no person chose (tests/tools/machine_mutants.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mutation import ROOT

# Only the environment `machine` has the tools that make them.
pytest.importorskip("cosmic_ray")
pytest.importorskip("universalmutator")

from machine import candidates, draw, excuses
from machine.c import C
from machine.making import Invalid
from machine.reference import Reference

SOURCE = '''\
def send(queue: bytes | None) -> int:
    """Sends 1 message."""
    if queue is None:
        return 1
    return 2
'''


def judged(results: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status, and what was kept of the mutants that can be told from the original."""
    command = [sys.executable, f"{ROOT}/tests/tools/machine_mutants.py", "--results", str(results)]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    kept = [json.loads(line) for line in results.read_text("utf-8").splitlines()]
    return done.returncode, [one for one in kept if one["key"] and one["outcome"] != "equal"]


@pytest.mark.timeout(300)
def test_a_mutant_is_killed_and_a_run_goes_on(tmp_path: Path) -> None:
    results = tmp_path / "results"
    options = ("--within", "topics.matches", "reference")
    _, first = judged(results, "--number", "1", *options)
    assert [one["outcome"] for one in first] == ["killed"]
    with results.open("a") as file:
        file.write('{"name": "cut o')  # as by a power failure
    _, both = judged(results, "--number", "2", *options)
    assert both[0] == first[0]
    assert len(both) == 2


def test_an_excused_mutant_is_not_judged(tmp_path: Path) -> None:
    options = ("--number", "1", "--within", "message.Message.__hash__", "reference")
    status, kept = judged(tmp_path / "results", *options)
    assert (status, [one["outcome"] for one in kept]) == (0, ["excused"])


def test_a_mutant_keeps_its_name_when_other_code_changes(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(SOURCE)
    before = {made.name: made for made in candidates.in_python(file)}
    keys = {candidates.change(made, made.changed() or "").key for made in before.values()}
    file.write_text(f"import os\n\n\n{SOURCE}\n\ndef close():\n    return 3 < os.getpid()\n")
    after = {made.name: made for made in candidates.in_python(file)}
    assert before.keys() <= after.keys()
    of_send = [made for made in after.values() if made.function == "module.send"]
    assert keys == {candidates.change(made, made.changed() or "").key for made in of_send}
    order = [made.name for made in draw.draw(before.values(), 1)]
    assert order == [made.name for made in draw.draw(of_send, 1)]
    assert order != [made.name for made in draw.draw(of_send, 2)]


@pytest.mark.parametrize(
    ("new", "same"),
    [
        (SOURCE.replace("1 message", "2 messages"), True),
        (SOURCE.replace("bytes | None", "bytes & None"), True),
        (SOURCE.replace("return 2", "return 2  # done"), True),
        (SOURCE.replace("return 2", "return 3"), False),
        (SOURCE.replace("is None", "is not None"), False),
    ],
)
def test_equal_bytecode_is_the_same_mutant(tmp_path: Path, new: str, same: bool) -> None:
    maker = Reference(tmp_path / "common")
    file = tmp_path / "module.py"
    assert (maker.code(file, new) == maker.code(file, SOURCE)) is same
    with pytest.raises(Invalid):
        maker.code(file, "return return")


def test_equal_object_code_is_the_same_mutant(tmp_path: Path) -> None:
    maker = C(tmp_path / "common")
    file = maker.files[0]
    text = file.read_text("utf-8")
    assert maker.code(file, f"{text}/* the end */\n") == maker.code(file, text)
    assert maker.code(file, f"{text}int more;\n") != maker.code(file, text)
    with pytest.raises(Invalid):
        maker.code(file, f"{text}}}")


def test_what_cannot_be_linked_is_no_mutant(tmp_path: Path) -> None:
    maker = C(tmp_path / "common")
    file = next(file for file in maker.files if file.name == "queue.c")
    text = file.read_text("utf-8").replace("ps_record_key", "ps_another_name")
    with pytest.raises(Invalid):
        maker.code(file, text)


def test_several_mutants_are_made_at_once(tmp_path: Path) -> None:
    maker = C(tmp_path / "common")
    file = maker.files[0]
    text = file.read_text("utf-8")
    texts = [f"{text}int more_{n};\n" for n in range(12)]
    one_by_one = [maker.code(file, each) for each in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda each: maker.code(file, each), texts)) == one_by_one


def test_each_function_has_its_lines_in_c(tmp_path: Path) -> None:
    maker = C(tmp_path / "common")
    file = next(file for file in maker.files if file.name == "channel.c")
    functions = {made.function for made in maker.candidates(file)}
    assert {"channel.pubsub_open", "channel.ps_look", "channel.ps_wake"} <= functions


def test_each_excuse_names_what_there_is(tmp_path: Path) -> None:
    for maker in (Reference(tmp_path / "reference"), C(tmp_path / "c")):
        excused = {excuse.function for excuse in excuses.Excuses(excuses.load(), maker.name)}
        files = [file for file in maker.files if file.stem in {n.split(".")[0] for n in excused}]
        assert excused <= {made.function for file in files for made in maker.candidates(file)}
