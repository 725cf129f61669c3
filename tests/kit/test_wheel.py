"""What is installed: the wheel, built from the sdist, has every page that the kit points to."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("build", reason="needs the dependency group test")

ROOT = Path(__file__).parents[2]
RELATIVE_LINK = re.compile(r"\]\((?!https?:|#)[^)]+\)")


def built(project: Path, where: Path) -> Path:
    """The content of the wheel that is built from the sdist of a project."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(where)]
    done = subprocess.run([*command, str(project)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(where.glob("*.tar.gz"))) == 1
    (wheel,) = where.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(where / "content")
    return where / "content"


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT / "conformance", tmp_path_factory.mktemp("kit"))


def printed(kit: Path, *arguments: str) -> str:
    """What a command of the wheel prints."""
    program = "import pubsub_conformance as kit; print(kit.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(kit)}

    def run(*more: str) -> str:
        done = subprocess.run(
            [sys.executable, *more], cwd=kit, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", program).startswith(str(kit))
    return run("-m", "pubsub_conformance", *arguments)


@pytest.mark.timeout(300)
def test_every_page_is_in_the_wheel(kit: Path) -> None:
    names = [line.split()[0] for line in printed(kit, "docs").splitlines()]
    pages = {path.stem for path in (ROOT / "spec").glob("*.md")} - {"README"}
    assert {"README", "TUTORIAL", "DRIVER", "spec", *pages} == {*names}
    for name in ("README", "TUTORIAL", "DRIVER"):
        there = (ROOT / "conformance" / f"{name}.md").read_text(encoding="utf-8")
        assert printed(kit, "docs", name).rstrip() == there.rstrip()
    assert "PUB-7" in printed(kit, "docs", "PUB-7")


def strings(path: Path) -> Iterator[str]:
    """The strings of a module that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documents = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documents:
            yield node.value


def test_no_message_points_to_a_page_that_is_missing(kit: Path) -> None:
    package = kit / "pubsub_conformance"
    there = {path.name for path in package.rglob("*.md")}
    named = {
        name
        for path in package.rglob("*.py")
        for text in strings(path)
        for name in re.findall(r"[\w-]+\.md\b", text)
    }
    assert named - there == set()


@pytest.mark.parametrize("project", [".", "conformance"])
def test_the_page_of_an_index_has_no_dead_link(project: str, kit: Path, tmp_path: Path) -> None:
    content = kit if project == "conformance" else built(ROOT, tmp_path)
    (path,) = content.glob("*.dist-info/METADATA")
    metadata = path.read_text(encoding="utf-8")
    assert RELATIVE_LINK.search((ROOT / project / "README.md").read_text(encoding="utf-8"))
    assert RELATIVE_LINK.findall(metadata) == []
    assert "\n# " in metadata
