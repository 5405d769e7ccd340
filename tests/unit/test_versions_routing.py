"""Which version answers a request in one process."""

import pytest

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.errors import FailedPrecondition, ModelUnavailable
from serving.models.version import ModelVersion
from serving.steps.understand import UnderstandInput
from serving.types import Arm, Choice
from serving.versions.lineup import Lineup
from serving.versions.routing import Router
from serving.versions.step import VersionedStep
from tests.fakes.world import build_world, small_assets

MODEL = "understanding"


def context(customer: str = "", trace_id: str = "0" * 32) -> RequestContext:
    return RequestContext(deadline=Deadline.after_ms(5000), customer=customer, trace_id=trace_id)


def router(lineup: Lineup | None, *ready: int) -> Router:
    made = Router(lambda version: version in {ModelVersion(MODEL, number) for number in ready})
    made.follow({} if lineup is None else {MODEL: lineup})
    return made


def test_the_live_version_answers() -> None:
    made = router(Lineup(model=MODEL, live=3, previous=2), 2, 3)
    assert made.choose(MODEL, context()) == Choice(3, Arm.LIVE)


def test_a_shadow_answers_nobody() -> None:
    made = router(Lineup(model=MODEL, live=3, candidate=4), 3, 4)
    chosen = {made.choose(MODEL, context(f"c{i}")).version for i in range(50)}
    assert chosen == {3}


def test_a_canary_answers_its_share_and_always_the_same_customers() -> None:
    made = router(Lineup(model=MODEL, live=3, candidate=4, canary_percent=30, salt="s"), 3, 4)
    first = [made.choose(MODEL, context(f"c{i}")) for i in range(1000)]
    assert [made.choose(MODEL, context(f"c{i}")) for i in range(1000)] == first
    share = sum(choice == Choice(4, Arm.CANARY) for choice in first) / len(first)
    assert 0.25 < share < 0.35


def test_who_is_nobody_in_particular_falls_by_their_trace() -> None:
    made = router(Lineup(model=MODEL, live=3, candidate=4, canary_percent=50, salt="s"), 3, 4)
    chosen = {made.choose(MODEL, context(trace_id=f"{i:032x}")).version for i in range(50)}
    assert chosen == {3, 4}


def test_a_request_keeps_to_its_choice_while_the_line_up_changes() -> None:
    made = router(Lineup(model=MODEL, live=3), 3, 4)
    request = context("c")
    assert made.choose(MODEL, request).version == 3
    made.follow({MODEL: Lineup(model=MODEL, live=4, previous=3)})
    assert made.choose(MODEL, request).version == 3
    assert made.choose(MODEL, request.until(Deadline.after_ms(10))).version == 3
    assert made.choose(MODEL, context("c")).version == 4


@pytest.mark.parametrize(
    ("lineup", "ready", "answers"),
    [
        (Lineup(model=MODEL, live=4, previous=3), (3,), 3),
        (Lineup(model=MODEL, live=3, candidate=4, canary_percent=99.9, salt="s"), (3,), 3),
        # A candidate was found fit to answer some, not everybody.
        (Lineup(model=MODEL, live=3, candidate=4, canary_percent=1, salt="s"), (4,), None),
        (Lineup(model=MODEL, live=4, previous=3), (), None),
    ],
)
def test_another_stands_in_for_a_version_that_is_not_ready(
    lineup: Lineup, ready: tuple[int, ...], answers: int | None
) -> None:
    made = router(lineup, *ready)
    choice = made.choose(MODEL, context("somebody"))
    if answers is None:
        # It is asked all the same: the error says which hosts there are.
        assert choice == Choice(lineup.live or 0, Arm.LIVE)
        assert not made.can_answer(MODEL)
    else:
        assert choice == Choice(answers, Arm.STANDBY)
        assert made.can_answer(MODEL)


def test_a_version_can_be_asked_for_by_number() -> None:
    made = router(Lineup(model=MODEL, live=3, candidate=4), 3, 4)
    request = context()
    request.pinned = {MODEL: 4}
    assert made.choose(MODEL, request) == Choice(4, Arm.PINNED)
    absent = context()
    absent.pinned = {MODEL: 5}
    with pytest.raises(FailedPrecondition, match="understanding: version 5 is not ready"):
        made.choose(MODEL, absent)


def test_without_a_live_version_nothing_answers() -> None:
    for lineup in (None, Lineup(model=MODEL, staged=(1,))):
        made = router(lineup, 1)
        with pytest.raises(ModelUnavailable, match="no version is live"):
            made.choose(MODEL, context())
        assert not made.can_answer(MODEL)


async def test_a_turn_is_answered_by_the_versions_of_its_customers_arms() -> None:
    world = build_world()
    for assets in small_assets(version=2):
        world.opened.open(assets)
    world.router.follow(
        {
            model: Lineup(model=model, live=1, candidate=2, canary_percent=50, salt=model)
            for model in world.router.lineups()
        }
    )
    seen: dict[str, set[tuple[tuple[str, int], ...]]] = {}
    for _ in range(3):
        for customer in ("alice", "bob", "carol", "dave", "erin", "frank"):
            request = context(customer)
            await world.steps.understand(UnderstandInput(text="hello"), request)
            await world.pipelines.answer("how can I return an item?", 3, request)
            versions = tuple(sorted(request.model_versions.items()))
            assert versions == tuple(sorted((m, c.version) for m, c in request.choices.items()))
            seen.setdefault(customer, set()).add(versions)
    assert all(len(versions) == 1 for versions in seen.values())
    assert len({next(iter(versions)) for versions in seen.values()}) > 1


async def test_a_step_without_the_chosen_version_says_so() -> None:
    step: VersionedStep[str, str] = VersionedStep(MODEL, router(Lineup(model=MODEL, live=3), 3))
    with pytest.raises(ModelUnavailable, match="version 3 is not open in this process"):
        await step("x", context())
