"""ModelSpec -> config.pbtxt -> parsed back, and the files in the repository."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_build.serving_profile import tuned_hosting
from model_build.spec import TARGETS, ModelSpec, Target
from model_build.specs import SPECS
from model_build.triton_config import (
    FILE_NAME,
    config_text,
    hosting_of,
    parse_config,
    tensors_of,
    write_configs,
)
from serving.deadline import LONGEST_MS
from serving.dialogue.intents import INTENT_NAMES, SLOT_TAGS
from serving.errors import StartupError
from serving.features import DecisionFeatures
from serving.types import Action

ROOT = Path(__file__).parents[2]
EVERY_SPEC = pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))


@EVERY_SPEC
@pytest.mark.parametrize("target", TARGETS)
def test_a_config_says_what_its_spec_says(spec: ModelSpec, target: Target) -> None:
    config = parse_config(config_text(spec, target))
    assert config.name == spec.name
    assert config.max_batch_size == spec.max_batch_size
    assert tensors_of(config.input) == spec.inputs
    assert tensors_of(config.output) == spec.outputs
    # Triton does not know which artifact lies behind model.onnx.
    assert hosting_of(config) == replace(spec.hosting[target], preferred_artifact="onnx")
    assert config.version_policy.latest.num_versions == 1
    assert config.HasField("dynamic_batching")
    has_policy = config.dynamic_batching.HasField("default_queue_policy")
    # A single instance under a policy stalls; see `specs/hosting.py`.
    assert has_policy is (config.instance_group[0].count > 1)
    if has_policy:
        policy = config.dynamic_batching.default_queue_policy
        assert policy.allow_timeout_override
        # Triton takes a request's timeout only where it is shorter than the default.
        assert policy.default_timeout_microseconds == LONGEST_MS * 1000
        assert policy.timeout_action == policy.REJECT
    assert {w.batch_size for w in config.model_warmup} == set(spec.warm_up_batch_sizes)
    for warm_up in config.model_warmup:
        assert set(warm_up.inputs) == set(spec.input_names)
        assert all(dim > 0 for entry in warm_up.inputs.values() for dim in entry.dims)


@EVERY_SPEC
def test_the_file_in_the_repository_is_the_generated_one(spec: ModelSpec) -> None:
    repository = ROOT / "model_repository"
    path = repository / spec.name / FILE_NAME
    tuned = tuned_hosting(repository, spec, "cpu")
    assert path.read_text(encoding="utf-8") == config_text(spec, "cpu", tuned)


def test_a_config_is_written_only_where_it_differs(tmp_path: Path) -> None:
    assert len(write_configs(tmp_path)) == len(SPECS)
    assert write_configs(tmp_path) == []
    stale = tmp_path / "ranker" / FILE_NAME
    stale.write_text(stale.read_text(encoding="utf-8").replace("256", "255"), encoding="utf-8")
    assert write_configs(tmp_path) == [stale]
    assert write_configs(tmp_path, "gpu") != []


def test_a_repository_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "understanding").write_text("a file where a folder belongs", encoding="utf-8")
    with pytest.raises(StartupError, match=r"understanding/config\.pbtxt: cannot be written"):
        write_configs(tmp_path)


def test_text_that_is_no_config_is_refused_with_its_place() -> None:
    with pytest.raises(ValueError, match=r"config\.pbtxt: 2:1.*max_batch"):
        parse_config('name: "x"\nmax_batch: 3\n')


@EVERY_SPEC
def test_sample_inputs_fit_their_spec_and_repeat(spec: ModelSpec) -> None:
    first = spec.sample_inputs(np.random.default_rng(7), 5)
    again = spec.sample_inputs(np.random.default_rng(7), 5)
    spec.check(first, spec.inputs)
    for name, array in first.items():
        assert len(array) == 5
        np.testing.assert_array_equal(array, again[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dense": None}, "tensor 'dense' is missing"),
        ({"dense": np.zeros((2, 9))}, "dense is float64, the spec says FP32"),
        ({"dense": np.zeros((2, 8), np.float32)}, r"dense has dimensions \[8\].*\[9\]"),
        ({"dense": np.zeros((2, 9, 1), np.float32)}, r"dense has dimensions \[9, 1\]"),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    change: dict[str, np.ndarray | None], message: str
) -> None:
    spec = SPECS["ranker"]
    arrays = spec.sample_inputs(np.random.default_rng(1), 2) | change
    with pytest.raises(ValueError, match=message):
        spec.check({k: v for k, v in arrays.items() if v is not None}, spec.inputs)


def test_dimensions_come_from_the_contracts() -> None:
    def dims(model: str, tensor: str) -> tuple[int, ...]:
        spec = SPECS[model]
        return next(t.dims for t in (*spec.inputs, *spec.outputs) if t.name == tensor)

    assert dims("understanding", "intent_logits") == (len(INTENT_NAMES),)
    assert dims("understanding", "slot_logits") == (-1, len(SLOT_TAGS))
    assert dims("decision", "features") == (len(DecisionFeatures.names()),)
    assert dims("decision", "action_probabilities") == (len(Action),)


@EVERY_SPEC
def test_every_artifact_that_is_preferred_has_bounds_to_meet(spec: ModelSpec) -> None:
    for target in TARGETS:
        assert spec.hosting[target].preferred_artifact in spec.tolerances
    assert "onnx" in spec.tolerances
    outputs = set(spec.output_names)
    for tolerances in spec.tolerances.values():
        assert set(tolerances.max_abs_difference) <= outputs
        assert all(0 < bound <= 1 for bound in tolerances.at_least.values())
