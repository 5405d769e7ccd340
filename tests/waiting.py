"""Waits on conditions, for tests."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = 10.0) -> None:
    """Returns once `condition()`, awaited if need be, holds.

    Raises:
        TimeoutError: it did not within `timeout_s` seconds.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            holds = condition()
            if await holds if inspect.isawaitable(holds) else holds:
                return
            await asyncio.sleep(0.005)
