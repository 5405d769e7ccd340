"""Serving profiles: round trip through file and config.pbtxt, and readable refusals."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_build.digests import ROOTS, code_digest
from model_build.serving_profile import (
    FILE_NAME,
    ServingProfile,
    TunedHosting,
    read_profile,
    spec_hosting,
    tuned_hosting,
)
from model_build.spec import TARGETS, ModelSpec, Target
from model_build.specs import SPECS
from model_build.triton_config import (
    config_of,
    config_text,
    parse_config,
    tensors_of,
    tuned_of,
    write_configs,
)
from serving.errors import StartupError
from tests.fakes.tuning import tuned_profile

UNDERSTANDING = SPECS["understanding"]


@st.composite
def spec_and_hosting(draw: st.DrawFn) -> tuple[ModelSpec, TunedHosting]:
    spec = draw(st.sampled_from(list(SPECS.values())))
    return spec, TunedHosting(
        instances=draw(st.integers(1, 256)),
        intra_op_threads=draw(st.integers(1, 256)),
        max_queue_delay_microseconds=draw(st.integers(0, 1_000_000)),
        max_batch_rows=draw(st.integers(1, spec.max_batch_size)),
    )


def profile() -> ServingProfile:
    return tuned_profile(
        "understanding",
        TunedHosting(
            instances=3, intra_op_threads=2, max_queue_delay_microseconds=700, max_batch_rows=12
        ),
    )


def in_folder(repository: Path, content: ServingProfile | dict[str, Any] | str) -> Path:
    """Puts a file where the profile of `understanding` lies."""
    path = repository / "understanding" / FILE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, ServingProfile):
        content = content.model_dump(mode="json")
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@settings(max_examples=40)
@given(spec_and_hosting(), st.sampled_from(TARGETS))
def test_a_tuned_hosting_comes_back_from_the_config(
    drawn: tuple[ModelSpec, TunedHosting], target: Target
) -> None:
    spec, tuned = drawn
    config = parse_config(config_text(spec, target, tuned))
    assert tuned_of(config) == tuned
    # What clients were promised stays.
    assert config.max_batch_size == spec.max_batch_size
    assert tensors_of(config.input) == spec.inputs
    # A single instance under a policy stalls, and a model without one gets none.
    has_policy = config.dynamic_batching.HasField("default_queue_policy")
    bounded = spec.hosting[target].batching.max_queue_size is not None
    assert has_policy is (bounded and tuned.instances > 1)


@pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))
@pytest.mark.parametrize("target", TARGETS)
def test_the_specs_own_hosting_changes_nothing(spec: ModelSpec, target: Target) -> None:
    assert config_of(spec, target, spec_hosting(spec, target)) == config_of(spec, target)


@settings(max_examples=40)
@given(spec_and_hosting())
def test_labels_are_unique_and_fit_for_file_names(drawn: tuple[ModelSpec, TunedHosting]) -> None:
    _, tuned = drawn
    assert set(tuned.label) <= set("0123456789xbd-")
    for field in type(tuned).model_fields:
        other = tuned.model_copy(update={field: getattr(tuned, field) + 1})
        assert other.label != tuned.label


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "understanding").mkdir()
    path = profile().write(tmp_path)
    assert read_profile(tmp_path, UNDERSTANDING) == profile()
    # Readable for people, and nothing left beside it.
    assert '"max_queue_delay_microseconds": 700' in path.read_text()
    assert [entry.name for entry in path.parent.iterdir()] == [FILE_NAME]


def test_a_profile_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"understanding/serving_profile\.json: cannot be"):
        profile().write(tmp_path)


def test_generated_configs_follow_the_profile_and_its_removal(tmp_path: Path) -> None:
    write_configs(tmp_path)
    profile().write(tmp_path)
    config = tmp_path / "understanding" / "config.pbtxt"
    assert write_configs(tmp_path) == [config]
    assert write_configs(tmp_path) == []
    assert tuned_of(parse_config(config.read_text())) == profile().hosting
    assert "serving_profile.json" in config.read_text().splitlines()[0]
    (tmp_path / "understanding" / FILE_NAME).unlink()
    assert write_configs(tmp_path) == [config]
    assert config.read_text() == config_text(UNDERSTANDING)


def test_a_profile_of_the_other_kind_of_machine_is_left_alone(tmp_path: Path) -> None:
    in_folder(tmp_path, profile())
    assert tuned_hosting(tmp_path, UNDERSTANDING, "cpu") == profile().hosting
    assert tuned_hosting(tmp_path, UNDERSTANDING, "gpu") is None
    write_configs(tmp_path, "gpu")
    config = tmp_path / "understanding" / "config.pbtxt"
    assert config.read_text() == config_text(UNDERSTANDING, "gpu")


def changed(**changes: Any) -> dict[str, Any]:
    """The profile as a document with some `section__field`s changed; None leaves one out."""
    document: dict[str, Any] = profile().model_dump(mode="json")
    for name, value in changes.items():
        *sections, field = name.split("__")
        place = document
        for section in sections:
            place = place[section]
        if value is None:
            del place[field]
        else:
            place[field] = value
    return document


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"\(file\): Invalid JSON"),
        ("[]", r"\(file\): "),
        (changed(hosting__instances=0), r"hosting\.instances: .*greater than.*got 0"),
        (changed(hosting__instances="two"), r"hosting\.instances: .*integer.*got 'two'"),
        (changed(hosting__threads=2), r"hosting\.threads: Extra inputs"),
        (changed(hosting__max_batch_rows=None), r"hosting\.max_batch_rows: Field required"),
        (changed(hosting__max_batch_rows=64), r"hosting\.max_batch_rows: 64 is above .*\(32\)"),
        (changed(hosting__max_queue_delay_microseconds=-1), r"max_queue_delay_microseconds: "),
        (changed(tuned_at="2026-01-02T03:04:05"), r"tuned_at: .*timezone"),
        (changed(schema_version=2), r"schema_version: .*got 2"),
        (changed(model="ranker"), r"model: is 'ranker', the folder is 'understanding'"),
        (changed(figures__noise_band=None), r"figures\.noise_band: Field required"),
    ],
)
def test_a_malformed_profile_is_refused_by_field(
    tmp_path: Path, content: dict[str, Any] | str, message: str
) -> None:
    path = in_folder(tmp_path, content)
    with pytest.raises(StartupError, match=message) as caught:
        write_configs(tmp_path)
    assert caught.value.message.startswith(f"{path}: ")


def test_hosting_is_no_part_of_a_model(tmp_path: Path) -> None:
    roots = {**ROOTS, "model_build": tmp_path / "model_build"}
    shutil.copytree(ROOTS["model_build"], roots["model_build"])
    modules = ["model_build.artifacts", *(f"model_build.specs.{model}" for model in SPECS)]
    modules += [f"model_build.train.{model}" for model in SPECS]
    before = code_digest(modules, roots=roots)
    for module in ("serving_profile.py", "triton_config.py", "tune/sweep.py"):
        path = roots["model_build"] / module
        path.write_text(path.read_text() + "\nCHANGED = True\n")
    assert code_digest(modules, roots=roots) == before
