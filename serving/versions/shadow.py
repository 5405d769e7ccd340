"""Shadow calls: what a candidate would have said, asked behind the real answer and thrown away.

    real step ─▶ answer ─▶ its caller
                   └─▶ queue (short) ─▶ one call, then a rest ─▶ candidate ─▶ compared, counted

A shadow never delays, fails or charges a real call: it begins when the answer is there, waits in a
queue of its own, has a deadline and a report of its own, and steps back while real calls wait for a
place at the hosts. What finds the queue full is dropped and counted.

Real calls share the cores with it. So shadows take a share of the time: after each there is a rest
in proportion to it, and the more the cores have to do, the longer a call takes and the fewer there
are.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.errors import CartwrightError
from serving.steps.placement import Step
from serving.types import Arm, Choice
from serving.versions.agreement import agree

logger = logging.getLogger(__name__)

MAX_WAITING = 16
DEADLINE_MS = 2000.0


@dataclass(kw_only=True)
class ShadowStats:
    """Of one candidate since this process knows it."""

    asked: int = 0
    disagreed: int = 0
    failed: int = 0
    dropped: int = 0
    # Milliseconds of all candidate's answers, and of the real answers beside them.
    candidate_ms: float = 0.0
    live_ms: float = 0.0


class _Offer(NamedTuple):
    model: str
    version: int
    step: Step[Any, Any]
    request: Any
    # Of the live version, and how long it took.
    result: Any
    live_ms: float
    customer: str


class Tell(Protocol):
    """Is told of every shadow call; see `serving.rollout.tally`."""

    def __call__(
        self, model: str, version: int, agreed: bool | None, candidate_ms: float, live_ms: float, /
    ) -> None:
        """`agreed` is None if the candidate failed."""
        ...


class Shadows:
    """The shadow calls of one process; belongs to its event loop."""

    def __init__(
        self,
        is_busy: Callable[[], bool],
        tell: Tell,
        *,
        share: float,
        max_waiting: int = MAX_WAITING,
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Asks nothing before `start`.

        Args:
            is_busy: whether real calls wait for a place now.
            tell: is told what came of each call.
            share: of the time that calls may take, above 0 and at most 1.
            max_waiting: offers that may wait; further ones are dropped.
            rest: waits for some seconds.
        """
        self._is_busy = is_busy
        self._tell = tell
        # Seconds of rest for a second of calls.
        self._rest_ratio = (1.0 - share) / share
        self._rest = rest
        self._max_waiting = max_waiting
        self._waiting: deque[_Offer] = deque()
        self._news = asyncio.Event()
        self._stats: dict[tuple[str, int], ShadowStats] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to ask."""
        self._task = asyncio.create_task(self._run(), name="shadows")

    async def close(self) -> None:
        """Ends it; what waits is dropped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None

    def stats(self) -> Mapping[tuple[str, int], ShadowStats]:
        """By model and version."""
        return self._stats

    def offer(
        self,
        model: str,
        version: int,
        step: Step[Any, Any],
        request: Any,
        result: Any,
        live_ms: float,
        context: RequestContext,
    ) -> None:
        """Takes a request that the live version has just answered; costs about a microsecond.

        Args:
            model: of the step.
            version: the candidate.
            step: with the candidate's files.
            request: the step's input.
            result: what the live version made of it.
            live_ms: how long that took.
            context: of the real request; only its customer is taken.
        """
        if len(self._waiting) >= self._max_waiting or self._is_busy():
            self._of(model, version).dropped += 1
            return
        offer = _Offer(model, version, step, request, result, live_ms, context.customer)
        self._waiting.append(offer)
        self._news.set()

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
            offer = self._waiting.popleft()
            stats = self._of(offer.model, offer.version)
            if self._is_busy():
                stats.dropped += 1
                continue
            began_s = time.perf_counter()
            agreed: bool | None = None
            try:
                agreed = await self._ask(offer)
            except CartwrightError as error:
                logger.info("shadow of %s/%s: %s", offer.model, offer.version, error.message)
            except Exception:
                logger.exception("shadow of %s/%s", offer.model, offer.version)
            candidate_ms = (time.perf_counter() - began_s) * 1000.0
            if agreed is None:
                stats.failed += 1
            else:
                stats.asked += 1
                stats.disagreed += not agreed
                stats.candidate_ms += candidate_ms
                stats.live_ms += offer.live_ms
            self._tell(offer.model, offer.version, agreed, candidate_ms, offer.live_ms)
            await self._rest(candidate_ms / 1000.0 * self._rest_ratio)

    async def _ask(self, offer: _Offer) -> bool:
        context = RequestContext(
            deadline=Deadline.after_ms(DEADLINE_MS),
            customer=offer.customer,
            choices={offer.model: Choice(offer.version, Arm.PINNED)},
        )
        return agree(offer.result, await offer.step(offer.request, context))

    def _of(self, model: str, version: int) -> ShadowStats:
        return self._stats.setdefault((model, version), ShadowStats())
