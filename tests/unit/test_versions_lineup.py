"""Stages of versions: what each step does, what is refused, what always holds."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import CartwrightError, InvalidRequest
from serving.versions import lineup as rules
from serving.versions.lineup import Lineup, Stage, StepRefused

MODEL = "understanding"


def live_with(*staged: int, live: int = 3) -> Lineup:
    found = rules.promote(rules.stage(Lineup(model=MODEL), live), live)
    for version in staged:
        found = rules.stage(found, version)
    return found


def stages(lineup: Lineup) -> dict[int, str]:
    return {version: str(lineup.stage_of(version)) for version in lineup.known}


def test_the_way_of_a_version_from_staged_to_previous_and_out() -> None:
    lineup = live_with(4, 5)
    assert stages(lineup) == {3: "live", 4: "staged", 5: "staged"}
    lineup = rules.shadow(lineup, 4)
    assert stages(lineup) == {3: "live", 4: "shadow", 5: "staged"}
    lineup = rules.canary(lineup, 4, 10)
    assert stages(lineup) == {3: "live", 4: "canary", 5: "staged"}
    assert lineup.resident == (3, 4)
    lineup = rules.promote(lineup, 4)
    assert stages(lineup) == {3: "previous", 4: "live", 5: "staged"}
    assert (lineup.candidate, lineup.canary_percent, lineup.salt) == (None, 0.0, "")
    # The previous one stays until the next takes its place.
    lineup = rules.promote(lineup, 5)
    assert stages(lineup) == {3: "staged", 4: "previous", 5: "live"}
    assert stages(rules.release(lineup)) == {3: "staged", 4: "staged", 5: "live"}


def test_rollback_withdraws_the_candidate_first_and_then_goes_back() -> None:
    lineup = rules.canary(rules.promote(live_with(4, 5), 4), 5, 50)
    assert stages(lineup) == {3: "previous", 4: "live", 5: "canary"}
    lineup = rules.rollback(lineup)
    assert stages(lineup) == {3: "previous", 4: "live", 5: "staged"}
    lineup = rules.rollback(lineup)
    assert stages(lineup) == {3: "live", 4: "staged", 5: "staged"}
    with pytest.raises(StepRefused, match="no candidate and no previous version"):
        rules.rollback(lineup)


def test_the_previous_version_may_be_tried_again() -> None:
    lineup = rules.shadow(rules.promote(live_with(4), 4), 3)
    assert stages(lineup) == {3: "shadow", 4: "live"}
    assert lineup.previous is None


def test_an_experiment_keeps_its_salt_while_its_share_grows() -> None:
    lineup = rules.canary(live_with(4, 5), 4, 1)
    assert lineup.salt
    assert rules.canary(lineup, 4, 50).salt == lineup.salt
    again = rules.canary(rules.rollback(lineup), 4, 1)
    assert again.salt != lineup.salt


def refused(step: Callable[[], Lineup]) -> str:
    with pytest.raises(StepRefused) as caught:
        step()
    return caught.value.message


def test_what_is_refused_says_why() -> None:
    lineup = rules.shadow(live_with(4, 5), 4)
    assert refused(lambda: rules.promote(lineup, 9)) == (
        "understanding: version 9 is not known (known: 3, 4, 5): stage it first"
    )
    assert "version 4 is being tried" in refused(lambda: rules.canary(lineup, 5, 10))
    assert "version 4 is being tried" in refused(lambda: rules.promote(lineup, 5))
    assert "version 3 is live" in refused(lambda: rules.shadow(lineup, 3))
    assert "live already" in refused(lambda: rules.promote(lineup, 3))
    assert "shadow already" in refused(lambda: rules.stage(lineup, 4))
    assert "nothing is live" in refused(
        lambda: rules.shadow(rules.stage(Lineup(model=MODEL), 1), 1)
    )
    assert "no previous version" in refused(lambda: rules.release(lineup))


@pytest.mark.parametrize("percent", [0.0, -1.0, 100.0, 250.0, float("nan")])
def test_a_share_that_is_none(percent: float) -> None:
    with pytest.raises(InvalidRequest) as caught:
        rules.canary(live_with(4), 4, percent)
    assert caught.value.message.startswith("percent: must be above 0 and below 100")


def test_a_number_that_is_no_version() -> None:
    with pytest.raises(InvalidRequest) as caught:
        rules.stage(Lineup(model=MODEL), 0)
    assert caught.value.message == "version: must be at least 1, got 0"


VERSIONS = st.integers(1, 5)
STEPS = st.one_of(
    st.builds(lambda v: lambda at: rules.stage(at, v), VERSIONS),
    st.builds(lambda v: lambda at: rules.shadow(at, v), VERSIONS),
    st.builds(lambda v, p: lambda at: rules.canary(at, v, p), VERSIONS, st.floats(1, 99)),
    st.builds(lambda v: lambda at: rules.promote(at, v), VERSIONS),
    st.just(rules.rollback),
    st.just(rules.release),
)


@given(st.lists(STEPS, max_size=40))
def test_whatever_is_done_no_version_is_lost_or_in_two_places(
    steps: list[Callable[[Lineup], Lineup]],
) -> None:
    lineup = Lineup(model=MODEL)
    for step in steps:
        try:
            after = step(lineup)
        except CartwrightError:
            continue
        assert set(lineup.known) <= set(after.known)
        places = [*after.resident, *after.staged]
        assert len(places) == len(set(places))
        # Once something is live, something always is.
        assert lineup.live is None or after.live is not None
        assert after.candidate is None or after.live is not None
        assert bool(after.salt) == (after.candidate is not None)
        assert after.canary_percent == 0.0 or after.stage_of(after.candidate or 0) is Stage.CANARY
        lineup = after
