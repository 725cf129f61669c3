"""The action for GitHub: its steps run as the forge runs them, and the workflows that name it.

`tox run -e workflows` runs these tests.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mutants
import pytest
from mutation import REFERENCE, Mutant

yaml = pytest.importorskip("ruamel.yaml", reason="the environment `workflows` installs it")

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "conformance/action.yml"
BASH = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")
# What the conditions of steps come to on a machine that is not the forge's own.
CONDITIONS = {
    "runner.os == 'Linux' && runner.environment == 'github-hosted'": False,
}
QUICK = "run -n 0 --section topics"


def loaded(text: str) -> Any:
    return yaml.YAML(typ="safe").load(text)


class Result(NamedTuple):
    """What the forge has of the action in the end."""

    code: int
    log: str
    outputs: dict[str, str]
    summary: str
    uploaded: list[str]
    """The names of the files in the artifact."""


class Forge:
    """Runs the steps of the action: a temporary directory and the files that a runner has."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._action = loaded(ACTION.read_text(encoding="utf-8"))
        self._steps: dict[str, dict[str, str]] = {}
        self._log = ""
        self._installed: dict[str, Any] | None = None

    def run(self, work: Path, **given: str) -> Result:
        """Run all steps, after one of which failed no other. Returns what is there then."""
        inputs = {name: spec.get("default", "") for name, spec in self._action["inputs"].items()}
        assert given.keys() <= inputs.keys()
        self._inputs = inputs | given
        self._steps, self._log = {}, ""
        summary = self._directory / "summary"
        summary.write_text("")
        code, uploaded = 0, []
        for step in self._action["runs"]["steps"]:
            if code or not self._is_due(step) or step == self._installed:
                continue
            if "run" in step:
                code = self._shell(step, work, summary)
                if step.get("name") == "Install the kit" and not code:
                    self._installed = step  # once, not in every test
            elif step["uses"].startswith("actions/upload-artifact@"):
                uploaded = sorted(os.listdir(self._value(step["with"]["path"])))
        values = {name: spec["value"] for name, spec in self._action["outputs"].items()}
        outputs = {name: self._value(value) for name, value in values.items()}
        return Result(code, self._log, outputs, summary.read_text(encoding="utf-8"), uploaded)

    def _is_due(self, step: dict[str, Any]) -> bool:
        condition = step.get("if", "")
        if match := re.fullmatch(r"inputs\.([\w-]+) != ''", condition):
            return bool(self._inputs[match[1]])
        return not condition or CONDITIONS[condition]

    def _value(self, text: str) -> str:
        return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: self._expression(found[1]), text)

    def _expression(self, text: str) -> str:
        for part in text.split(" || "):
            if match := re.fullmatch(r"'(.*)'", part):
                value = match[1]
            elif match := re.fullmatch(r"inputs\.([\w-]+)", part):
                value = self._inputs[match[1]]
            else:
                match = re.fullmatch(r"steps\.(\w+)\.outputs\.([\w-]+)", part)
                assert match, text
                value = self._steps.get(match[1], {}).get(match[2], "")
            if value:
                return value
        return ""

    def _shell(self, step: dict[str, Any], work: Path, summary: Path) -> int:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]  # an input would become part of the program
        output = self._directory / "output"
        output.write_text("")
        script = self._directory / "step.sh"
        script.write_text(step["run"], encoding="utf-8")
        environment = {
            **os.environ,
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ACTION.parent),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
            "RUNNER_TEMP": str(self._directory),
            **{name: self._value(value) for name, value in step.get("env", {}).items()},
        }
        done = subprocess.run(
            [*BASH, str(script)],
            cwd=work / self._value(step.get("working-directory", "")),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._log += done.stdout
        lines = output.read_text(encoding="utf-8").splitlines()
        self._steps[step.get("id", "")] = dict(line.split("=", 1) for line in lines)
        return done.returncode

    @property
    def commands(self) -> list[str]:
        """The workflow commands that the runner obeys."""
        obeyed, token = [], ""
        for line in self._log.splitlines():
            if token:
                token = "" if line == f"::{token}::" else token
            elif line.startswith("::stop-commands::"):
                token = line.removeprefix("::stop-commands::")
            elif line.startswith("::"):
                obeyed.append(line)
        return obeyed


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    return Forge(tmp_path_factory.mktemp("runner temp"))


@pytest.fixture
def driver(tmp_path: Path) -> Callable[[Mutant], str]:
    """The command of a mutant's driver, for the input of that name."""

    def command(mutant: Mutant = REFERENCE) -> str:
        return shlex.join(mutant.command(tmp_path / "a mutant"))

    return command


FILES = ["run-annotations.txt", "run-badge.json", "run.html", "run.json", "run.log", "run.md"]
FILES.append("run.xml")

pytestmark = pytest.mark.timeout(300)  # seconds: it installs the kit


def test_a_driver_that_passes(forge: Forge, driver: Callable[..., str], tmp_path: Path) -> None:
    result = forge.run(tmp_path, driver=driver(), commands=QUICK)
    assert (result.code, result.outputs["verdict"]) == (0, "conforms"), result.log
    assert json.loads(result.outputs["badge"])["message"] == "conforms"
    assert result.summary.startswith("## pubsub-reference ")
    assert result.uploaded == FILES
    assert not [line for line in forge.commands if line.startswith("::error")]


def test_a_driver_that_fails(forge: Forge, driver: Callable[..., str], tmp_path: Path) -> None:
    result = forge.run(tmp_path, driver=driver(mutants.of("TOPIC-4")), commands=QUICK)
    assert (result.code, result.outputs["verdict"]) == (1, "does not conform"), result.log
    assert json.loads(result.outputs["badge"])["color"] == "red"
    assert "does not conform" in result.summary
    assert result.uploaded == FILES
    assert [line for line in forge.commands if line.startswith("::error title=TOPIC-4 ")]


def test_a_driver_that_is_missing(forge: Forge, tmp_path: Path) -> None:
    commands = f"{QUICK}\nstress --seconds 1"
    result = forge.run(tmp_path, driver="./absent", commands=commands)
    assert (result.code, result.outputs["verdict"]) == (2, "could not be judged"), result.log
    assert json.loads(result.outputs["badge"])["message"] == "could not be judged"
    assert result.summary.count("## ") == 2
    assert {*FILES, "stress.log"} <= {*result.uploaded}
    assert len([line for line in forge.commands if line.startswith("::error")]) == 2


def test_several_commands_have_one_verdict(
    forge: Forge, driver: Callable[..., str], tmp_path: Path
) -> None:
    commands = f"\n{QUICK}\nrun -n 0 --requirement TOPIC-1\nlist\n"
    result = forge.run(tmp_path, driver=driver(mutants.of("TOPIC-4")), commands=commands)
    assert (result.code, result.outputs["verdict"]) == (1, "does not conform"), result.log
    assert {"run.json", "run-2.json"} <= {*result.uploaded}


@pytest.mark.parametrize(
    "inputs",
    [
        {"driver": "  "},
        {"driver": "an 'open quote"},
        {"driver": "./absent", "commands": "\n"},
        {"driver": "./absent", "commands": "bench"},
        {"driver": "./absent", "commands": "run --no-such-option"},
    ],
    ids=repr,
)
def test_nothing_to_judge_is_no_verdict(
    forge: Forge, tmp_path: Path, inputs: dict[str, str]
) -> None:
    result = forge.run(tmp_path, **inputs)
    assert (result.code, result.outputs["verdict"]) == (2, "could not be judged"), result.log


def test_inputs_are_words_and_not_programs(
    forge: Forge, driver: Callable[..., str], tmp_path: Path
) -> None:
    hostile = "$(touch made) `touch made` ; touch made"
    for inputs in (
        {"driver": f"./absent {hostile}"},
        {"driver": "./absent", "commands": f"run {hostile}"},
        {"driver": "./absent", "expected": hostile},
    ):
        assert forge.run(tmp_path, **inputs).code == 2
    assert not list(tmp_path.rglob("made"))


def test_what_a_driver_writes_is_no_command(forge: Forge, tmp_path: Path) -> None:
    path = tmp_path / "here/driver"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho '::error::forged'\necho '::error::forged' >&2\nexit 1\n")
    path.chmod(0o755)
    inputs = {"driver": "./driver", "commands": QUICK, "working-directory": "here"}
    result = forge.run(tmp_path, **inputs)
    assert result.code == 2, result.log
    assert "forged" in result.log
    assert "::error::forged" not in forge.commands


def samples() -> list[str]:
    """The workflows that the kit's README shows."""
    text = (ROOT / "conformance/README.md").read_text(encoding="utf-8")
    return re.findall(r"^```yaml\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def test_the_sample_is_a_workflow_that_uses_the_action(tmp_path: Path) -> None:
    (sample,) = samples()
    assert len(sample.splitlines()) <= 10
    path = tmp_path / ".github/workflows/sample.yml"
    path.parent.mkdir(parents=True)
    path.write_text(sample, encoding="utf-8")
    tool = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    subprocess.run([*tool, str(path)], check=True)
    subprocess.run(["sh", ".ci/actionlint.sh", sys.prefix, str(path)], cwd=ROOT, check=True)
    (step,) = (
        step
        for job in loaded(sample)["jobs"].values()
        for step in job["steps"]
        if "/conformance@" in step.get("uses", "")
    )
    action = loaded(ACTION.read_text(encoding="utf-8"))
    assert step["with"].keys() <= action["inputs"].keys()
    required = {name for name, spec in action["inputs"].items() if spec.get("required")}
    assert required <= step["with"].keys()
