"""The gate of latency: two versions in turn on one host."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model_build.promotion.finding import Finding
from model_build.promotion.latency import LatencyOptions, Rounds, judge_latency, measure, rounds_in
from model_build.serving_profile import TunedHosting
from model_build.tune.host import PointFailed
from serving.errors import StartupError
from serving.versions.verdict import Figure, Outcome
from tests.fakes.promotion import FixedHost

HOSTING = TunedHosting(
    instances=1, intra_op_threads=1, max_queue_delay_microseconds=0, max_batch_rows=8
)
OPTIONS = LatencyOptions(hosting=HOSTING, rounds=20)


def figure(finding: Finding, name: str) -> Figure:
    return next(f for f in finding.figures if f.name == name)


async def rounds_of(candidate: FixedHost, live: FixedHost) -> Rounds:
    return await measure(candidate, live, OPTIONS, lambda number, rounds: None)


async def judged(**candidate: Any) -> Finding:
    rng = np.random.default_rng(6)
    rounds = await rounds_of(FixedHost(rng, **candidate), FixedHost(rng))
    return judge_latency(rounds, OPTIONS)


async def test_versions_are_looked_at_in_turn_and_swap_places() -> None:
    rng = np.random.default_rng(6)
    live, candidate = FixedHost(rng), FixedHost(rng)
    live.order = candidate.order = order = []
    told: list[tuple[int, int]] = []
    rounds = await measure(candidate, live, OPTIONS, lambda *progress: told.append(progress))
    assert len(rounds.candidate) == len(rounds.live) == OPTIONS.rounds
    pairs = [
        ["live" if host is live else "candidate" for host in order[i : i + 2]]
        for i in range(0, len(order), 2)
    ]
    assert pairs[:3] == [
        ["candidate", "live"],
        ["live", "candidate"],
        ["candidate", "live"],
    ]
    # The first round warms up.
    assert live.looked == [1.0] * 21
    assert told == [(number, 20) for number in range(21)]


async def test_an_equal_one_passes() -> None:
    finding = await judged()
    assert finding.outcome is Outcome.PASSED
    assert figure(finding, "p99_ratio").value == pytest.approx(1.0, abs=0.05)
    assert figure(finding, "p50").unit == "ms"
    assert figure(finding, "requests_per_s_ratio").at_least == 0.9
    assert finding.reason.startswith("No slower than it may be (8 in flight, 20 rounds, 95%")


async def test_a_slow_one_fails_by_how_much() -> None:
    finding = await judged(slowness=1.5)
    assert finding.outcome is Outcome.FAILED
    assert figure(finding, "p50_ratio").low > 1.4
    assert "p99 1.51 times the live version's (1.45 to 1.57, at most 1.1 needed)" in finding.reason


async def test_too_much_noise_is_undecided() -> None:
    finding = await judged(noise=0.6)
    assert finding.outcome is Outcome.UNDECIDED
    assert finding.reason.startswith("Too noisy to tell; give more minutes")


async def test_one_that_fails_requests_fails_however_fast_it_is() -> None:
    finding = await judged(slowness=0.3, errors=2)
    assert finding.outcome is Outcome.FAILED
    assert "40 of 4040 requests failed" in finding.reason


async def test_who_cannot_be_measured_is_told_apart() -> None:
    rng = np.random.default_rng(6)
    good, bad = FixedHost(rng), FixedHost(rng, refuses=True)
    with pytest.raises(PointFailed, match="cannot be read"):
        await rounds_of(bad, good)
    with pytest.raises(StartupError, match="the live version cannot be measured"):
        await rounds_of(good, bad)


def test_what_can_decide_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"5 rounds, at least 6 are needed: 0\.25 minutes"):
        replace(OPTIONS, rounds=5)
    assert rounds_in(240.0) == 96
    assert rounds_in(14.9) == 5
