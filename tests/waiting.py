"""Waits on conditions, for tests."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Returns once `condition()` holds.

    Raises:
        TimeoutError: it did not within `timeout_s` seconds.
    """
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
