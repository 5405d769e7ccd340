"""ModelSpec and serving profile -> config.pbtxt -> parsed back. Generated, never edited by hand.

python -m model_build.triton_config [REPOSITORY] [--target cpu|gpu] [--check]
"""

from pathlib import Path
from typing import Any, get_args

import click
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from model_build.serving_profile import TunedHosting, spec_hosting, tuned_hosting
from model_build.spec import (
    TARGETS,
    BatchingPolicy,
    Hosting,
    InstanceGroup,
    ModelSpec,
    Target,
)
from model_build.specs import SPECS
from serving.deadline import LONGEST_MS
from serving.errors import StartupError
from serving.models.manifest import DType, TensorSpec

FILE_NAME = "config.pbtxt"
BACKEND = "onnxruntime"
_HEADER = (
    "# Generated from the ModelSpec; change that and run `python -m model_build.triton_config`.\n"
)
_TUNED_HEADER = (
    "# Generated from the ModelSpec and serving_profile.json; run `cartwright models tune` for\n"
    "# another profile, or change the spec and run `python -m model_build.triton_config`.\n"
)
_THREADS = "intra_op_thread_count"


def config_of(spec: ModelSpec, target: Target = "cpu", tuned: TunedHosting | None = None) -> Any:
    """The model's `inference.ModelConfig` message for one kind of machine.

    Args:
        spec: the model.
        target: kind of machine.
        tuned: hosting to be used instead of the spec's.
    """
    hosting = spec.hosting[target]
    chosen = tuned or spec_hosting(spec, target)
    config = model_config_pb2.ModelConfig(
        name=spec.name, backend=BACKEND, max_batch_size=spec.max_batch_size
    )
    config.version_policy.latest.num_versions = 1
    for tensors, field in ((spec.inputs, config.input), (spec.outputs, config.output)):
        for tensor in tensors:
            field.add(name=tensor.name, data_type=_data_type(tensor.dtype), dims=tensor.dims)
    config.instance_group.add(
        count=chosen.instances,
        kind=model_config_pb2.ModelInstanceGroup.Kind.Value(hosting.instances.kind),
    )
    batching = config.dynamic_batching
    # An empty message switches dynamic batching on.
    batching.SetInParent()
    batching.max_queue_delay_microseconds = chosen.max_queue_delay_microseconds
    if chosen.max_batch_rows < spec.max_batch_size:
        # Joins no further once so many rows have gathered; a lower `max_batch_size` would refuse
        # requests that clients may send.
        batching.preferred_batch_size.append(chosen.max_batch_rows)
    # A single instance under a queue policy stalls; see `specs/hosting.py`.
    if hosting.batching.max_queue_size is not None and chosen.instances > 1:
        policy = batching.default_queue_policy
        # The caller's remaining time becomes the request's timeout; late requests are refused.
        policy.timeout_action = model_config_pb2.ModelQueuePolicy.REJECT
        policy.allow_timeout_override = True
        # A request may only shorten the default, and the unset default of 0 would let none do so.
        policy.default_timeout_microseconds = int(LONGEST_MS * 1000)
        policy.max_queue_size = hosting.batching.max_queue_size
    threads = chosen.intra_op_threads
    for key, value in ((_THREADS, threads), ("inter_op_thread_count", 1), ("execution_mode", 0)):
        config.parameters[key].string_value = str(value)
    for batch_size in spec.warm_up_batch_sizes:
        warm_up = config.model_warmup.add(name=f"batch_{batch_size}", batch_size=batch_size)
        for tensor in spec.inputs:
            dims = [spec.warm_up_length if dim == -1 else dim for dim in tensor.dims]
            entry = warm_up.inputs[tensor.name]
            entry.data_type = _data_type(tensor.dtype)
            entry.dims.extend(dims)
            # Zeros are valid in every input: padding, unknown, nothing bought yet.
            entry.zero_data = True
    return config


def config_text(spec: ModelSpec, target: Target = "cpu", tuned: TunedHosting | None = None) -> str:
    """Content of `config.pbtxt`."""
    header = _HEADER if tuned is None else _TUNED_HEADER
    return header + text_format.MessageToString(config_of(spec, target, tuned))


def parse_config(text: str) -> Any:
    """Reads the content of a `config.pbtxt` into an `inference.ModelConfig` message.

    Raises:
        ValueError: not a model configuration; names line and field.
    """
    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise ValueError(f"{FILE_NAME}: {error}") from error


def tensors_of(fields: Any) -> tuple[TensorSpec, ...]:
    """`config.input` or `config.output` as tensor specs."""
    return tuple(
        TensorSpec(name=f.name, dtype=_dtype(f.data_type), dims=tuple(f.dims)) for f in fields
    )


def hosting_of(config: Any) -> Hosting:
    """What a configuration says about hosting; the inverse of `config_of` but for the artifact."""
    (group,) = config.instance_group
    return Hosting(
        instances=InstanceGroup(
            count=group.count,
            kind=model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind),
            intra_op_threads=int(config.parameters[_THREADS].string_value),
        ),
        batching=BatchingPolicy(
            max_queue_delay_microseconds=config.dynamic_batching.max_queue_delay_microseconds,
            max_queue_size=(
                config.dynamic_batching.default_queue_policy.max_queue_size
                if config.dynamic_batching.HasField("default_queue_policy")
                else None
            ),
        ),
    )


def tuned_of(config: Any) -> TunedHosting:
    """The tunable part of a configuration; the inverse of `config_of`."""
    (group,) = config.instance_group
    batching = config.dynamic_batching
    return TunedHosting(
        instances=group.count,
        intra_op_threads=int(config.parameters[_THREADS].string_value),
        max_queue_delay_microseconds=batching.max_queue_delay_microseconds,
        max_batch_rows=max(batching.preferred_batch_size, default=config.max_batch_size),
    )


def write_configs(repository: Path, target: Target = "cpu") -> list[Path]:
    """Writes `<model>/config.pbtxt` of every model; returns the files that changed.

    Raises:
        StartupError: a file cannot be written, or a serving profile is unusable; names it.
    """
    return [
        repository / spec.name / FILE_NAME
        for spec in SPECS.values()
        if write_config(repository, spec, target)
    ]


def write_config(repository: Path, spec: ModelSpec, target: Target = "cpu") -> bool:
    """Writes one model's `config.pbtxt` if it differs; returns whether it did.

    Raises:
        StartupError: as for `write_configs`.
    """
    path = repository / spec.name / FILE_NAME
    text = config_text(spec, target, tuned_hosting(repository, spec, target))
    try:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StartupError(f"{path}: cannot be written: {error.strerror}") from error
    return True


def _data_type(dtype: DType) -> Any:
    return model_config_pb2.DataType.Value(f"TYPE_{dtype}")


def _dtype(data_type: int) -> DType:
    name: str = model_config_pb2.DataType.Name(data_type).removeprefix("TYPE_")
    for known in get_args(DType):
        if known == name:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"{FILE_NAME}: data type {name} is not in use here")


@click.command()
@click.argument("repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--target", type=click.Choice(TARGETS), default="cpu", show_default=True)
def main(repository: Path, target: Target) -> None:
    """Writes config.pbtxt of every model into REPOSITORY."""
    changed = write_configs(repository, target)
    for path in changed:
        click.echo(f"wrote {path}")
    if not changed:
        click.echo("up to date")


if __name__ == "__main__":
    main()
