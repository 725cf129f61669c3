"""pubsub.aio in real event loops: those of asyncio, and of uvloop where that is installed."""

from __future__ import annotations

import asyncio
import gc
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from loops import contents, turns

import pubsub
from pubsub import ChannelClosed, ChannelLost, InvalidMessage, aio
from pubsub.aio.loop import CALLS_IN_A_TURN


async def first_of(channel: aio.Channel) -> bytes | None:
    """The first message of an iteration. None: it has none."""
    async for message in channel:
        return message.content
    return None


@pytest.mark.parametrize("inline", [False, True])
def test_messages_come_whole_and_in_order(run: Run[None], inline: bool) -> None:
    async def main() -> None:
        async with aio.Channel("news.=", inline) as channel:
            assert (channel.topic, channel.is_open) == ("news.=", True)
            assert repr(channel) == f"aio.Channel(topic='news.='{', inline=True' * inline})"
            assert channel.directory_path.is_dir()
            expected = [b"%d" % n for n in range(300)]

            async def feed() -> None:
                for n, content in enumerate(expected):
                    assert await aio.publish("news.a", content, {"n": n}) == 1
                    if n % 50 == 0:
                        await asyncio.sleep(0.001)
                await aio.publish("news.end", b"")

            feeding = asyncio.ensure_future(feed())
            found: list[bytes] = []
            async for message in channel:
                if message.topic == "news.end":
                    break
                assert message.headers == {"n": len(found)}
                found.append(message.content)
            assert found == expected
            await feeding
        assert not channel.is_open

    run(main())


def test_one_rule_for_time(run: Run[None]) -> None:
    async def main() -> None:
        async with aio.Channel("a") as channel:
            assert await channel.get(0) is None
            assert await channel.get(-1) is None
            assert await channel.get(timeout_seconds=0.01) is None
            await aio.publish("a", b"1")
            assert (await channel.get(0)) is not None
            wrong: Any
            for wrong in ("1", b"", [], channel):
                with pytest.raises(TypeError, match="timeout_seconds"):
                    await channel.get(wrong)
                with pytest.raises(TypeError, match=r"timeout(?!_)"):
                    await aio.publish("a", b"", timeout=wrong)
            with pytest.raises(ValueError, match="timeout_seconds"):
                await channel.get(float("nan"))
            with pytest.raises(ValueError, match="timeout"):
                await aio.publish("a", b"", timeout=-1)
            assert await channel.get(0) is None

    run(main())


# --- cancelled, closed, lost ---


def test_a_channel_with_the_number_of_a_cancelled_one_hears(run: Run[None]) -> None:
    async def main() -> None:
        for n in range(3):
            async with aio.Channel("a") as channel:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(channel.get(), 0.01)
                waiting = asyncio.ensure_future(channel.get(30))
                await turns()
                await aio.publish("a", b"%d" % n)
                message = await waiting
                assert message is not None
                assert message.content == b"%d" % n
                waiting = asyncio.ensure_future(channel.get())
                await turns()
                channel.close()
                channel.open()  # its descriptors have the same numbers
                again = asyncio.ensure_future(channel.get(30))
                with pytest.raises(ChannelClosed):
                    await waiting
                await aio.publish("a", b"again")
                assert await again is not None

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has neither before Python 3.11")
def test_a_timeout_and_a_group_of_tasks(run: Run[None]) -> None:
    modern: Any = asyncio

    async def main() -> None:
        async with aio.Channel("a") as channel:
            found = []

            async def take() -> None:
                async for message in channel:
                    found.append(message.content)

            async def run_out() -> None:
                async with modern.timeout(0.01):
                    await take()

            async def fail() -> None:
                async with modern.TaskGroup() as group:
                    group.create_task(take())
                    group.create_task(take())
                    await turns()
                    await aio.publish("a", b"1")
                    await turns()
                    raise LookupError

            with pytest.raises(TimeoutError):
                await run_out()
            with pytest.RaisesGroup(LookupError):
                await fail()
            assert found == [b"1"]
            await aio.publish("a", b"2")
            assert await contents(channel) == [b"2"]

    run(main())


def test_closing_ends_iterations_and_waits(run: Run[None]) -> None:
    async def main() -> None:
        channel = aio.Channel("a")
        with pytest.raises(ChannelClosed):
            await channel.get()
        with pytest.raises(ChannelClosed):
            await first_of(channel)
        async with channel:
            await aio.publish("a", b"1")
            await aio.publish("a", b"2")
            async for message in channel:
                assert message.content == b"1"
                channel.close()
        async with channel:
            waiting = asyncio.ensure_future(channel.get(30))
            await turns()
            channel.close()
            channel.close()
            with pytest.raises(ChannelClosed):
                await waiting

    run(main())


def test_an_exception_of_the_body_leaves_the_rest(run: Run[None]) -> None:
    async def main() -> None:
        async with aio.Channel("a") as channel:
            for n in range(3):
                await aio.publish("a", b"%d" % n)

            async def fail() -> None:
                async for _ in channel:
                    raise LookupError

            with pytest.raises(LookupError):
                await fail()
            assert await contents(channel) == [b"1", b"2"]

    run(main())


def test_a_lost_channel_is_noticed_while_a_task_waits(run: Run[None], home: Path) -> None:
    async def main() -> None:
        async with aio.Channel("a") as channel:
            waiting = asyncio.ensure_future(channel.get())
            await turns()
            shutil.rmtree(home)
            with pytest.raises(ChannelLost):
                await waiting
            with pytest.raises(ChannelLost):
                await first_of(channel)

    run(main())


def test_an_invalid_message_is_raised_by_one_step(run: Run[None]) -> None:
    async def main() -> None:
        async with aio.Channel("a") as channel:

            async def spoil() -> None:
                await aio.publish("a", b"spoilt")
                for path in channel.directory_path.iterdir():
                    if path.name != "queue":
                        path.write_bytes(b"?")
                await aio.publish("a", b"good")

            await spoil()
            with pytest.raises(InvalidMessage):
                await first_of(channel)
            assert await contents(channel) == [b"good"]
            waiting = asyncio.ensure_future(channel.get())
            await turns()
            await spoil()
            with pytest.raises(InvalidMessage):
                await waiting
            assert await first_of(channel) == b"good"

    run(main())


def test_a_channel_that_is_forgotten_closes(run: Run[None], home: Path) -> None:
    async def main() -> None:
        channel = aio.Channel("a")
        channel.open()
        path = channel.directory_path
        assert await channel.get(0.01) is None
        channels = [channel]
        del channel

        def forget() -> None:
            channels.clear()
            gc.collect()

        with pytest.warns(ResourceWarning, match=r"aio\.Channel\(topic='a'\) was never closed"):
            forget()
        assert not path.exists()
        with pytest.raises(pubsub.InvalidPattern):
            aio.Channel("a..b")
        wrong: Any = aio.Channel("a")
        with pytest.raises(TypeError, match=r"is a pubsub\.Channel, not .*pubsub\.aio"):
            pubsub.fetch(wrong)
        with pytest.raises(TypeError, match=r"pubsub\.Channel in it, not of .*pubsub\.aio"):
            pubsub.wait([wrong])
        with pytest.raises(TypeError, match="one owner"):
            __import__("copy").copy(aio.Channel("a"))

    run(main())


# --- turns of the loop ---


def test_many_messages_neither_starve_other_tasks_nor_wait_for_them(run: Run[None]) -> None:
    number = 7 * CALLS_IN_A_TURN  # the smallest queues take 512

    async def main() -> None:
        turned = 0

        async def turn() -> None:
            nonlocal turned
            while True:
                await asyncio.sleep(0)
                turned += 1

        async with aio.Channel("a") as channel:
            turning = asyncio.ensure_future(turn())
            await turns()
            for action in (lambda: aio.publish("a", b""), channel.get):
                turned = 0
                for _ in range(number):
                    assert await action()
                assert 6 <= turned <= 14
            turning.cancel()

    run(main())
