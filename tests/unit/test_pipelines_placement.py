"""A step placed in another process gives the same replies as one in the pipeline's own."""

import asyncio
import pickle
from typing import Any

import pytest

from serving.assembly import build_pipelines
from serving.context import RequestContext
from serving.errors import Overloaded, Unavailable
from serving.pipelines.recommend import RecommendInput
from serving.settings import PlacementSettings
from serving.steps.placement import RemoteStep, StepCall, StepOutcome, StepServer
from serving.types import EventKind, Report
from tests.fakes.world import MASKER, World, build_world, context, open_steps, with_vectors

PLACEABLE = tuple(PlacementSettings.model_fields)
TALK = (
    "hello",
    "where is my order",
    "12345",
    "standard delivery times",
    "recommend something",
    "find blue mugs",
    "buy",
    "blorp",
    "terrible awful",
    "goodbye",
)


class Elsewhere:
    """Serves every placeable step from assets, models and stores of its own process, so to say."""

    def __init__(self, world: World) -> None:
        steps = open_steps(world.models, world.stores)[1].steps
        self._servers = {name: StepServer[Any](getattr(steps, name)) for name in PLACEABLE}
        self.calls: list[str] = []

    def remote(self, name: str) -> RemoteStep[Any]:
        async def carry(call: StepCall) -> StepOutcome[Any]:
            self.calls.append(name)
            outcome = await self._servers[name](pickle.loads(pickle.dumps(call)))
            carried: StepOutcome[Any] = pickle.loads(pickle.dumps(outcome))
            return carried

        return RemoteStep(carry)


async def placed_world(*names: str) -> tuple[World, Elsewhere]:
    world = await with_vectors(build_world())
    elsewhere = Elsewhere(world)
    steps = world.steps.placed({name: elsewhere.remote(name) for name in names})
    world.pipelines = build_pipelines(world.settings, steps, world.stores, lambda: (1,), MASKER)
    await world.happens(EventKind.VIEW, "p20", "p03", customer_id="alice")
    return world, elsewhere


def without_times(report: Report) -> object:
    return (
        sorted(timing.step for timing in report.timings),
        report.degraded,
        report.model_versions,
        report.trace_id,
    )


@pytest.mark.parametrize("names", [(name,) for name in PLACEABLE] + [PLACEABLE], ids="+".join)
async def test_a_conversation_goes_the_same_way(names: tuple[str, ...]) -> None:
    here, _ = await placed_world()
    there, elsewhere = await placed_world(*names)
    for text in TALK:
        expected = await here.say(text, customer_id="alice")
        assert await there.say(text, customer_id="alice") == expected
        assert without_times(there.contexts[-1].report()) == without_times(
            here.contexts[-1].report()
        )
    assert set(elsewhere.calls) == set(names)


@pytest.mark.parametrize("name", PLACEABLE)
async def test_a_fault_over_there_degrades_like_one_here(name: str) -> None:
    model = {
        "understand": "understanding",
        "retrieve": "encoder",
        "generate_candidates": "candidates",
        "rank": "ranker",
        "decide": "decision",
    }[name]
    here, _ = await placed_world()
    there, _ = await placed_world(name)
    for world in (here, there):
        world.models.fail(model)
    for text in ("standard delivery times", "recommend something"):
        expected = await here.say(text, customer_id="alice")
        assert await there.say(text, customer_id="alice") == expected
        assert there.degraded() == here.degraded()


@pytest.mark.parametrize(
    "error", [Overloaded("the step's queue is full"), Unavailable("no replica of the step")]
)
async def test_a_deployment_that_cannot_be_reached_degrades_too(error: Exception) -> None:
    world = await with_vectors(build_world())

    async def carry(call: StepCall) -> StepOutcome[Any]:
        raise error

    steps = world.steps.placed({name: RemoteStep(carry) for name in PLACEABLE})
    pipelines = build_pipelines(world.settings, steps, world.stores, lambda: (1,), MASKER)
    request = context()
    answer = await pipelines.answer("standard delivery times", 3, request)
    assert answer.known
    wanted = RecommendInput(customer_id="alice", top_k=3)
    assert len(await pipelines.recommend(wanted, request)) == 3
    assert [d.step for d in request.degraded] == ["retrieve", "generate_candidates", "rank"]


async def test_cancelling_the_caller_cancels_the_step_over_there() -> None:
    ended = asyncio.Event()
    started = asyncio.Event()

    async def hanging(request: object, within: RequestContext) -> object:
        started.set()
        try:
            return await asyncio.Event().wait()
        finally:
            ended.set()

    server: StepServer[Any] = StepServer(hanging)
    task = asyncio.create_task(RemoteStep(server)("question", context()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
