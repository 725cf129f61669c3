"""What the kit cannot see from outside: the kit's own tests of the base are the larger part."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pubsub import BaseUnusable, Channel, fetch, publish, reap
from pubsub.place import Place


def test_a_relative_base_is_taken_from_the_working_directory_at_the_time_of_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # BASE-2
    monkeypatch.setenv("PUBSUB_HOME", "relative/base")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    with Channel("a") as first:
        assert first.directory_path.parent == tmp_path / "first/relative/base"
        assert publish("a", b"1") == 1
        monkeypatch.chdir(tmp_path / "second")
        assert publish("a", b"2") == 0
        with Channel("a") as second:
            assert publish("a", b"3") == 1
            assert second.directory_path.parent == tmp_path / "second/relative/base"
            monkeypatch.chdir(tmp_path / "first")
            assert publish("a", b"4") == 1
            # An open channel does not depend on where its process went.
            assert [fetch(first).content for _ in "14"] == [b"1", b"4"]  # type: ignore[union-attr]
            assert fetch(second).content == b"3"  # type: ignore[union-attr]
            assert fetch(first) is fetch(second) is None
    assert os.listdir(tmp_path / "second/relative/base") == ["tmp"]


@pytest.mark.parametrize("use", [lambda: publish("a", b""), lambda: Channel("a").open(), reap])
def test_an_unusable_base_is_an_error_of_the_system(home: Path, use: object) -> None:
    home.write_text("not a directory")
    with pytest.raises(BaseUnusable, match=r"not a directory.*PUBSUB_HOME") as caught:
        use()  # type: ignore[operator]
    assert isinstance(caught.value, OSError)
    assert caught.value.filename == str(home)
    assert caught.value.errno


def test_a_base_that_cannot_be_made_keeps_the_systems_error(home: Path) -> None:
    home.symlink_to(home)
    with pytest.raises(BaseUnusable, match="PUBSUB_HOME") as caught:
        publish("a", b"")
    assert caught.value.errno == errno.ELOOP


# Octets of the longest path whose entries, channels with their messages, are within the limit.
LONGEST = os.pathconf("/", "PC_PATH_MAX") - 1 - len(f"/{'c' * 224}/{2**64 - 1}")


@pytest.mark.parametrize("use", [lambda: publish("a", b""), lambda: Channel("a").open(), reap])
@pytest.mark.parametrize("octets", [LONGEST + 1, LONGEST + 240])
def test_a_base_whose_entries_would_have_too_long_paths_is_unusable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[], object], octets: int
) -> None:  # CHAN-21
    home = long_path(tmp_path, octets)
    monkeypatch.setenv("PUBSUB_HOME", home)
    with pytest.raises(BaseUnusable, match="too long; set PUBSUB_HOME") as caught:
        use()
    assert (caught.value.errno, caught.value.filename) == (errno.ENAMETOOLONG, home)
    assert os.listdir(tmp_path) == []


def test_a_base_with_the_longest_path_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = long_path(tmp_path, LONGEST)
    monkeypatch.setenv("PUBSUB_HOME", home)
    pattern = f"{'c' * 99}.{'c' * 100}"
    with Channel(pattern) as channel:
        assert publish(pattern, b"deep") == 1
        assert fetch(channel) is not None
    assert os.listdir(home) == ["tmp"]


def long_path(parent: Path, octets: int) -> str:
    """A path of so many octets, of directories that do not exist."""
    path = str(parent)
    while len(path) < octets - 200:
        path += "/" + "d" * 99
    return f"{path}/{'d' * (octets - len(path) - 1)}"


def test_a_base_that_is_removed_is_made_again(home: Path) -> None:  # BASE-13
    for n in range(3):
        assert publish("a", b"to nobody") == 0
        with Channel("a") as channel:
            assert publish("a", str(n).encode()) == 1
            message = fetch(channel)
            assert message is not None
            assert message.content == str(n).encode()
        (home / "tmp").rmdir()
        home.rmdir()


SPELLINGS = ["", "/", "//", "/.", "/./", "/.//.", "/sub/..", "/sub/../", "/a/../b/.."]


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
@pytest.mark.parametrize("suffix", SPELLINGS)
@pytest.mark.parametrize("relative", [False, True])
def test_a_base_is_its_owners_however_it_is_spelt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, umask: int, relative: bool
) -> None:  # BASE-3
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PUBSUB_HOME", ("new" if relative else f"{tmp_path}/new") + suffix)
    before = os.umask(umask)
    try:
        with Channel("a") as channel:
            assert publish("a", b"secret") == 1
            assert stat.S_IMODE(os.stat(tmp_path / "new").st_mode) == 0o700
            for path in channel.directory_path.iterdir():
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
            monkeypatch.setenv("PUBSUB_HOME", str(tmp_path / "new"))
            assert publish("a", b"by another spelling") == 1
    finally:
        os.umask(before)


def test_a_base_behind_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("PUBSUB_HOME", f"{tmp_path}/link/../link/base/")
    with Channel("a"):
        assert stat.S_IMODE(os.stat(tmp_path / "real" / "base").st_mode) == 0o700
        monkeypatch.setenv("PUBSUB_HOME", f"{tmp_path}/real/base")
        assert publish("a", b"") == 1


@pytest.mark.parametrize("name", ["base", "b\u00e4se", "b\udcffse"])
def test_the_environment_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A change shows in the next call, also where a test has replaced os.environ."""
    for base in (f"{tmp_path}/{name}", f"{tmp_path}/other"):
        monkeypatch.setenv("PUBSUB_HOME", base)
        assert Place.here() == Place(base, True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", {"PUBSUB_HOME": f"{tmp_path}/replaced"})
        assert Place.here() == Place(f"{tmp_path}/replaced", True)
        os.environ.clear()
        assert not Place.here().explicit
