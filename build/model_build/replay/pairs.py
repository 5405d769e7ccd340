"""Each recorded text through both versions, one right after the other."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.errors import CartwrightError
from serving.recording.records import Record
from serving.steps.placement import Step
from serving.steps.understand import UnderstandInput
from serving.types import Understanding

UnderstandStep = Step[UnderstandInput, Understanding]
# (done, of)
Watch = Callable[[int, int], None]

_DEADLINE_MS = 10_000.0
# Not counted: caches of both sides fill, and a version that was just loaded is slow at first.
_LEAD_IN = 20


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What became of one text in one version."""

    # None if it failed.
    understanding: Understanding | None
    failure: str
    duration_ms: float


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One recorded request, replayed."""

    record: Record
    first: Answered
    second: Answered


async def replay(
    records: Sequence[Record],
    first: UnderstandStep,
    second: UnderstandStep,
    rng: random.Random,
    watch: Watch = lambda done, of: None,
) -> list[Pair]:
    """Asks both versions for every record, one request at a time.

    What slows the machine down for a while slows both down: they take turns, and chance decides
    which one comes first.

    Args:
        records: whose texts are asked.
        first: the request path's step over one version.
        second: the same over the other version.
        rng: decides who comes first.
        watch: told after each pair.
    """
    for record in records[:_LEAD_IN]:
        await _ask(first, record.text)
        await _ask(second, record.text)
    pairs = []
    for done, record in enumerate(records, start=1):
        if rng.random() < 0.5:
            one = await _ask(first, record.text)
            other = await _ask(second, record.text)
        else:
            other = await _ask(second, record.text)
            one = await _ask(first, record.text)
        pairs.append(Pair(record=record, first=one, second=other))
        watch(done, len(records))
    return pairs


async def _ask(step: UnderstandStep, text: str) -> Answered:
    context = RequestContext(deadline=Deadline.after_ms(_DEADLINE_MS))
    began_s = time.perf_counter()
    understanding, failure = None, ""
    try:
        understanding = await step(UnderstandInput(text=text), context)
    except CartwrightError as error:
        failure = f"{type(error).__name__}: {error.message}"
    return Answered(
        understanding=understanding,
        failure=failure,
        duration_ms=(time.perf_counter() - began_s) * 1000.0,
    )
