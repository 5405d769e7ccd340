"""Shadow calls: behind the real ones, compared, and dropped first."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.errors import ModelUnavailable
from serving.models.version import ModelVersion
from serving.steps.encode import Embeddings
from serving.steps.generate_candidates import Candidates
from serving.steps.rank import Ranking
from serving.types import Action, Arm, Choice, Decision, Sentiment, Slot, Understanding
from serving.versions.agreement import agree
from serving.versions.lineup import Lineup
from serving.versions.routing import Router
from serving.versions.shadow import Shadows, ShadowStats
from serving.versions.step import VersionedStep
from tests.waiting import until

MODEL = "understanding"
SHADOW = (MODEL, 2)


class Answering:
    """A step that answers with a word, or not."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.contexts: list[RequestContext] = []

    async def __call__(self, request: str, context: RequestContext, /) -> str:
        self.contexts.append(context)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return f"{self.word} {request}"


class Bench:
    """A step with version 1 live and version 2 as its shadow."""

    def __init__(self) -> None:
        self.busy = False
        # What was told: agreed, and whether times were told with it.
        self.told: list[tuple[bool | None, bool]] = []
        self.rests_s: list[float] = []
        self.rested = asyncio.Event()
        self.rested.set()
        self.shadows = Shadows(
            lambda: self.busy, self.tell, share=0.2, max_waiting=3, rest=self.rest
        )
        self.router = Router(lambda _: True)
        self.router.follow({MODEL: Lineup(model=MODEL, live=1, candidate=2)})
        self.live, self.candidate = Answering("yes"), Answering("yes")
        self.step: VersionedStep[str, str] = VersionedStep(MODEL, self.router, self.shadows)
        self.step.put(1, self.live)
        self.step.put(2, self.candidate)

    def tell(
        self, model: str, version: int, agreed: bool | None, candidate_ms: float, live_ms: float
    ) -> None:
        assert (model, version) == SHADOW
        self.told.append((agreed, candidate_ms > 0.0 and live_ms > 0.0))

    async def rest(self, seconds: float) -> None:
        self.rests_s.append(seconds)
        await self.rested.wait()

    async def ask(self, text: str = "a", **more: Any) -> str:
        context = RequestContext(deadline=Deadline.after_ms(5000), customer="alice", **more)
        return await self.step(text, context)

    def stats(self) -> Any:
        return self.shadows.stats().get(SHADOW, ShadowStats())


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    made.shadows.start()
    yield made
    made.candidate.gate.set()
    await made.shadows.close()


async def test_the_shadow_is_asked_behind_the_answer_and_compared(bench: Bench) -> None:
    assert await bench.ask() == "yes a"
    await until(lambda: bench.stats().asked == 1)
    bench.candidate.word = "no"
    assert await bench.ask() == "yes a"
    await until(lambda: bench.stats().asked == 2)
    assert bench.stats().disagreed == 1
    assert bench.stats().candidate_ms > 0
    assert bench.stats().live_ms > 0


async def test_the_real_answer_waits_for_no_shadow(bench: Bench) -> None:
    bench.candidate.gate.clear()
    for _ in range(10):
        assert await asyncio.wait_for(bench.ask(), 1.0) == "yes a"
    # One is asked, three wait, and the others were dropped.
    await until(lambda: len(bench.candidate.contexts) == 1)
    assert bench.stats().dropped >= 6
    bench.candidate.gate.set()
    await until(lambda: bench.stats().asked + bench.stats().dropped == 10)


async def test_a_shadow_leaves_nothing_in_the_real_reply(bench: Bench) -> None:
    real = RequestContext(deadline=Deadline.after_ms(5000), customer="alice")
    await bench.step("a", real)
    await until(lambda: bench.stats().asked == 1)
    (shadow,) = bench.candidate.contexts
    assert shadow is not real
    assert shadow.customer == "alice"
    assert shadow.timings is not real.timings
    assert real.choices[MODEL].version == 1
    # The real call's end does not end the shadow.
    assert shadow.deadline is not real.deadline


@pytest.mark.parametrize("error", [ModelUnavailable("away"), RuntimeError("a defect")])
async def test_a_failing_shadow_fails_nobody(
    bench: Bench, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bench.candidate.error = error
    assert await bench.ask() == "yes a"
    await until(lambda: bench.stats().failed == 1)
    bench.candidate.error = None
    assert await bench.ask() == "yes a"
    await until(lambda: bench.stats().asked == 1)


async def test_while_real_calls_wait_no_shadow_is_asked(bench: Bench) -> None:
    bench.busy = True
    assert await bench.ask() == "yes a"
    assert bench.stats().dropped == 1
    assert bench.candidate.contexts == []


async def test_after_each_call_it_rests_in_proportion(bench: Bench) -> None:
    bench.rested.clear()
    await bench.ask()
    await until(lambda: len(bench.rests_s) == 1)
    # A fifth of the time: four times as long as the call itself.
    assert bench.rests_s[0] == pytest.approx(bench.stats().candidate_ms / 1000.0 * 4.0)
    for _ in range(10):
        await bench.ask()
    # Meanwhile nobody is asked, and what does not fit is dropped.
    assert len(bench.candidate.contexts) == 1
    assert bench.stats().dropped == 7
    bench.rested.set()
    await until(lambda: len(bench.candidate.contexts) == 4)


async def test_a_failed_answer_has_no_shadow(bench: Bench) -> None:
    bench.live.error = ModelUnavailable("away")
    with pytest.raises(ModelUnavailable):
        await bench.ask()
    assert SHADOW not in bench.shadows.stats()


async def test_what_is_tried_is_asked_behind_the_live_version_alone() -> None:
    router = Router(lambda version: version != ModelVersion(MODEL, 3))
    for lineup, expected in (
        (Lineup(model=MODEL, live=1, candidate=2), 2),
        (Lineup(model=MODEL, live=1, candidate=3), None),
        (Lineup(model=MODEL, live=1, candidate=2, canary_percent=10, salt="s"), 2),
        (Lineup(model=MODEL, live=1, previous=2), None),
    ):
        router.follow({MODEL: lineup})
        assert router.shadow_of(MODEL, Choice(1, Arm.LIVE)) == expected
        for choice in (Choice(2, Arm.CANARY), Choice(1, Arm.PINNED), Choice(1, Arm.STANDBY)):
            assert router.shadow_of(MODEL, choice) is None


# ---- agreement ---------------------------------------------------------------------------------


def understanding(intent: str = "track_order", **slots: str) -> Understanding:
    return Understanding(
        intent=intent,
        intent_confidence=0.9,
        slots=tuple(
            Slot(name=name, value=value, start_char=0, end_char=1, confidence=0.9)
            for name, value in slots.items()
        ),
        sentiment=Sentiment.NEUTRAL,
        sentiment_confidence=0.9,
        sentiment_probabilities=(0.05, 0.9, 0.05),
        out_of_scope_probability=0.1,
    )


def candidates(*ids: str) -> Candidates:
    return Candidates(product_ids=ids, scores=np.ones(len(ids), np.float32), personal=True)


def embeddings(*rows: tuple[float, float], encoder: str = "encoder/1") -> Embeddings:
    return Embeddings(vectors=np.array(rows, np.float32), encoder=encoder)


ANSWER = Decision(action=Action.ANSWER, probability=0.9)


@pytest.mark.parametrize(
    ("live", "candidate", "same"),
    [
        (understanding(), replace(understanding(), intent_confidence=0.2), True),
        (understanding(), understanding("refund"), False),
        (understanding(product="mug"), understanding(product="mug"), True),
        (understanding(product="mug"), understanding(product="pan"), False),
        (understanding(product="mug"), understanding(), False),
        (candidates(*"abcde"), candidates(*"edcba"), True),
        (candidates(*"abcdef"), candidates(*"abcxyf"), True),
        (candidates(*"abcde"), candidates(*"abxyz"), False),
        (candidates(), candidates(), True),
        (
            Ranking(product_ids=("a", "b"), probabilities=(0.9, 0.1)),
            Ranking(product_ids=("b", "a"), probabilities=(0.9, 0.1)),
            True,
        ),
        (ANSWER, replace(ANSWER, probability=0.1), True),
        (ANSWER, replace(ANSWER, action=Action.OFFER), False),
        (embeddings((1, 0)), embeddings((1, 0), encoder="encoder/2"), True),
        (embeddings((1, 0)), embeddings((0, 1)), False),
        (embeddings((1, 0)), embeddings((1, 0), (1, 0)), False),
        ("a", "a", True),
        ("a", "b", False),
        (understanding(), "a", False),
    ],
)
def test_answers_agree_when_they_mean_the_same(live: object, candidate: object, same: bool) -> None:
    assert agree(live, candidate) is same
