"""Rollouts go on, go back, and survive whoever conducts them."""

import asyncio
from pathlib import Path

import pytest

from serving.errors import InvalidRequest, StoreUnavailable
from serving.rollout.conductor import keep_conducting
from serving.rollout.counts import ArmCounts, Counts, ShadowCounts
from serving.rollout.record import Rollout
from serving.versions import lineup as steps
from serving.versions.admin import Action, Change
from serving.versions.lineup import MAX_TEXT, Lineup, StepRefused
from serving.versions.verdict import Gate
from tests.rollout_bench import MODEL, RolloutBench, begun
from tests.waiting import until


@pytest.fixture
def bench(tmp_path: Path) -> RolloutBench:
    return RolloutBench(tmp_path)


def test_a_good_version_goes_live_stage_by_stage(bench: RolloutBench) -> None:
    bench.begin()
    bench.after(0.0)
    seen = []
    for _ in range(3):
        seen.append((bench.lineup.canary_percent, bench.lineup.live))
        bench.happen_well()
        bench.after(2.0)
    assert seen == [(0.0, 1), (10.0, 1), (50.0, 1)]
    assert (bench.lineup.live, bench.lineup.previous, bench.lineup.candidate) == (2, 1, None)
    actions = [entry.action for entry in bench.store.history(MODEL)]
    assert actions == ["promote 2", "canary 2 50%", "canary 2 10%", "roll out 2", "adopt 1"]
    action, author, reason = bench.last()
    assert author == "ada (auto)"
    assert reason.startswith("accepted as canary 50 %: ")
    assert "failed or degraded: 0 of 6000 against 0 of 6000: +0.00%" in reason
    assert bench.admin.show(MODEL).rollout is None
    bench.after(500.0)
    assert bench.last()[0] == action


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_version_that_fails_is_withdrawn_from_any_stage(bench: RolloutBench, stage: int) -> None:
    begun(bench, stage)
    bad = ArmCounts(of=40, bad=40)
    bench.happen(
        Counts(candidate=bad, live=ArmCounts(of=400), shadow=ShadowCounts(of=60, failed=60))
    )
    # Without waiting for the least time of the stage.
    bench.after(0.1)
    assert (bench.lineup.live, bench.lineup.candidate) == (1, None)
    assert 2 in bench.lineup.staged
    action, author, reason = bench.last()
    assert (action, author) == ("rollback", "ada (auto)")
    name = "canary" if stage else "shadow"
    assert reason.startswith(f"rejected as {name}")
    assert "60 of 60" in reason or "40 of 40" in reason


def test_customers_who_complain_end_it(bench: RolloutBench) -> None:
    begun(bench, 1)
    bench.ratings = {(1, "live"): (5, 100), (2, "canary"): (35, 40), (1, "canary"): (0, 999)}
    bench.after(0.1)
    assert bench.lineup.candidate is None
    assert "bad feedback: 35 of 40 against 5 of 100" in bench.last()[2]


def test_every_stage_takes_its_time_and_not_for_ever(bench: RolloutBench) -> None:
    begun(bench, 0)
    bench.happen_well()
    bench.after(0.5)
    assert bench.lineup.canary_percent == 0.0
    bench.after(0.6)
    assert bench.lineup.canary_percent == 10.0
    bench.after(99.0)
    assert bench.lineup.canary_percent == 10.0
    bench.after(2.0)
    assert bench.lineup.candidate is None
    assert bench.last()[2].startswith("undecided as canary 10 % after 100 s: failed or degraded: ")


def test_without_anybody_to_compare_with_it_waits(bench: RolloutBench) -> None:
    begun(bench, 0)
    # The shadow does well, but there are not enough calls to know what is late.
    bench.happen(Counts(shadow=ShadowCounts(of=2000, answered=2000)))
    bench.after(50.0)
    assert bench.lineup.canary_percent == 0.0
    bench.happen_well()
    bench.after(1.0)
    assert bench.lineup.canary_percent == 10.0


def test_what_a_slow_version_costs_is_judged_by_what_was_usual_before(bench: RolloutBench) -> None:
    begun(bench, 1)
    slow, usual = ArmCounts(), ArmCounts()
    for _ in range(40):
        slow.add("Converse", 80.0, bad=False)
        usual.add("Converse", 12.0, bad=False)
    bench.happen(Counts(candidate=slow, live=usual))
    bench.after(0.1)
    assert "later than live's p99: 40 of 40 against 0 of 40" in bench.last()[2]


def test_it_counts_from_when_the_version_is_ready_everywhere(bench: RolloutBench) -> None:
    bench.ready = (1,)
    shown = bench.begin().rollout
    assert shown is not None
    assert (shown.stage, shown.judgement, shown.rollout.counting) == ("shadow", None, False)
    bench.happen(Counts(shadow=ShadowCounts(of=50, failed=50)))
    bench.after(5.0)
    assert bench.lineup.candidate == 2
    bench.ready = (1, 2)
    bench.after(1.0)
    # What failed before does not count.
    bench.after(1.0)
    state = bench.admin.show(MODEL).rollout
    assert state is not None
    assert state.rollout.counting
    assert state.judgement is not None
    assert state.judgement.verdict == "go on"


def test_a_version_that_cannot_be_loaded_is_withdrawn_with_its_reason(bench: RolloutBench) -> None:
    bench.ready = (1,)
    bench.begin()
    bench.faults = {f"{MODEL}/2": "Triton: no such operator"}
    bench.after(1.0)
    assert bench.lineup.candidate is None
    assert bench.last()[2] == "it cannot be served: h: Triton: no such operator"


def test_a_version_that_is_not_ready_in_time_is_withdrawn(bench: RolloutBench) -> None:
    bench.ready = (1,)
    bench.begin()
    bench.after(9.0)
    assert bench.lineup.candidate == 2
    bench.after(2.0)
    assert bench.last()[2] == "not ready everywhere after 10 s: h: not loaded yet"


def test_it_does_not_go_on_while_a_host_lacks_the_version(bench: RolloutBench) -> None:
    begun(bench, 0)
    bench.happen_well()
    bench.ready = (1,)
    bench.after(5.0)
    assert bench.lineup.canary_percent == 0.0
    bench.ready = (1, 2)
    bench.after(1.0)
    assert bench.lineup.canary_percent == 10.0


@pytest.mark.parametrize(
    ("action", "version"), [(Action.ROLLBACK, 0), (Action.PROMOTE, 2), (Action.SHADOW, 2)]
)
def test_whoever_takes_a_step_takes_over(bench: RolloutBench, action: Action, version: int) -> None:
    begun(bench, 1)
    bench.take(action, version)
    lineup, revision = bench.store.read(MODEL)
    assert bench.admin.show(MODEL).rollout is None
    bench.happen_well()
    bench.after(5.0)
    assert bench.store.read(MODEL) == (lineup, revision)


def test_steps_with_other_versions_leave_it_alone(bench: RolloutBench) -> None:
    held = Lineup(model=MODEL, live=1, previous=3, staged=(2,))
    bench.store.apply(MODEL, lambda _: held, action="hold", author="test", reason="test")
    begun(bench, 1)
    bench.take(Action.RELEASE)
    state = bench.admin.show(MODEL).rollout
    assert state is not None
    assert state.stage == "canary 10 %"
    bench.happen_well()
    bench.after(2.0)
    assert bench.lineup.canary_percent == 50.0


def test_of_several_who_conduct_one_takes_the_step(bench: RolloutBench) -> None:
    begun(bench, 0)
    bench.happen_well()
    bench.now_ms += 2000
    first = bench.conductor()
    looked = []

    def clock_ms() -> int:
        """The first looks while the second, which has read everything already, asks the time."""
        if not looked:
            looked.append(first)
            first.look()
            assert bench.lineup.canary_percent == 10.0
        return bench.now_ms

    ((entry, rollout),) = bench.store.rollouts()
    bench.conductor(clock_ms).look()
    assert looked
    assert [one.action for one in bench.store.history(MODEL)][:2] == ["canary 2 10%", "roll out 2"]
    assert not bench.store.change_rollout(entry, rollout, rollout)


def test_one_that_cannot_be_judged_does_not_hold_up_others(
    bench: RolloutBench, caplog: pytest.LogCaptureFixture
) -> None:
    begun(bench, 1)
    unreadable = Rollout(version=2, author="bob", reason="r", stepped_at_ms=0, counting=True)
    for model in ("aardvark", "zebra"):
        lineup = steps.shadow(Lineup(model=model, live=1, staged=(2,)), 2)
        bench.store.apply(
            model, lambda _, new=lineup: new, action="a", author="b", reason="r", rollout=unreadable
        )
        salt = bench.store.read(model)[0].salt
        bench.counts.put(model, {(model, salt): b"no counts"})
    bench.happen(Counts(candidate=ArmCounts(of=40, bad=40), live=ArmCounts(of=400)))
    bench.after(0.1)
    assert bench.lineup.candidate is None
    assert "aardvark: the rollout waits: " in caplog.text
    assert "zebra: the rollout waits: " in caplog.text
    assert len(bench.store.rollouts()) == 2


def test_the_name_of_an_author_is_cut_to_what_a_step_holds(bench: RolloutBench) -> None:
    bench.now_ms = bench.store.history(MODEL)[0].at_ms
    bench.admin.change(
        Change(
            model=MODEL, action=Action.ROLL_OUT, version=2, author="a" * MAX_TEXT, reason="to see"
        )
    )
    bench.after(1.0)
    bench.happen_well()
    bench.after(2.0)
    action, author, _ = bench.last()
    assert action == "canary 2 10%"
    assert author.endswith("aaa (auto)")
    assert len(author) == MAX_TEXT


def test_gates_are_asked_before_it_begins(tmp_path: Path) -> None:
    bench = RolloutBench(tmp_path, Gate.PARITY)
    with pytest.raises(StepRefused, match="may not be promoted: parity has no verdict"):
        bench.begin()
    assert bench.lineup.candidate is None
    bench.begin(force=True)
    bench.after(1.0)
    for _ in range(3):
        bench.happen_well()
        bench.after(2.0)
    assert bench.lineup.live == 2
    newest, *before = bench.store.history(MODEL)
    assert newest.forced
    # The beginning is kept as forced too.
    assert [entry.forced for entry in before] == [False, False, True, False]


def test_what_cannot_be_rolled_out_is_refused(bench: RolloutBench) -> None:
    with pytest.raises(StepRefused, match="version 1 is live"):
        bench.begin(1)
    with pytest.raises(StepRefused, match=r"version 9 is not known .*: stage it first"):
        bench.begin(9)
    with pytest.raises(InvalidRequest, match="must be at least 1"):
        bench.begin(0)
    bench.store.apply(
        MODEL,
        lambda lineup: steps.shadow(lineup, 3),
        action="shadow 3",
        author="bob",
        reason="test",
    )
    with pytest.raises(StepRefused, match="version 3 is being tried: withdraw it first"):
        bench.begin(2)


def test_a_file_without_a_rollout_in_it_is_named(bench: RolloutBench) -> None:
    begun(bench, 0)
    (entry, rollout), *_ = bench.store.rollouts()
    broken = rollout.model_copy(update={"stage": "none"})
    with pytest.warns(UserWarning, match="serialize"):
        bench.store.change_rollout(entry, rollout, broken)
    with pytest.raises(
        StoreUnavailable, match=r"versions\.sqlite: rollouts: 1 validation error for Rollout"
    ):
        bench.store.rollouts()


async def test_it_is_looked_at_as_long_as_something_is_tried(
    bench: RolloutBench, caplog: pytest.LogCaptureFixture
) -> None:
    begun(bench, 0)
    bench.happen_well()
    bench.now_ms += 2000
    tried: list[str] = []
    conducting = asyncio.create_task(
        keep_conducting(bench.conductor(), lambda: tried, period_s=0.005)
    )
    await asyncio.sleep(0.05)
    assert bench.lineup.canary_percent == 0.0
    tried.append(MODEL)
    await until(lambda: bench.lineup.canary_percent == 10.0)
    # What cannot be read now is looked at again.
    bench.counts.put("another process", {(MODEL, bench.lineup.salt): b"{}x"})
    await until(lambda: "add: the rollout waits: " in caplog.text)
    bench.counts.put("another process", {(MODEL, bench.lineup.salt): Counts().to_json()})
    bench.happen_well()
    bench.now_ms += 2000
    await until(lambda: bench.lineup.canary_percent == 50.0)
    assert not conducting.done()
    conducting.cancel()
