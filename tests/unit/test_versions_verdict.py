"""Verdicts: to JSON and back, in words, and what they mean for a promotion."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from serving.errors import StoreUnavailable
from serving.versions.gatekeeping import gated_promotion, objections
from serving.versions.lineup import Lineup, Stage, StepRefused
from serving.versions.store import VersionStore
from serving.versions.verdict import MOST_EXAMPLES, Figure, Gate, Outcome, Verdict
from tests.fakes.verdicts import verdict

MODEL = "understanding"
LINEUP = Lineup(model=MODEL, live=3, staged=(2, 4))
NEEDED = (Gate.PARITY, Gate.QUALITY, Gate.LATENCY)
PASSED = tuple(verdict(gate) for gate in NEEDED)


def with_one(changed: Verdict) -> list[Verdict]:
    """All passed but one."""
    return [changed, *(v for v in PASSED if v.gate is not changed.gate)]


def test_a_verdict_survives_json_with_every_field() -> None:
    made = verdict(
        Gate.LATENCY,
        Outcome.FAILED,
        figures=(
            Figure(name="p99_ratio", value=1.3, at_most=1.1, low=1.2, high=1.4),
            Figure(name="p99", value=None, unit="ms"),
        ),
        examples=("“Où est ma commande ?”",),
    )
    assert Verdict.from_json(made.to_json()) == made
    document = made.to_document()
    assert json.loads(made.to_json()) == document
    assert document["gate"] == "latency"
    assert document["outcome"] == "failed"
    assert document["figures"][0] == {
        "name": "p99_ratio",
        "value": 1.3,
        "unit": "",
        "at_least": None,
        "at_most": 1.1,
        "low": 1.2,
        "high": 1.4,
    }


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"outcome": "maybe"}, "outcome"),
        ({"version": "four"}, "version"),
        ({"figures": [{"value": 1.0}]}, "figures.0.name"),
        ({"environment": None}, "environment"),
    ],
)
def test_what_is_no_verdict_is_refused_by_field(change: dict[str, object], field: str) -> None:
    document = {**verdict(Gate.PARITY).to_document(), **change}
    with pytest.raises(ValueError, match=rf"(?s)\n{field}\n"):
        Verdict.from_json(json.dumps(document))


def test_figures_are_finite_and_examples_are_few() -> None:
    with pytest.raises(ValueError, match="p99: inf is not a finite number"):
        Figure(name="p99", value=float("inf"))
    with pytest.raises(ValueError, match="p99: nan is not"):
        Figure(name="p99", value=1.0, low=float("nan"))
    with pytest.raises(ValueError, match="21 examples, at most 20"):
        verdict(Gate.PARITY, examples=("x",) * (MOST_EXAMPLES + 1))


def test_a_figure_says_what_it_was_held_to() -> None:
    p99 = Figure(name="p99", value=12.3456, unit="ms", at_most=10.0, low=11.0, high=13.5)
    assert p99.text == "p99 12.35 ms (11 to 13.5), at most 10"
    assert Figure(name="rate", value=None, at_least=0.5).text == "rate not finite, at least 0.5"


def test_the_store_keeps_verdicts_for_ever_and_the_newest_comes_first(tmp_path: Path) -> None:
    store = VersionStore(tmp_path / "versions.sqlite")
    failed = verdict(Gate.QUALITY, Outcome.FAILED)
    passed = verdict(Gate.QUALITY)
    for made in (failed, passed, verdict(Gate.PARITY, version=5)):
        store.add_verdict(made)
    assert VersionStore(store.path).verdicts(MODEL, 4) == [passed, failed]
    assert store.verdicts(MODEL, 9) == store.verdicts("ranker", 4) == []
    connection = sqlite3.connect(store.path)
    try:
        for statement in ("DELETE FROM verdicts", "UPDATE verdicts SET version = 9"):
            with pytest.raises(sqlite3.IntegrityError, match="verdicts are kept"):
                connection.execute(statement)
        connection.execute(
            "INSERT INTO verdicts (model, version, verdict) VALUES (?, 4, '{}')", (MODEL,)
        )
        connection.commit()
    finally:
        connection.close()
    with pytest.raises(StoreUnavailable, match=r"versions\.sqlite: verdicts: "):
        store.verdicts(MODEL, 4)


def test_a_file_of_before_the_verdicts_gets_them(tmp_path: Path) -> None:
    store = VersionStore(tmp_path / "versions.sqlite")
    connection = sqlite3.connect(store.path)
    connection.execute("DROP TABLE verdicts")
    connection.close()
    assert VersionStore(store.path).verdicts(MODEL, 4) == []


def test_a_version_that_passed_every_gate_is_promoted() -> None:
    assert objections(LINEUP, 4, NEEDED, PASSED) == ()
    after = gated_promotion(4, NEEDED, PASSED)(LINEUP)
    assert (after.live, after.previous) == (4, 3)


def test_a_gate_without_a_verdict_refuses_and_says_how_to_get_one() -> None:
    (text,) = objections(LINEUP, 4, NEEDED, PASSED[:2])
    assert text == (
        "latency has no verdict: run `cartwright models gate understanding 4 --only latency`"
    )
    (text,) = objections(LINEUP, 4, (Gate.REPLAY,), PASSED)
    assert "cartwright replay --model understanding --versions 3,4" in text


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.UNDECIDED])
def test_a_gate_that_did_not_pass_refuses_with_figures_and_examples(outcome: Outcome) -> None:
    made = verdict(
        Gate.QUALITY,
        outcome,
        reason="Intent accuracy 0.700 against 0.835.",
        examples=("a", "b", "c", "d", "e"),
    )
    with pytest.raises(StepRefused) as caught:
        gated_promotion(4, NEEDED, with_one(made))(LINEUP)
    assert caught.value.message == (
        "understanding: version 4 may not be promoted: "
        f"quality {outcome}: Intent accuracy 0.700 against 0.835. "
        "For example: a; b; c (and 2 more)"
    )


def test_a_verdict_against_another_version_than_the_live_one_does_not_count() -> None:
    old = verdict(Gate.QUALITY, against=2)
    (text,) = objections(LINEUP, 4, NEEDED, with_one(old))
    assert text.startswith("quality was judged against version 2, and 3 is live: run")
    # An older one against the live version still does.
    assert objections(LINEUP, 4, NEEDED, [old, *PASSED]) == ()


def test_of_several_verdicts_the_newest_counts() -> None:
    failed, passed = verdict(Gate.LATENCY, Outcome.FAILED), verdict(Gate.LATENCY)
    others = PASSED[:2]
    assert objections(LINEUP, 4, NEEDED, [passed, failed, *others]) == ()
    assert len(objections(LINEUP, 4, NEEDED, [failed, passed, *others])) == 1


def test_every_gate_that_refuses_is_named() -> None:
    found = objections(LINEUP, 4, NEEDED, [verdict(Gate.LATENCY, Outcome.FAILED)])
    assert [text.split()[0] for text in found] == ["parity", "quality", "latency"]


def test_where_nothing_is_live_only_gates_that_compare_with_nothing_are_asked() -> None:
    first = Lineup(model=MODEL, staged=(4,))
    assert gated_promotion(4, NEEDED, PASSED[:1])(first).stage_of(4) is Stage.LIVE
    (text,) = objections(first, 4, NEEDED, ())
    assert text.startswith("parity has no verdict")


def test_what_the_line_up_does_not_allow_is_refused_for_that_even_if_forced() -> None:
    for force in (False, True):
        with pytest.raises(StepRefused, match="version 3 is live already"):
            gated_promotion(3, NEEDED, (), force=force)(LINEUP)


def test_force_overrules_and_is_recorded(tmp_path: Path) -> None:
    store = VersionStore(tmp_path / "versions.sqlite")
    for number in (3, 4):
        store.apply(
            MODEL,
            lambda lineup, number=number: replace(lineup, staged=(*lineup.staged, number)),
            action=f"stage {number}",
            author="ada",
            reason="new",
        )
    # The first one needs nothing but parity.
    step = gated_promotion(3, NEEDED, [verdict(Gate.PARITY, version=3)])
    store.apply(MODEL, step, action="promote 3", author="ada", reason="first")
    with pytest.raises(StepRefused):
        store.apply(
            MODEL,
            gated_promotion(4, NEEDED, store.verdicts(MODEL, 4)),
            action="promote 4",
            author="ada",
            reason="in a hurry",
        )
    entry = store.apply(
        MODEL,
        gated_promotion(4, NEEDED, store.verdicts(MODEL, 4), force=True),
        action="promote 4",
        author="ada",
        reason="the live one answers nonsense",
        forced=True,
    )
    assert (entry.lineup.live, entry.forced) == (4, True)
    assert store.history(MODEL)[0] == entry
