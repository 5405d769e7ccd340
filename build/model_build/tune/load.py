"""A closed load on one model: so many requests in flight, each replaced when it is answered."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Generic, TypeVar

import grpc

Snapshot = TypeVar("Snapshot")

Call = Callable[[bytes], Awaitable[bytes]]
# After a failure, so that a server that refuses at once is not asked without pause.
_PAUSE_AFTER_FAILURE_S = 0.01


@dataclass
class LoadResult(Generic[Snapshot]):
    """What was seen in the counted part."""

    seconds: float
    # Of each request that was under way in it, also those that ended later: the slow ones count.
    latencies_s: list[float]
    # Requests answered in it.
    answered: int
    errors: list[str]
    before: Snapshot
    after: Snapshot


@dataclass
class _Seen:
    counting: bool = False
    counted: bool = False
    stopped: bool = False
    latencies_s: list[float] = field(default_factory=list)
    answered: int = 0
    errors: list[str] = field(default_factory=list)


async def apply_load(
    call: Call,
    requests: Sequence[bytes],
    concurrency: int,
    lead_in_s: float,
    seconds: float,
    snapshot: Callable[[], Awaitable[Snapshot]],
) -> LoadResult[Snapshot]:
    """Loads for `lead_in_s` without counting, then for `seconds`; waits for the last answers.

    Args:
        call: sends one request.
        requests: sent in turn.
        concurrency: requests in flight.
        lead_in_s: until queues and caches are as they stay.
        seconds: counted.
        snapshot: taken at both ends of the counted part, while the load goes on.
    """
    seen = _Seen()
    turn = cycle(requests)
    workers = [asyncio.create_task(_keep_asking(call, turn, seen)) for _ in range(concurrency)]
    try:
        await asyncio.sleep(lead_in_s)
        before = await snapshot()
        counting_began_s, seen.counting = time.perf_counter(), True
        await asyncio.sleep(seconds)
        seen.counting, seen.counted = False, True
        counted_s = time.perf_counter() - counting_began_s
        after = await snapshot()
    finally:
        seen.stopped = True
        # Those in flight are let finish: what is cancelled would weigh on the next look.
        await asyncio.gather(*workers)
    return LoadResult(
        seconds=counted_s,
        latencies_s=seen.latencies_s,
        answered=seen.answered,
        errors=seen.errors,
        before=before,
        after=after,
    )


async def _keep_asking(call: Call, turn: Iterator[bytes], seen: _Seen) -> None:
    while not seen.stopped:
        request, late = next(turn), seen.counted
        began_s = time.perf_counter()
        failure = ""
        try:
            await call(request)
        except grpc.aio.AioRpcError as error:
            failure = f"{error.code().name}: {error.details()}"
        if seen.counting or (seen.counted and not late):
            if failure:
                seen.errors.append(failure)
            else:
                seen.latencies_s.append(time.perf_counter() - began_s)
                seen.answered += seen.counting
        if failure:
            await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)
