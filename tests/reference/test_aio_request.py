"""aio.request and aio.reply: one channel a loop, any number of tasks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Run, Start
from loops import cancelled_at, registered, turns

import pubsub
from pubsub import InvalidHeaders, NobodyListens, NotARequest, aio


async def serve(channel: aio.Channel) -> None:
    async for message in channel:
        await aio.reply(message, b"re: " + message.content, {"from": "server"})


def test_each_task_gets_its_reply(run: Run[None], home: Path) -> None:
    async def main() -> None:
        async with aio.Channel("service") as channel:
            serving = asyncio.ensure_future(serve(channel))

            async def ask(n: int) -> None:
                message = await aio.request("service", b"%d" % n, {"n": n})
                assert message is not None
                assert message.content == b"re: %d" % n
                assert message.headers["from"] == "server"

            await asyncio.gather(*map(ask, range(200)))
            await ask(1)
            assert len(os.listdir(home)) == 3  # this channel, that of the replies, and tmp
            serving.cancel()
            await turns()

    run(main())


def test_a_task_and_another_process_ask_each_other(run: Run[None], start: Start) -> None:
    process = start("""
import pubsub, sys

sys.stdin.read()
print(pubsub.request("service", b"1").content)
with pubsub.Channel("other") as channel:
    pubsub.publish("ready", b"")
    request = channel.get()
    pubsub.reply(request, b"answer")
""")

    async def main() -> None:
        async with aio.Channel("ready") as ready, aio.Channel("service") as channel:
            assert process.stdin
            process.stdin.close()  # the channel is open: it may begin
            serving = asyncio.ensure_future(serve(channel))
            await ready.get()
            reply = await aio.request("other", b"2")
            assert reply is not None
            assert reply.content == b"answer"
            serving.cancel()
            await turns()

    run(main())
    process.stdin = None
    assert process.communicate() == ("b're: 1'\n", "")


def test_a_request_that_nobody_answers_ends(run: Run[None]) -> None:
    async def main() -> None:
        with pytest.raises(NobodyListens, match="service"):
            await aio.request("service", b"")
        with pytest.raises(InvalidHeaders):
            await aio.request("service", b"", {"correlation-id": "1"})
        with pytest.raises(TypeError, match="timeout_seconds"):
            await aio.request("service", b"", timeout_seconds="1")  # type: ignore[arg-type]
        with pytest.raises(NotARequest):
            await aio.reply(pubsub.Message("service", b""), b"")
        async with aio.Channel("service") as channel:
            asked = [aio.request("service", b"", timeout_seconds=0.01 * n) for n in range(3)]
            assert await asyncio.gather(*asked) == [None] * 3
            for _ in range(3):
                message = await channel.get(0)
                assert message is not None
                assert await aio.reply(message, b"too late") == 1
            serving = asyncio.ensure_future(serve(channel))
            reply = await aio.request("service", b"good")
            assert reply is not None
            assert reply.content == b"re: good"
            serving.cancel()
            await turns()

    run(main())


@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
def test_a_cancelled_request_leaves_the_replies_to_others(
    run: Run[None], descriptors: Callable[[], set[tuple[int, int, int]]], late: bool
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with aio.Channel("service") as channel:

            async def answer_all() -> None:
                await asyncio.sleep(0.001)
                while (message := await channel.get(0)) is not None:
                    await aio.reply(message, message.content)

            with pytest.raises(NobodyListens):
                await aio.request("nobody", b"")  # the loop has its channel from now on
            before = registered(loop), descriptors()
            for earlier, later in ((0, 0), (2, 0), (0, 2)):
                number = 0
                while True:
                    asked = cancelled_at(number, late, aio.request("service", b"-1"))
                    others = [aio.request("service", b"%d" % n) for n in range(earlier + later)]
                    tasks = [
                        *map(asyncio.ensure_future, [*others[:earlier], asked, *others[earlier:]])
                    ]
                    await turns()
                    answering = asyncio.ensure_future(answer_all())
                    found = await asyncio.gather(*tasks, return_exceptions=True)
                    cancelled = found.pop(earlier)
                    for n, message in enumerate(found):
                        assert isinstance(message, pubsub.Message)
                        assert message.content == b"%d" % n
                    await answering
                    if not isinstance(cancelled, asyncio.CancelledError):
                        break
                    number += 1
                assert isinstance(cancelled, pubsub.Message)
                assert cancelled.content == b"-1"
                assert number > 0
            pubsub.close_kept_queues()
            assert registered(loop) == before[0]
            assert descriptors() <= before[1]

    run(main())


def test_the_channel_of_the_replies_is_opened_anew(
    run: Run[None], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> None:
        async with aio.Channel("service") as channel:
            serving = asyncio.ensure_future(serve(channel))
            assert await aio.request("service", b"")
            serving.cancel()
            await turns()

    async def main() -> None:
        await ask()
        home.rename(home.with_name("away"))
        await ask()
        monkeypatch.setenv("PUBSUB_HOME", str(home.with_name("other")))
        await ask()
        async with aio.Channel("service") as channel:
            waiting = asyncio.ensure_future(aio.request("service", b"", timeout_seconds=100))
            message = await channel.get()
            assert message
            for path in home.with_name("other").glob("responses*"):
                path.rename(home / "gone")  # it is lost while the request waits
            while not pubsub.channels("responses.+"):
                await asyncio.sleep(0.01)
            await aio.reply(message, b"")
            assert await waiting

    run(main())


def test_the_channel_closes_with_its_loop(start: Start, home: Path) -> None:
    program = """
import asyncio, os
from pubsub import aio

async def main():
    async with aio.Channel("a") as channel:
        asked = asyncio.ensure_future(aio.request("a", b""))
        await aio.reply(await channel.get(), b"1")
        print((await asked).content, flush=True)
        pid = os.fork()
        if not pid:
            try:
                asyncio.events._set_running_loop(None)
                asyncio.run(child())
            finally:
                os._exit(0)
        await aio.reply(await channel.get(), b"2")
        os.waitpid(pid, 0)

async def child():
    print((await aio.request("a", b"")).content, flush=True)

asyncio.run(main())
print(sorted(os.listdir(os.environ["PUBSUB_HOME"])), flush=True)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
print(len(os.listdir(os.environ["PUBSUB_HOME"])), flush=True)
loop.close()
asyncio.run(main())
print(sorted(os.listdir(os.environ["PUBSUB_HOME"])))
"""
    out, errors = start(program).communicate()
    answers = "b'1'\nb'2'\n"
    assert (out, errors) == (f"{answers}['tmp']\n{answers}2\n{answers}['tmp']\n", "")
    assert os.listdir(home) == ["tmp"]
