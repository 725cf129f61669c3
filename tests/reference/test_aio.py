"""pubsub.aio in real event loops: those of asyncio, and of uvloop where that is installed."""

from __future__ import annotations

import asyncio
import gc
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, Start
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


# --- several tasks, several loops ---


@pytest.mark.parametrize("inline", [False, True])
def test_each_message_goes_to_one_of_the_tasks(run: Run[None], inline: bool) -> None:
    async def main() -> None:
        async with aio.Channel("a", inline) as channel:
            found: list[bytes] = []

            async def take() -> None:
                async for message in channel:
                    found.append(message.content)

            tasks = [asyncio.ensure_future(take()) for _ in range(3)]
            await turns()
            tasks.pop().cancel()
            for n in range(20):
                await aio.publish("a", b"%d" % n)
                if n % 3:
                    await asyncio.sleep(0)
            while len(found) < 20:
                await asyncio.sleep(0)
            assert found == [b"%d" % n for n in range(20)]
            channel.close()
            assert await asyncio.gather(*tasks) == [None, None]

    run(main())


def test_a_task_that_is_woken_and_cancelled_leaves_the_message_to_another(run: Run[None]) -> None:
    async def main() -> None:
        async with aio.Channel("a") as channel:
            first, second = (asyncio.ensure_future(channel.get()) for _ in range(2))
            await turns()
            await aio.publish("a", b"1")
            first.cancel()
            message = await second
            assert message is not None
            assert message.content == b"1"
            assert first.cancelled()

    run(main())


def test_a_task_gets_what_another_one_has_in_hand(run: Run[None]) -> None:
    """Inline, the fetch of one message reads many."""

    async def main() -> None:
        async with aio.Channel("a", inline=True) as channel:
            waiting = asyncio.ensure_future(channel.get())
            await turns()
            for n in range(3):
                await aio.publish("a", b"%d" % n)
            message = await channel.get()
            assert message is not None
            assert message.content == b"0"
            message = await waiting
            assert message is not None
            assert message.content == b"1"
            assert await contents(channel) == [b"2"]

    run(main())


def test_a_channel_serves_one_loop_after_another(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    channel = aio.Channel("a")
    channel.open()
    for ending in ("cancelled", "closed while a task waits", "stopped while a task waits"):
        loop = new_loop()
        waiting = loop.create_task(channel.get())
        loop.run_until_complete(turns())
        if ending == "cancelled":
            waiting.cancel()
            loop.run_until_complete(turns())
        if not ending.startswith("stopped"):
            loop.close()
        other = new_loop()
        soon = channel.get(5)
        if loop.is_closed():
            pubsub.publish("a", b"1")
            message = other.run_until_complete(soon)
            assert message is not None
            assert message.content == b"1"
        else:
            with pytest.raises(RuntimeError, match="another event loop"):
                other.run_until_complete(soon)
            channel.close()  # its loop does not run: nobody needs to be asked
            with pytest.raises(ChannelClosed):
                loop.run_until_complete(waiting)
            loop.close()
        other.close()
        if not waiting.done():  # asyncio would warn that the task is lost: that is its program's
            waiting._log_destroy_pending = False  # type: ignore[attr-defined]
    del waiting
    gc.collect()
    assert not channel.is_open


def test_another_thread_cannot_close_under_a_waiting_task(run: Run[None]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with aio.Channel("a") as channel:
            waiting = asyncio.ensure_future(channel.get())
            await turns()
            with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
                await loop.run_in_executor(None, channel.close)
            assert channel.is_open
            await loop.run_in_executor(None, loop.call_soon_threadsafe, channel.close)
            with pytest.raises(ChannelClosed):
                await waiting
        await loop.run_in_executor(None, channel.open)
        await loop.run_in_executor(None, channel.close)  # nobody waits
        await loop.shutdown_default_executor()

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


# --- forks ---


def test_a_forked_child_uses_a_loop_of_its_own(start: Start) -> None:
    program = """
import asyncio, os
from pubsub import aio

channel = aio.Channel("a")

async def use():
    async with channel:
        await aio.publish("a", b"1")
        print((await channel.get(30)).content, flush=True)

async def main():
    async with channel:
        waiting = asyncio.ensure_future(channel.get())
        await asyncio.sleep(0)
        child = os.fork()
        if not child:
            channel.close()
            asyncio.events._set_running_loop(None)
            try:
                asyncio.run(use())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        print((await waiting).content)  # the parent's channel has a copy

asyncio.run(main())
"""
    out, errors = start(program).communicate()
    assert (out, errors) == ("b'1'\nb'1'\n", "")
