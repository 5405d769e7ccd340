"""`cartwright models export`: parses, exports, prints."""

from collections.abc import Callable
from pathlib import Path

import click

from model_build.exchange.mlflow_export import export_to_mlflow
from model_build.exchange.mlflow_registry import MlflowRegistry
from model_build.exchange.mlflow_uri import PREFIX, MlflowUri
from model_build.exchange.options import registry_options
from model_build.exchange.triton_export import export_for_triton
from model_build.options import json_option
from model_build.spec import TARGETS, Target
from serving.cli.document import print_document
from serving.errors import NotFound
from serving.models.repository import ModelRepository, PublishedVersion


@click.command("export")
@click.argument("model")
@click.argument("version", type=click.IntRange(min=1))
@click.option(
    "--to",
    "destination",
    required=True,
    metavar="DIR|URI",
    help="A folder for a stock tritonserver, or mlflow:/NAME[@ALIAS] for a model registry.",
)
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    default="cpu",
    show_default=True,
    help="Kind of machine that config.pbtxt is for; only for a folder.",
)
@registry_options
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("model_repository"),
    show_default=True,
)
@json_option
def export_command(
    model: str,
    version: int,
    destination: str,
    target: Target,
    connect: Callable[[], MlflowRegistry],
    repository: Path,
    as_json: bool,
) -> None:
    """Hand VERSION of MODEL to others.

    To a folder: DIR/MODEL as any tritonserver with its ONNX Runtime backend loads it. To a model
    registry: as the next version of the registered model NAME, from where `cartwright models
    import` takes it; ALIAS is set to it.
    """
    published = _published(repository, model, version)
    document: dict[str, object] = {"model": model, "version": version}
    if destination.startswith(PREFIX):
        uri = MlflowUri.parse(destination)
        registered = export_to_mlflow(connect(), published, uri)
        document["registered"] = {
            "name": registered.name,
            "version": registered.version,
            "run_id": registered.run_id,
            "alias": uri.alias,
        }
        alias = "" if uri.alias is None else f", which {uri} is now"
        lines = [f"{model} {version}: registered as {registered}{alias}"]
    else:
        folder = Path(destination)
        files = [str(path) for path in export_for_triton(published, repository, folder, target)]
        document["files"] = files
        lines = [
            f"{model} {version}: written to {folder}: {', '.join(files)}",
            f"serve it with: tritonserver --model-repository={folder}",
        ]
    if as_json:
        print_document(document)
        return
    for line in lines:
        click.echo(line)


def _published(repository: Path, model: str, version: int) -> PublishedVersion:
    known = ModelRepository(repository)
    versions = known.versions(model)
    if version not in versions:
        there = ", ".join(map(str, versions)) or "none"
        raise NotFound(f"{repository / model}: no version {version} is published; there: {there}")
    return known.version(model, version)
