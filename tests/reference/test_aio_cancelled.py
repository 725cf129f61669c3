"""A task is cancelled at each await of pubsub.aio: no message is lost, no reader is left."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from conftest import Run
from loops import cancelled_at, contents, registered, shrink, turns

from pubsub import aio
from pubsub.aio.loop import CALLS_IN_A_TURN, calls

Descriptors = Callable[[], set[tuple[int, int, int]]]


async def at_each_await(scene: Callable[[], Coroutine[Any, Any, Any]], late: bool) -> int:
    """Cancel the scene in each of its awaits, until it has none that is left. Their number."""
    number = 0
    while True:
        try:
            await cancelled_at(number, late, scene())
        except asyncio.CancelledError:
            number += 1
        else:
            return number


@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
@pytest.mark.parametrize("inline", [False, True], ids=["files", "inline"])
def test_a_cancelled_get_takes_nothing(run: Run[None], inline: bool, late: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        published, taken = 0, []

        async def feed(number: int) -> None:
            nonlocal published
            for _ in range(number):
                assert await aio.publish("a", b"%d" % published) == 1
                published += 1

        async with aio.Channel("a", inline) as channel:

            async def take(seconds: float | None) -> None:
                message = await channel.get(seconds)
                if message is not None:
                    taken.append(message.content)

            async def get_what_is_there() -> None:
                await feed(2)
                calls.number = CALLS_IN_A_TURN - 1  # the next call lets other tasks run
                await take(None)

            async def get_in_vain() -> None:
                await take(0.3)  # longer than a look whether the channel is lost takes

            async def iterate_over_what_comes() -> None:
                taken.extend(await contents(channel))
                loop.call_later(0.001, asyncio.ensure_future, feed(3))
                async for message in channel:
                    taken.append(message.content)
                    break

            before = registered(loop)
            for others in (0, 2):
                tasks = [asyncio.ensure_future(take(None)) for _ in range(others)]
                await turns()
                if not others:
                    assert await at_each_await(get_in_vain, late) >= 1
                assert await at_each_await(get_what_is_there, late) >= 1
                assert await at_each_await(iterate_over_what_comes, late) >= 1
                await asyncio.sleep(0.01)
                for task in tasks:
                    task.cancel()
                await turns()
                assert registered(loop) == before
                taken += await contents(channel)
                assert sorted(map(int, taken)) == [*range(published)]

    run(main())


@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
def test_a_cancelled_publish_leaves_nothing(
    run: Run[None], descriptors: Descriptors, late: bool
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with aio.Channel("a") as full, aio.Channel("a") as roomy:
            shrink(full)
            while await aio.publish("a", b"fills") == 2:
                pass
            await contents(roomy)
            before = registered(loop), descriptors()
            number = 0

            async def scene() -> None:
                nonlocal number
                number += 1
                assert await aio.publish("a", b"%d" % number, timeout=0.15) == 1

            assert await at_each_await(scene, late) >= 1
            assert (registered(loop), descriptors()) == before
            assert await contents(roomy) == [b"%d" % n for n in range(1, number + 1)]
            found = await contents(full)
            assert set(found) == {b"fills"}
            assert len(list(full.directory_path.iterdir())) == 1  # its queue

    run(main())


@pytest.mark.parametrize("inline", [False, True], ids=["files", "inline"])
def test_a_storm_of_cancellations(run: Run[None], inline: bool) -> None:
    """Each message is taken once, or is still there."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)

    async def main() -> None:
        async with aio.Channel("a", inline) as channel:
            taken: list[bytes] = []

            async def take() -> None:
                while True:
                    message = await channel.get(dice.choice((None, 0, 0.001)))
                    if message is not None:
                        taken.append(message.content)
                    elif dice.random() < 0.5:
                        await asyncio.sleep(0)

            tasks = [asyncio.ensure_future(take()) for _ in range(4)]
            for n in range(500):
                assert await aio.publish("a", b"%d" % n) == 1
                if dice.random() < 0.5:
                    await asyncio.sleep(0)
                tasks.pop(dice.randrange(4)).cancel()
                tasks.append(asyncio.ensure_future(take()))
                if dice.random() < 0.1:
                    await asyncio.sleep(0.001)
            for task in tasks:
                task.cancel()
            await turns()
            taken += await contents(channel)
            assert sorted(map(int, taken)) == [*range(500)]

    run(main())
