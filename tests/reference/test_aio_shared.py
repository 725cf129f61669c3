"""One channel of pubsub.aio, used by several tasks, event loops, threads and processes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import pytest
from conftest import Run, Start
from loops import contents, turns

import pubsub
from pubsub import ChannelClosed, aio


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
