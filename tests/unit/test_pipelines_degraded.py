"""The design's table "when it fails", row by row, for every pipeline that asks the model."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from serving.assembly import build_pipelines
from serving.context import RequestContext
from serving.errors import (
    CartwrightError,
    DeadlineExceeded,
    ModelContractViolated,
    ModelUnavailable,
    Overloaded,
    StoreUnavailable,
)
from serving.pipelines.recommend import RecommendInput
from serving.pipelines.turn import TextPiece, TurnEvent, TurnInput, TurnOutcome
from serving.types import Action, Answer, Article, Candidate, Decision, EventKind, Understanding
from tests.fakes.stores import MemorySessions
from tests.fakes.world import MASKER, World, build_world, context, with_vectors

Call = Callable[[World, RequestContext], Awaitable[object]]


async def understand(world: World, request: RequestContext) -> Understanding:
    return await world.pipelines.understand("where is my order", request)


async def answer(world: World, request: RequestContext) -> Answer:
    return await world.pipelines.answer("standard delivery times", 3, request)


async def recommend(world: World, request: RequestContext) -> tuple[Candidate, ...]:
    wanted = RecommendInput(customer_id="alice", top_k=3)
    return await world.pipelines.recommend(wanted, request)


def turn(text: str) -> TurnInput:
    return TurnInput(session_id="session", customer_id="alice", text=text, top_k=3)


def deciding(text: str) -> Call:
    async def decide(world: World, request: RequestContext) -> Decision:
        return await world.pipelines.decide(turn(text), request)

    return decide


def conversing(text: str) -> Call:
    async def converse(world: World, request: RequestContext) -> TurnOutcome:
        return await world.pipelines.converse(turn(text), request)

    return converse


def upserting() -> Call:
    async def upsert(world: World, request: RequestContext) -> object:
        article = Article(article_id="gifts", title="Gift wrapping", body="We wrap gifts.")
        return await world.pipelines.knowledge.upsert([article], request)

    return upsert


def not_understood(result: object) -> None:
    assert result == Understanding(intent="", intent_confidence=0.0)


def clarifies(result: object) -> None:
    decision = result.decision if isinstance(result, TurnOutcome) else result
    assert isinstance(decision, Decision)
    assert decision.action is Action.CLARIFY
    if isinstance(result, TurnOutcome):
        assert result.understanding is None
        assert "other words" in result.text


def answers(result: object) -> None:
    found = result.answer if isinstance(result, TurnOutcome) else result
    assert isinstance(found, Answer)
    assert found.known
    assert "three days" in found.text
    assert found.passages[0].article.article_id == "delivery"


def of_the_mugs(items: tuple[Candidate, ...]) -> bool:
    return [item.product.category for item in items][:1] == ["home/kitchen/mugs"]


def popular_mugs(result: object) -> None:
    items = result.items if isinstance(result, TurnOutcome) else result
    assert isinstance(items, tuple)
    assert len(items) == 3
    assert of_the_mugs(items)
    assert any(item.reason == "popular in home/kitchen" for item in items)


def candidates_order(result: object) -> None:
    items = result.items if isinstance(result, TurnOutcome) else result
    assert isinstance(items, tuple)
    # The model in memory proposes p21 first, then its neighbours on both sides.
    assert [item.product.product_id for item in items] == ["p21", "p22", "p19"]
    scores = [item.score for item in items]
    assert scores == sorted(scores, reverse=True)


def answers_only(result: object) -> None:
    decision = result.decision if isinstance(result, TurnOutcome) else result
    assert isinstance(decision, Decision)
    assert decision.action is Action.ANSWER
    assert [factor.name for factor in decision.factors] == ["safe_rule"]


def stored(result: object) -> None:
    assert (result.created, result.updated) == (1, 0)  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table, for one pipeline."""

    model: str
    call: Call
    step: str
    fallback: str
    check: Callable[[object], None]


ROWS = {
    "understanding fails: Understand gives no intent": Row(
        model="understanding", call=understand, step="understand", fallback="clarify",
        check=not_understood,
    ),
    "understanding fails: Decide clarifies": Row(
        model="understanding", call=deciding("where is my order"), step="understand",
        fallback="clarify", check=clarifies,
    ),
    "understanding fails: Converse clarifies": Row(
        model="understanding", call=conversing("where is my order"), step="understand",
        fallback="clarify", check=clarifies,
    ),
    "encoder fails: Answer searches words": Row(
        model="encoder", call=answer, step="retrieve", fallback="word search only", check=answers,
    ),
    "encoder fails: Converse searches words": Row(
        model="encoder", call=conversing("standard delivery times"), step="retrieve",
        fallback="word search only", check=answers,
    ),
    "encoder fails: UpsertArticles stores for word search": Row(
        model="encoder", call=upserting(), step="encode",
        fallback="word search only, until the encoder is back", check=stored,
    ),
    "candidates fail: Recommend shows what is popular in the category": Row(
        model="candidates", call=recommend, step="generate_candidates",
        fallback="popular items of the category", check=popular_mugs,
    ),
    "candidates fail: Converse shows what is popular in the category": Row(
        model="candidates", call=conversing("recommend"), step="generate_candidates",
        fallback="popular items of the category", check=popular_mugs,
    ),
    "ranker fails: Recommend keeps the candidates' order": Row(
        model="ranker", call=recommend, step="rank", fallback="the candidates' order",
        check=candidates_order,
    ),
    "ranker fails: Converse keeps the candidates' order": Row(
        model="ranker", call=conversing("recommend"), step="rank",
        fallback="the candidates' order", check=candidates_order,
    ),
    "decision fails: Decide answers only": Row(
        model="decision", call=deciding("standard delivery times"), step="decide",
        fallback="answer only", check=answers_only,
    ),
    "decision fails: Converse answers only": Row(
        model="decision", call=conversing("standard delivery times"), step="decide",
        fallback="answer only", check=answers_only,
    ),
}  # fmt: skip

ROW = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())


@pytest.fixture
async def world() -> World:
    world = await with_vectors(build_world())
    await world.happens(EventKind.VIEW, "p20", customer_id="alice")
    return world


def noted(request: RequestContext) -> list[tuple[str, str]]:
    return [(d.step, d.fallback) for d in request.degraded]


@ROW
async def test_without_the_fault_nothing_is_degraded(world: World, row: Row) -> None:
    request = context()
    await row.call(world, request)
    assert noted(request) == []
    assert row.model in request.model_versions


@ROW
@pytest.mark.parametrize(
    "error",
    [
        ModelUnavailable("no host is ready"),
        Overloaded("the model's queue is full", 100),
        DeadlineExceeded("the model took too long"),
        ModelContractViolated("the model's outputs have another shape"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_fault_is_replaced_and_named(
    world: World, row: Row, error: CartwrightError
) -> None:
    world.models.fail(row.model, error)
    request = context()
    row.check(await row.call(world, request))
    assert noted(request) == [(row.step, row.fallback)]
    assert request.degraded[0].reason
    assert row.model not in request.model_versions


@ROW
async def test_nonsense_from_the_model_is_replaced_and_named(world: World, row: Row) -> None:
    whole = world.models.functions[row.model]
    world.models.functions[row.model] = lambda inputs: {
        name: values * float("nan") for name, values in whole(inputs).items()
    }
    request = context()
    row.check(await row.call(world, request))
    assert noted(request) == [(row.step, row.fallback)]
    assert request.degraded[0].reason == "internal error (ModelContractViolated)"


@ROW
async def test_a_model_that_hangs_costs_its_step_and_not_the_reply(world: World, row: Row) -> None:
    world.models.hold(row.model)
    request = context(150)
    started = time.monotonic()
    row.check(await row.call(world, request))
    assert (time.monotonic() - started) * 1000 < 150
    assert noted(request) == [(row.step, row.fallback)]


@ROW
async def test_once_the_model_is_back_so_is_its_step(world: World, row: Row) -> None:
    world.models.fail(row.model)
    await row.call(world, context())
    world.models.recover(row.model)
    world.stores.sessions.sessions.clear()
    request = context()
    await row.call(world, request)
    assert noted(request) == []


@ROW
async def test_no_time_at_all_is_an_error_and_asks_no_model(world: World, row: Row) -> None:
    calls = len(world.models.calls)
    with pytest.raises(DeadlineExceeded):
        await row.call(world, context(0))
    assert len(world.models.calls) == calls
    assert world.stores.sessions.sessions == {}


async def test_too_little_time_starts_no_model_but_gives_a_reply(world: World) -> None:
    calls = len(world.models.calls)
    request = context(8)
    outcome = await world.pipelines.converse(turn("where is my order"), request)
    assert len(world.models.calls) == calls
    assert outcome.decision.action is Action.CLARIFY
    assert [d.step for d in request.degraded] == ["understand"]
    assert request.degraded[0].reason.startswith("not started: ")


async def test_with_every_model_gone_a_conversation_still_answers_and_then_escalates(
    world: World,
) -> None:
    for model in list(world.models.functions):
        world.models.fail(model)
    actions = [
        (await world.say(text, customer_id="alice")).decision.action
        for text in ("where is my order", "hello?", "anybody there?")
    ]
    # The first failure to hear is not the customer's; those after it count.
    assert actions == [Action.CLARIFY, Action.CLARIFY, Action.ESCALATE]
    assert all(context.degraded for context in world.contexts)


async def test_two_faults_in_one_turn_are_both_named(world: World) -> None:
    world.models.fail("encoder")
    world.models.fail("ranker")
    request = context()
    outcome = await world.pipelines.converse(turn("buy"), request)
    assert outcome.answer is not None
    assert outcome.items
    assert sorted(noted(request)) == [
        ("rank", "the candidates' order"),
        ("retrieve", "word search only"),
    ]


class BrokenSessions(MemorySessions):
    """A store whose disk is full."""

    async def save(self, session_id: str, state: dict[str, Any], expected_revision: int) -> int:
        raise StoreUnavailable("the disk is full")


async def test_a_store_that_cannot_write_is_an_error_and_no_text_is_told(world: World) -> None:
    stores = replace(world.stores, sessions=BrokenSessions())
    pipelines = build_pipelines(world.settings, world.steps, stores, lambda: (1,), MASKER)
    told: list[TurnEvent] = []

    async def tell(event: TurnEvent) -> None:
        told.append(event)

    with pytest.raises(StoreUnavailable, match="the disk is full"):
        await pipelines.converse(turn("hello"), context(), tell)
    assert not any(isinstance(event, TextPiece) for event in told)
