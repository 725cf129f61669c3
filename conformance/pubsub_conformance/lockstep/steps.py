"""The steps of a schedule. The `repr` of a step is its source."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from pubsub_conformance.oracle import queue
from pubsub_conformance.oracle.base import put
from pubsub_conformance.oracle.message import Message, a_message, fresh_id
from pubsub_conformance.oracle.record import MARKER, WORD, is_marked, send
from pubsub_conformance.oracle.topics import matches

from .model import Channel, Dead, Sent, names
from .world import KIT, NOBODY, Broken, Step, World

PLANTS: Final = ("id", "orphan", "file", "directory")
LITTER: Final = ("file", "directory", "no FIFO", "staged", "dead", "abandoned")


@dataclass(frozen=True)
class ChannelStep(Step):
    """A step on one of the channels that are open. None is taken while there is none."""

    which: int
    needs_channel: ClassVar[bool] = True


@dataclass(frozen=True)
class Open(Step):
    party: str
    pattern: str
    inline: bool = False
    """Whether it asks for the inline lane."""

    def run(self, world: World) -> None:
        owner, party = world.party(self.party, "subscriber")
        name = world.fresh("c")
        asks = ", inline=True" * self.inline
        source = f"{name} = {owner}.open({self.pattern!r}{asks})"
        handle = world.request("open", source, lambda: party.open(self.pattern, inline=self.inline))
        if owner != KIT:  # REAP-1
            for dead in world.dead:
                dead.may_be_reaped |= not dead.process_runs
        channel = Channel(name, owner, self.pattern, handle)
        world.channels.append(channel)
        world.look("open")
        has_entry = MARKER in names(channel.directory)
        channel.marked = channel.has_marker = is_marked(channel.directory)
        if not self.inline:
            world.expect("INLINE-2", f"the entry {MARKER} in {name}", has_entry, False)
        elif channel.fill()[1] >= queue.LEAST_ROOM:
            world.expect("INLINE-1", f"{name} with a marker", channel.marked, True)


@dataclass(frozen=True)
class Close(ChannelStep):
    def run(self, world: World) -> None:
        _close(world, world.channel(self.which))


def _close(world: World, channel: Channel) -> None:
    owner, party = world.party(channel.owner, "subscriber")
    source = f"{owner}.close_channel({channel.name})"
    world.request("close", source, lambda: party.close_channel(channel.handle))
    world.channels.remove(channel)
    world.look("close")


@dataclass(frozen=True)
class Publish(Step):
    party: str
    topic: str
    repeat: int = 1
    """The length of the content, in repetitions of a short text."""

    def run(self, world: World) -> None:
        name, party = world.party(self.party, "publisher")
        world.made += 1
        sent = Sent(world.made, self.topic, self.repeat, name)
        source = f"{name}.publish({sent.source})"
        before = {channel.name: channel.fill() for channel in world.channels if channel.marked}
        count = world.request("publish", source, lambda: party.publish(*sent.fields))
        world.look_at_base("publish")
        reached = 0
        for channel in world.channels:
            fits = matches(channel.pattern, self.topic)
            takes = fits and channel.room
            grown = 0
            if channel.marked:
                held, size = before[channel.name]
                grown = channel.fill()[0] - held
            if takes is None:
                takes = grown > 0 or channel.messages() == channel.files + 1
            rule = "GUAR-5" if takes else "PUB-10" if fits else "GUAR-6"
            if takes:
                reached += 1
                # A record takes six words at least, an id takes one.
                by_file = not (sent.is_small and grown > WORD)
                channel.queue.append(replace(sent, by_file=by_file))
                # The model knows of no word that a driver wrote since its last look (INLINE-13).
                is_due = channel.has_marker and channel.room and sent.is_small and 2 * held < size
                if is_due and name != KIT and "inline" in world.roles:
                    lane = f"the way of message {sent.number} to {channel.name}"
                    way = "by file" if by_file else "as a record"
                    world.expect("INLINE-12", lane, way, "as a record")
            else:
                world.expect(rule, f"the octets put into the queue of {channel.name}", grown, 0)
            world.expect_files(rule, channel)
        for dead in world.dead:
            if not dead.may_be_reaped:
                found, what = len(names(dead.path)), f"the number of files in {dead.path.name}"
                world.expect("PUB-10", what, found, dead.files)
        if name != KIT:
            world.expect("GUAR-1", "the count", count, reached)
        world.look("publish")


@dataclass(frozen=True)
class Send(ChannelStep):
    """Others write a record to a marked channel whose queue is less than half full."""

    repeat: int = 1
    """The length of the content, in repetitions of a short text."""

    def run(self, world: World) -> None:
        channel = world.channel(self.which)
        if not (channel.marked and channel.room):
            return
        held, size = channel.fill()
        if 2 * held >= size:
            return
        world.made += 1
        topic = channel.pattern.replace("=", "a").replace("+", "a")
        sent = Sent(world.made, topic, self.repeat, KIT, by_file=False)
        world.say(f"record to {channel.name}: {sent.source}")
        send(channel.directory, a_message(*sent.fields))
        channel.queue.append(sent)


@dataclass(frozen=True)
class Clean(ChannelStep):
    """A cleaner removes the marker of a channel. The channel goes on taking records (INLINE-8)."""

    def run(self, world: World) -> None:
        channel = world.channel(self.which)
        if channel.has_marker:
            world.say(f"remove the marker of {channel.name}")
            (channel.directory / MARKER).unlink()
            channel.has_marker = False


@dataclass(frozen=True)
class Fetch(ChannelStep):
    def run(self, world: World) -> None:
        _fetch(world, world.channel(self.which))


@dataclass(frozen=True)
class Drain(ChannelStep):
    def run(self, world: World) -> None:
        _drain(world, world.channel(self.which))


def _drain(world: World, channel: Channel) -> None:
    while _fetch(world, channel) is not None:
        pass


def _fetch(world: World, channel: Channel) -> Message | None:
    owner, party = world.party(channel.owner, "subscriber")
    source = f"{owner}.fetch({channel.name})"
    found = world.request("fetch", source, lambda: party.fetch(channel.handle))
    # The kit gets no message that its queue did not take.
    missing = "GUAR-1" if owner == KIT else "GUAR-2"
    if channel.queue:
        due = channel.queue.pop(0)
        if found is None:
            raise Broken(missing, f"expected {channel.name} to yield message {due.number}; empty")
        later = {sent.number: sent.publisher for sent in channel.queue}
        broken = "GUAR-3"
        number = found.headers.get("n")
        if isinstance(number, int) and number in later:
            in_order = owner == KIT or later[number] == due.publisher
            broken = "GUAR-4" if in_order else "FETCH-1"
        fields = found.topic, found.content, dict(found.headers)
        if fields != due.fields:
            text = f"expected a message of {_describe(*due.fields)}; found {_describe(*fields)}"
            raise Broken(broken, text)
        channel.room = channel.room or None
    else:
        world.expect(missing, "the message", found, None)
        channel.room = True
    world.expect_files("FETCH-4", channel)
    world.look("fetch")
    return found


def _describe(topic: str, content: bytes, headers: Mapping[str, object]) -> str:
    size, crc = len(content), zlib.crc32(content)
    return f"topic {topic}, headers {headers}, {size} octets, CRC-32 {crc:08x}"


@dataclass(frozen=True)
class Fill(ChannelStep):
    """Others fill a queue."""

    def run(self, world: World) -> None:
        channel = world.channel(self.which)
        world.say(f"fill the queue of {channel.name}")
        queue.fill(channel.directory)
        channel.room = False


@dataclass(frozen=True)
class Plant(ChannelStep):
    """Others put an id without a file, a file without an id, or a foreign entry into a channel."""

    what: str

    def run(self, world: World) -> None:
        channel = world.channel(self.which)
        world.say(f"{self.what} in {channel.name}")
        if self.what == "id":
            if channel.room:
                queue.enqueue(channel.directory, fresh_id())
        elif self.what == "orphan":
            put(channel.directory, a_message(), enqueue=False)
            channel.orphans += 1
        else:
            entry = channel.directory / world.fresh("lane-")
            entry.mkdir() if self.what == "directory" else entry.touch()
            channel.foreign.add(entry.name)


@dataclass(frozen=True)
class Litter(Step):
    """Others leave something in the base."""

    what: str

    def run(self, world: World) -> None:
        name = world.fresh("x")
        world.say(f"{self.what} {name}")
        if self.what in ("dead", "abandoned"):
            runs = self.what == "abandoned"
            path = world.base.dead_channel("+", os.getpid() if runs else NOBODY)
            world.dead.append(Dead(path, 1, runs))
        elif self.what == "staged":
            world.in_tmp.add(world.base.stage(str(fresh_id()), b"").name)
        else:
            # A name as of a channel, but no FIFO in it: it is none (BASE-10).
            entry = f"+_{name:0>12}_{world.made}" if self.what == "no FIFO" else name
            path = world.base.path / entry
            path.touch() if self.what == "file" else path.mkdir()
            if self.what == "no FIFO":
                (path / "queue").touch()
            world.in_base.add(entry)


@dataclass(frozen=True)
class Kill(Step):
    """A driver is killed. Its channels stay behind, dead; when it is needed, another is started."""

    party: str

    def run(self, world: World) -> None:
        driver = world.drivers.pop(self.party, None)
        if driver is None:
            return
        world.say(f"{self.party}.kill()")
        driver.die()
        for channel in [channel for channel in world.channels if channel.owner == self.party]:
            world.channels.remove(channel)
            files = len(channel.entries) + channel.files
            world.dead.append(Dead(channel.directory, files, False))


@dataclass(frozen=True)
class Reap(Step):
    party: str

    def run(self, world: World) -> None:
        name, party = world.party(self.party, "reaper")
        world.request("reap", f"{name}.reap()", party.reap)
        world.dead = [dead for dead in world.dead if dead.process_runs]
        world.look("reap")


@dataclass(frozen=True)
class End(Step):
    """All channels are drained and closed, and the drivers end."""

    def run(self, world: World) -> None:
        for channel in list(world.channels):
            _drain(world, channel)
            _close(world, channel)
        while world.drivers:
            name, driver = world.drivers.popitem()
            world.request("close", f"{name}.close()", driver.close)
