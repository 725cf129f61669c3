"""What the tests of channels share."""

from __future__ import annotations

import os
from pathlib import Path

from pubsub_conformance.driver import Driver, OpenChannel
from pubsub_conformance.linux.calls import Call
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import fresh_id
from pubsub_conformance.oracle.queue import has_reader

QUIET_SECONDS = 0.5
"""How long a test waits on an empty queue for a wait that ends too early."""


def is_received(base: Base, driver: Driver, channel: OpenChannel) -> bool:
    """Whether the driver fetches, from its channel, a message that the kit publishes now."""
    message = base.publish("a", b"probe")
    return driver.fetch(channel) == message


def check_sound(base: Base, driver: Driver, channel: OpenChannel) -> None:
    """The channel has to receive. Closing it has to leave nothing, of earlier attempts either."""
    assert channel.directory in base.channels(), f"not visible:\n{base.tree()}"
    assert has_reader(channel.directory), "the queue of the new channel has no reader"
    assert is_received(base, driver, channel), "the channel that was opened does not receive"
    driver.close_channel(channel)
    assert base.leftovers() == [], f"something is left after closing:\n{base.tree()}"


def foreign_entries(directory: Path) -> set[str]:
    """Make entries that later versions, or other programs, may make. Returns their names."""
    before = set(os.listdir(directory))
    os.mkfifo(directory / "inline")
    (directory / "lane").mkdir()
    (directory / "lane" / "1").write_bytes(b"foreign")
    (directory / "dangling").symlink_to("nowhere")
    for name in (".hidden", "0", f"0{fresh_id()}", f"{fresh_id()}.tmp", "1" * 21):
        (directory / name).write_bytes(b"foreign")
    return set(os.listdir(directory)) - before


def reads(call: Call) -> bool:
    """Whether this call opens a descriptor that reads, and so keeps a queue alive."""
    return not {"O_WRONLY", "O_PATH"} & call.flags
