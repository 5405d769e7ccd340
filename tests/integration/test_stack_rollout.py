"""Rollouts on a real stack: a good version goes live by itself, bad ones are withdrawn in seconds.

The bad ones do as the live version does until customers write long texts, so that they get as far
as answering half of the customers.
"""

import time
from collections.abc import Callable, Iterator

import pytest

from serving.models.repository import ModelRepository
from tests.damaged_versions import (
    Change,
    columns_reversed,
    failing_beyond,
    publish_changed,
    slowed_beyond,
)
from tests.promotable import DEADLINE_MS, MODEL, Load, Promotable, wait

pytestmark = pytest.mark.integration

LOGITS = "intent_logits"
SHORT = "how long does delivery take"
LONG = " ".join([SHORT] * 6)
# Tokens, padding included: more than the short text, fewer than the long one.
BETWEEN = 16
# From the first bad answer until the version is withdrawn.
LONGEST_S = 10.0
# What hosts may take to load a version on two busy cores.
LOADING_S = 10.0
# A stage waits for as many answers as the noise of the machine asks for.
PATIENCE_S = 200.0
# Between two looks at the stage; a client of its own each takes time from those who are measured.
LOOK_S = 0.25


@pytest.fixture(scope="module")
def visitors(promotable: Promotable) -> Iterator[Load]:
    with Load(promotable, text=SHORT, strangers=True) as load:
        yield load


def publish(promotable: Promotable, change: Change) -> int:
    live = promotable.live()
    served = ModelRepository(promotable.repository).version(MODEL, live).manifest.served_artifact
    return publish_changed(promotable.repository, MODEL, live, change, (served,))


def is_canary(promotable: Promotable, version: int) -> Callable[[], bool]:
    return lambda: promotable.status(version).stage == "canary"


def test_a_good_version_goes_live_although_the_command_is_killed(
    promotable: Promotable, visitors: Load, old: int
) -> None:
    new = promotable.publish()
    began_s = time.monotonic()
    command = promotable.start("promote", MODEL, new, "--auto")
    wait(lambda: promotable.shown().HasField("rollout"))
    command.kill()
    wait(is_canary(promotable, new), PATIENCE_S, period_s=LOOK_S)
    shown = promotable.take("show", MODEL)
    assert "canary 50 %" in shown
    assert "failed or degraded" in shown
    assert visitors.versions_since(began_s) <= {old, new}
    wait(lambda: promotable.live() == new, PATIENCE_S, period_s=LOOK_S)
    live_s = time.monotonic()
    wait(lambda: visitors.versions_since(live_s + 1.0) == {new})
    visitors.assert_uninterrupted(began_s)
    assert not promotable.shown().HasField("rollout")
    history = promotable.take("history", MODEL)
    for step in (f"roll out {new}", f"canary {new} 50%", f"promote {new}"):
        assert step in history
    assert "ada (auto)" in history
    assert "accepted as shadow" in history
    promotable.take("rollback", MODEL)


def test_one_that_is_quietly_wrong_is_withdrawn_before_it_answers_anybody(
    promotable: Promotable, visitors: Load, old: int
) -> None:
    wrong = publish(promotable, columns_reversed(LOGITS))
    began_s = time.monotonic()
    ended = promotable.run("promote", MODEL, wrong, "--auto")
    assert ended.code == 1
    assert (
        f"version {wrong} is not live: rollback by ada (auto): rejected as shadow" in ended.errors
    )
    assert "answered otherwise than live" in ended.errors
    assert visitors.versions_since(began_s) == {old}
    visitors.assert_uninterrupted(began_s)
    assert promotable.status(wrong).stage == "staged"
    with promotable.client() as client:
        withdrawn, begun = client.list_model_steps(MODEL, limit=2, deadline_ms=DEADLINE_MS).steps
    assert (begun.action, withdrawn.action) == (f"roll out {wrong}", "rollback")
    assert withdrawn.at_ms - begun.at_ms < 1000.0 * (LOADING_S + LONGEST_S)


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        pytest.param(
            failing_beyond(LOGITS, BETWEEN),
            ("failed as a shadow", "failed or degraded"),
            id="it fails",
        ),
        pytest.param(
            slowed_beyond(LOGITS, BETWEEN),
            ("much slower on the same request", "later than live's p99"),
            id="it is slow",
        ),
    ],
)
def test_one_that_turns_bad_as_a_canary_is_withdrawn_within_seconds(
    promotable: Promotable, visitors: Load, old: int, change: Change, reasons: tuple[str, ...]
) -> None:
    bad = publish(promotable, change)
    command = promotable.start("promote", MODEL, bad, "--auto")
    wait(is_canary(promotable, bad), PATIENCE_S, period_s=LOOK_S)
    visitors.text = LONG
    turned_s = time.monotonic()
    try:
        wait(lambda: promotable.status(bad).stage == "staged", period_s=LOOK_S)
        withdrawn_s = time.monotonic()
    finally:
        visitors.text = SHORT
    ended = command.end()
    assert ended.code == 1
    assert "rejected as canary 50 %: " in ended.errors
    assert any(reason in ended.errors for reason in reasons)
    assert withdrawn_s - turned_s < LONGEST_S
    # The live version answers everybody again, and nobody was left without a reply.
    wait(lambda: visitors.versions_since(withdrawn_s + 1.0) == {old})
    assert visitors.errors == []
    assert all(told.at_s < withdrawn_s + 1.0 for told in visitors.since(turned_s) if told.degraded)
