"""A service with asyncio: it answers requests, and meanwhile writes down what happens."""

import asyncio

from pubsub import aio


async def serve(requests: aio.Channel) -> None:
    async for request in requests:
        await aio.publish("event.asked", request.content)
        await aio.reply(request, request.content.upper())


async def main() -> None:
    async with aio.Channel("shout") as requests, aio.Channel("event.=") as events:
        serving = asyncio.create_task(serve(requests))
        for reply in await asyncio.gather(*(aio.request("shout", b"hi") for _ in range(3))):
            print("reply", reply.content.decode() if reply else "none")
        serving.cancel()
        while event := await events.get(timeout_seconds=0):
            print(event.topic, event.content.decode())


asyncio.run(main())
