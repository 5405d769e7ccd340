"""The parity check finds what is wrong with an artifact, and says by how much."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model_build.parity import FIGURES, INTENT_LABEL, check_parity, describe
from model_build.spec import Arrays, ModelSpec, Run
from model_build.specs import SPECS

Outputs = dict[str, NDArray[Any]]


def understanding(inputs: Arrays) -> Outputs:
    """Logits that depend on every token."""
    rng = np.random.default_rng(5)
    spec = SPECS["understanding"]
    intents = spec.outputs[0].dims[0]
    tags = spec.outputs[1].dims[1]
    ids = inputs["input_ids"] % 97
    return {
        "intent_logits": rng.normal(size=(97, intents))[ids].sum(1).astype(np.float32),
        "slot_logits": rng.normal(size=(97, tags))[ids].astype(np.float32),
        "sentiment_logits": rng.normal(size=(97, 3))[ids].sum(1).astype(np.float32),
        "out_of_scope_logit": rng.normal(size=(97, 1))[ids].sum(1).astype(np.float32),
    }


def encoder(inputs: Arrays) -> Outputs:
    vectors = np.random.default_rng(6).normal(size=(97, 384))[inputs["input_ids"] % 97].sum(1)
    return {"embedding": (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32)}


def candidates(inputs: Arrays) -> Outputs:
    scores = np.random.default_rng(7).normal(size=(101, 101))[inputs["history"]].sum(1)
    scores[:, 0] = -1e9
    items = np.argsort(-scores, axis=1)[:, :100]
    return {
        "item_indexes": items.astype(np.int64),
        "scores": np.take_along_axis(scores, items, 1).astype(np.float32),
    }


def changed(run: Run, output: str, change: Any) -> Run:
    def broken(inputs: Arrays) -> Outputs:
        outputs = dict(run(inputs))
        outputs[output] = change(outputs[output].copy())
        return outputs

    return broken


def samples(spec: ModelSpec) -> list[Arrays]:
    """57 rows; those of the understanding model are labelled with what it says."""
    rng = np.random.default_rng(8)
    batches = [spec.sample_inputs(rng, size) for size in (16, 1, 40)]
    if spec.name == "understanding":
        for batch in batches:
            batch[INTENT_LABEL] = understanding(batch)["intent_logits"].argmax(1)
    return [*batches]


def rotate_first_row(values: NDArray[Any]) -> NDArray[Any]:
    values[0] = np.roll(values[0], 1, axis=-1)
    return values


def noisy(values: NDArray[Any]) -> NDArray[Any]:
    return values + np.random.default_rng(9).normal(scale=0.2, size=values.shape).astype(
        values.dtype
    )


def test_an_artifact_that_is_its_source_passes() -> None:
    for name, run in (("understanding", understanding), ("encoder", encoder)):
        spec = SPECS[name]
        for kind in spec.tolerances:
            record = check_parity(
                spec, kind, artifact=run, source=run, source_name="x", samples=samples(spec)
            )
            assert record.passed
            assert record.samples == 57
            assert all(figure == pytest.approx(1.0) for figure in record.figures.values())
            assert set(record.max_abs_difference.values()) == {0.0}


@pytest.mark.parametrize(
    ("output", "figure"),
    [
        ("intent_logits", "intent_agreement"),
        ("slot_logits", "slot_tag_agreement"),
        ("sentiment_logits", "sentiment_agreement"),
        ("out_of_scope_logit", "out_of_scope_agreement"),
    ],
)
def test_one_wrong_head_of_an_int8_model_fails(output: str, figure: str) -> None:
    spec = SPECS["understanding"]
    record = check_parity(
        spec,
        "onnx-int8",
        artifact=changed(understanding, output, lambda values: -values),
        source=understanding,
        source_name="onnx",
        samples=samples(spec),
    )
    assert not record.passed
    assert record.figures[figure] < 0.9
    fallen = {f for f, value in record.figures.items() if value < 1.0}
    assert fallen - {"intent_accuracy_kept"} == {figure}
    assert f"{figure} {record.figures[figure]:.4f} (at least" in describe(record)


def test_one_wrong_vector_among_many_fails_though_the_mean_holds() -> None:
    spec = SPECS["encoder"]
    many: list[Arrays] = [spec.sample_inputs(np.random.default_rng(3), 300)]
    record = check_parity(
        spec,
        "onnx-int8",
        artifact=changed(encoder, "embedding", rotate_first_row),
        source=encoder,
        source_name="onnx",
        samples=many,
    )
    assert record.figures["mean_cosine"] > 0.99
    assert record.figures["lowest_cosine"] < 0.5
    assert not record.passed


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_none_is_an_infinite_difference(value: float) -> None:
    def spoil(scores: NDArray[Any]) -> NDArray[Any]:
        scores[-1, -1] = value
        return scores

    spec = SPECS["candidates"]
    record = check_parity(
        spec,
        "onnx",
        artifact=changed(candidates, "scores", spoil),
        source=candidates,
        source_name="pytorch",
        samples=samples(spec),
    )
    assert record.max_abs_difference["scores"] == float("inf")
    assert not record.passed


def test_noise_in_the_scores_shows_in_the_difference_and_other_items_in_the_figure() -> None:
    spec = SPECS["candidates"]
    noise = check_parity(
        spec,
        "onnx",
        artifact=changed(candidates, "scores", noisy),
        source=candidates,
        source_name="pytorch",
        samples=samples(spec),
    )
    assert 0.1 < noise.max_abs_difference["scores"] < 2.0
    assert noise.figures["top_10_agreement"] == 1.0
    other_items = check_parity(
        spec,
        "onnx",
        artifact=changed(candidates, "item_indexes", lambda items: items[:, ::-1]),
        source=candidates,
        source_name="pytorch",
        samples=samples(spec),
    )
    assert other_items.max_abs_difference["scores"] == 0.0
    assert other_items.figures["top_10_agreement"] == 0.0
    assert not noise.passed
    assert not other_items.passed


def test_equal_scores_may_change_places() -> None:
    def swap(items: NDArray[Any]) -> NDArray[Any]:
        items[:, [3, 4]] = items[:, [4, 3]]
        return items

    spec = SPECS["candidates"]
    record = check_parity(
        spec,
        "onnx",
        artifact=changed(candidates, "item_indexes", swap),
        source=candidates,
        source_name="pytorch",
        samples=samples(spec),
    )
    assert record.passed


def test_accuracy_counts_what_was_won_against_what_was_lost() -> None:
    def logits(*classes: int) -> Outputs:
        return {"intent_logits": np.eye(4, dtype=np.float32)[list(classes)]}

    labels = {INTENT_LABEL: np.array([0, 1, 2, 3, -100])}
    kept = FIGURES["intent_accuracy_kept"]
    # Lost the first, won the last that has a label, wrong in two ways in between.
    change = kept(labels, logits(0, 1, 3, 0, 0), logits(1, 1, 0, 3, 2))
    assert change.tolist() == [0.0, 1.0, 1.0, 2.0]


def test_padding_is_not_compared() -> None:
    spec = SPECS["understanding"]
    inputs = spec.sample_inputs(np.random.default_rng(1), 8)
    padding = inputs["attention_mask"] == 0
    assert padding.any()

    def spoil_padding(logits: NDArray[Any]) -> NDArray[Any]:
        logits[padding] *= -1
        return logits

    want = understanding(inputs)
    got = changed(understanding, "slot_logits", spoil_padding)(inputs)
    assert FIGURES["slot_tag_agreement"](inputs, want, got).min() == 1.0


def test_without_samples_nothing_is_proved() -> None:
    with pytest.raises(ValueError, match="encoder: no samples"):
        check_parity(
            SPECS["encoder"],
            "onnx",
            artifact=encoder,
            source=encoder,
            source_name="pytorch",
            samples=[],
        )


def test_every_figure_that_a_spec_bounds_can_be_computed() -> None:
    for spec in SPECS.values():
        for tolerances in spec.tolerances.values():
            assert set(tolerances.at_least) <= set(FIGURES)
