"""A pipeline that tells its events through a callback, turned into an async generator."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

Told = TypeVar("Told")
Outcome = TypeVar("Outcome")


async def watch(
    run: Callable[[Callable[[Told], Awaitable[None]]], Awaitable[Outcome]],
) -> AsyncGenerator[Told | Outcome, None]:
    """Yields what `run` tells as it tells it, and its outcome last.

    The queue holds one event, so a slow reader slows the pipeline down instead of filling memory;
    a reader that goes away cancels it. An error of the pipeline is raised here.
    """
    queue: asyncio.Queue[Told] = asyncio.Queue(maxsize=1)

    async def finish() -> Outcome:
        return await run(queue.put)

    pipeline = asyncio.ensure_future(finish())
    try:
        while True:
            waiting = asyncio.ensure_future(queue.get())
            try:
                await asyncio.wait((waiting, pipeline), return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not waiting.done():
                    waiting.cancel()
            if waiting.done() and not waiting.cancelled():
                yield waiting.result()
                continue
            while not queue.empty():
                yield queue.get_nowait()
            yield await pipeline
            return
    finally:
        if not pipeline.done():
            pipeline.cancel()
            # Its own error is no longer anybody's; the reader has gone.
            await asyncio.gather(pipeline, return_exceptions=True)
