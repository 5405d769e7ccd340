"""Loads a version with the time that those which answer leave.

Triton starts a process for each instance of a model. To start Python, import ONNX Runtime and open
the model takes each some tenths of a second of a core, and where the cores have little to spare,
customers wait for that long. So until the version is ready its processes run under SCHED_IDLE (see
sched(7)), that is when nothing else wants to.

Linux lets a process go back from there only with CAP_SYS_NICE or an RLIMIT_NICE of 20. Without
either everything is loaded as usual.
"""

import asyncio
import contextlib
import functools
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import psutil

logger = logging.getLogger(__name__)

# Between two looks for processes that have just started. The first is a tenth of what each of them
# has to do; and a look costs a millisecond, while they may take seconds in the background.
_FIRST_PERIOD_S, _LAST_PERIOD_S = 0.02, 0.2


@asynccontextmanager
async def in_background(
    started: Callable[[], Iterable[int]], patience_s: float
) -> AsyncIterator[None]:
    """Puts processes that are started within the block behind all others, until it ends.

    Args:
        started: process ids of those that were, up to now; asked again and again.
        patience_s: after that they get their share like all others; a machine without a moment to
            spare would never be done with them. 0 leaves everything as it is.
    """
    if patience_s <= 0.0 or not may_return():
        yield
        return
    put_back: set[int] = set()
    watch = asyncio.create_task(_keep_back(started, put_back, patience_s), name="keep-back")
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.wait({watch})
        _schedule(put_back, os.SCHED_OTHER)
        if not watch.cancelled() and (error := watch.exception()):
            # A load does not fail for want of manners.
            logger.error("a version was loaded at usual priority", exc_info=error)


async def _keep_back(
    started: Callable[[], Iterable[int]], put_back: set[int], patience_s: float
) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            period_s = _FIRST_PERIOD_S
            while True:
                new = set(started()) - put_back
                put_back |= new
                _schedule(new, os.SCHED_IDLE)
                if put_back:
                    period_s = min(period_s * 1.5, _LAST_PERIOD_S)
                await asyncio.sleep(period_s)
    _schedule(put_back, os.SCHED_OTHER)
    logger.warning("a version is not loaded after %g s: it no longer waits for others", patience_s)


@functools.cache
def may_return() -> bool:
    """Whether this process may take others back from SCHED_IDLE; tried with a thread of its own."""
    allowed = False

    def there_and_back() -> None:
        nonlocal allowed
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            allowed = True

    thread = threading.Thread(target=there_and_back, name="there-and-back")
    thread.start()
    thread.join()
    if not allowed:
        logger.info("versions are loaded at usual priority: no CAP_SYS_NICE, nor RLIMIT_NICE of 20")
    return allowed


def _schedule(pids: Iterable[int], policy: int) -> None:
    for pid in pids:
        try:
            threads = [thread.id for thread in psutil.Process(pid).threads()]
        except psutil.NoSuchProcess:
            continue
        for thread in threads:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(thread, policy, os.sched_param(0))
