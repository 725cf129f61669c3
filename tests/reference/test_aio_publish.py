"""aio.publish: it waits for room, and the event loop goes on."""

from __future__ import annotations

import asyncio
import math
import os
from pathlib import Path

import pytest
from conftest import Run
from loops import contents, first, shrink, turns

from pubsub import BaseUnusable, InvalidHeaders, InvalidTopic, PublishFailed, aio


async def fill(topic: str) -> int:
    number = 0
    while await aio.publish(topic, b"fills"):
        number += 1
    return number


def test_a_full_queue_is_waited_for_and_nobody_else(run: Run[None]) -> None:
    async def main() -> None:
        async with aio.Channel("a.full") as full, aio.Channel("a.=") as roomy:
            shrink(full)
            while await aio.publish("a.full", b"fills") == 2:
                pass
            assert await contents(roomy)
            assert await aio.publish("a.full", b"0", timeout=0) == 1
            assert await aio.publish("a.full", b"1", timeout=0.01) == 1
            publishing = asyncio.ensure_future(aio.publish("a.full", b"2", timeout=None))
            await turns()
            async with aio.Channel("a.+") as late:
                assert not publishing.done()
                found = []
                while not publishing.done():  # Linux frees a page at a time
                    message = await full.get(0)
                    found += [message.content] if message else []
                    await asyncio.sleep(0)
                assert await publishing == 2
                assert await contents(late) == []
            assert await contents(roomy) == [b"0", b"1", b"2"]
            found += await contents(full)
            assert (set(found[:-1]), found[-1]) == ({b"fills"}, b"2")

    run(main())


@pytest.mark.parametrize("ending", ["closed", "cancelled", "over"])
def test_a_wait_for_room_ends(run: Run[None], home: Path, ending: str) -> None:
    async def main() -> None:
        async with aio.Channel("a") as channel:
            shrink(channel)
            await fill("a")
            seconds = 0.05 if ending == "over" else math.inf
            publishing = asyncio.ensure_future(aio.publish("a", b"", timeout=seconds))
            await turns()
            if ending == "closed":
                channel.close()
            if ending == "cancelled":
                publishing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await publishing
            else:
                assert await publishing == 0
        assert os.listdir(home) == ["tmp"]
        assert os.listdir(home / "tmp") == []

    run(main())


def test_many_tasks_wait_for_room(run: Run[None]) -> None:
    async def main() -> None:
        async with aio.Channel("a") as channel:
            shrink(channel)
            number = await fill("a")
            tasks = [
                asyncio.ensure_future(aio.publish("a", b"%d" % n, timeout=None)) for n in range(9)
            ]
            await turns()
            found = [message.content async for message in first(channel, number + 9)]
            assert found[:number] == [b"fills"] * number
            assert sorted(found[number:]) == [b"%d" % n for n in range(9)]
            assert await asyncio.gather(*tasks) == [1] * 9

    run(main())


def test_errors_are_those_of_publish(run: Run[None], home: Path) -> None:
    async def main() -> None:
        with pytest.raises(InvalidTopic):
            await aio.publish("a.=", b"")
        with pytest.raises(InvalidHeaders):
            await aio.publish("a", b"", {"n": []})  # type: ignore[dict-item]
        async with aio.Channel("a") as good, aio.Channel("a") as bad:
            shrink(good, bad)
            await fill("a")
            publishing = asyncio.ensure_future(aio.publish("a", b"", timeout=None))
            await turns()
            (home / "tmp").rename(home / "away")
            (home / "tmp").touch()
            with pytest.raises(BaseUnusable):  # no channel has it
                await publishing
            (home / "tmp").unlink()
            (home / "away").rename(home / "tmp")
            assert await contents(good)
            publishing = asyncio.ensure_future(aio.publish("a", b"", timeout=None))
            await turns()
            (home / "tmp").rename(home / "away")
            (home / "tmp").touch()
            with pytest.raises(PublishFailed) as raised:
                await publishing
            (home / "tmp").unlink()
            (home / "away").rename(home / "tmp")
            assert raised.value.count == 1
            assert [path for path, _ in raised.value.failures] == [str(bad.directory_path)]

    run(main())
