"""The commands `sub`, `pub` and `reap`, and what all commands share."""

from __future__ import annotations

from pathlib import Path

from commandline import StartCommand, assert_clean, await_channels, finished, ran


def test_messages_are_printed_at_once_until_the_count_is_reached(
    home: Path, command: StartCommand
) -> None:
    lines = command("sub", "-n", "6", "a.+")
    topics = command("sub", "-v", "a.=", "b", "-n", "7")
    await_channels(home, 3)
    assert ran("pub", "a.b", "hello") == (0, b"2\n", b"")
    assert lines.stdout
    assert lines.stdout.readline() == b"hello\n"  # while the command runs
    assert ran("pub", "b") == (0, b"1\n", b"")
    assert ran("pub", "a.b", b"\x01\xff two") == (0, b"2\n", b"")
    assert ran("pub", "a.c", "-", input=b"all\nof it") == (0, b"2\n", b"")
    assert ran("pub", "--lines", "a.c", input=b"one\n\nthree") == (0, b"6\n", b"")
    assert finished(lines) == b"\x01\xff two\nall\nof it\none\n\nthree\n"
    printed = finished(topics)
    assert printed.count(b"b \n") == 1  # channels have no order between them
    assert printed.replace(b"b \n", b"") == (
        b"a.b hello\na.b \x01\xff two\na.c all\nof it\na.c one\na.c \na.c three\n"
    )
    assert_clean(home)
