"""Interoperability with the published formix-pubsub, unmodified, and with its own tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from typing import NoReturn

import pytest

import pubsub

COUNT = 300
OURS = Path(pubsub.__file__).parent.parent

# Installing takes longer than any other test, on a slow line.
pytestmark = pytest.mark.timeout(300)

# Both packages offer these names, so both run the same programs: PYTHONPATH says which it is.
PUBLISHER = """
import sys, pubsub
home, count = sys.argv[1], int(sys.argv[2])
assert pubsub.__file__.startswith(home), pubsub.__file__
for n in range(count):
    headers = {"n": n, "who": "Zo\\u00eb", "half": n / 2, "even": n % 2 == 0, "none": None}
    # formix-pubsub's ids repeat; its count then says 0 and the message is published again.
    tries = 0
    while pubsub.publish("interop.test", b"\\x00\\xff" * n, headers) != 1:
        tries += 1
        assert tries < 100, f"message {n} was not taken by the one channel there is"
"""

SUBSCRIBER = """
import hashlib, json, sys, time, pubsub
home, count = sys.argv[1], int(sys.argv[2])
assert pubsub.__file__.startswith(home), pubsub.__file__
deadline = time.monotonic() + 60
with pubsub.Channel("interop.+") as channel:
    print("open", flush=True)
    while count and time.monotonic() < deadline:
        message = pubsub.fetch(channel)
        if message is None:
            time.sleep(0.001)
            continue
        count -= 1
        print(json.dumps([message.topic, message.headers, message.content.hex()]), flush=True)
    print(*(path.name for path in channel.directory_path.iterdir()))
"""

# The path of one module differs, so it is an alias here. unittest has no option to leave a test
# out, so the one of a topic that is not ASCII, which our topics do not allow, is taken away.
OWN_TESTS = """
import sys, unittest, pubsub
sys.modules["pubsub.pubsub"] = pubsub
import test_message, test_pubsub
del test_message.TestMessage.test_unicode_topic
loader = unittest.defaultTestLoader
suite = unittest.TestSuite(map(loader.loadTestsFromModule, (test_message, test_pubsub)))
result = unittest.TextTestRunner().run(suite)
sys.exit(not (result.wasSuccessful() and result.testsRun == 33))
"""


def _unreachable(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="session")
def pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment, which has pip whatever ours has."""
    directory = tmp_path_factory.mktemp("venv")
    venv.create(directory, with_pip=True)
    return directory / "bin" / "python"


def _pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        _unreachable(f"pip {' '.join(arguments)}: {(done.stderr.splitlines() or ['?'])[-1]}")


@pytest.fixture(scope="session", params=["0.9.0", "1.0.0"])
def formix(
    request: pytest.FixtureRequest, pip: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Where a published version is installed."""
    if request.param == "1.0.0" and sys.version_info < (3, 11):
        pytest.skip("formix-pubsub 1.0.0 needs Python 3.11")
    directory = tmp_path_factory.mktemp("formix")
    _pip(pip, "install", "--no-deps", "--target", str(directory), f"formix-pubsub=={request.param}")
    return directory


def _environment(package: Path, base: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(package), "PUBSUB_HOME": str(base)}


def _exchange(publisher: Path, subscriber: Path, directory: Path) -> None:
    """One process publishes, another one fetches; everything has to arrive as it was sent."""
    base = directory / "base"

    def command(program: str, package: Path) -> list[str]:
        return [sys.executable, "-c", program, str(package), str(COUNT)]

    with subprocess.Popen(
        command(SUBSCRIBER, subscriber),
        env=_environment(subscriber, base),
        cwd=directory,
        stdout=subprocess.PIPE,
        text=True,
    ) as receiving:
        try:
            assert receiving.stdout
            assert receiving.stdout.readline() == "open\n"
            subprocess.run(
                command(PUBLISHER, publisher),
                env=_environment(publisher, base),
                cwd=directory,
                check=True,
                timeout=60,
            )
            *lines, left = receiving.stdout.read().splitlines()
            assert receiving.wait() == 0
        finally:
            receiving.kill()

    received = [json.loads(line) for line in lines]
    sent = [
        [
            "interop.test",
            {"n": n, "who": "Zoë", "half": n / 2, "even": n % 2 == 0, "none": None},
            (b"\x00\xff" * n).hex(),
        ]
        for n in range(COUNT)
    ]
    assert received == sent
    assert left == "queue", "all was fetched, and this stands in the channel"
    standing = [str(path.relative_to(base)) for path in base.rglob("*") if path.name != "tmp"]
    assert not standing, "both are at an end, and something is left in the base"


def test_formix_publishes_to_us(formix: Path, tmp_path: Path) -> None:
    _exchange(formix, OURS, tmp_path)


def test_we_publish_to_formix(formix: Path, tmp_path: Path) -> None:
    _exchange(OURS, formix, tmp_path)


def test_formix_tests_pass_on_ours(pip: Path, tmp_path: Path) -> None:
    """They are fetched from the package index; only its source distribution has them."""
    options = ("--no-deps", "--no-binary", ":all:", "--dest", str(tmp_path))
    _pip(pip, "download", *options, "formix-pubsub==0.9.0")
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        for name in ("test_message.py", "test_pubsub.py"):
            (member,) = (m for m in sdist.getmembers() if m.name.endswith(f"/tests/{name}"))
            content = sdist.extractfile(member)
            assert content
            (tmp_path / name).write_bytes(content.read())
    done = subprocess.run(
        [sys.executable, "-c", OWN_TESTS],
        env=_environment(OURS, tmp_path / "base"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
