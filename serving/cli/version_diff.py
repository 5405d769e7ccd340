"""`cartwright models diff`: how two published versions differ, by their manifests."""

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from serving.cli.document import print_document
from serving.cli.render import stdout_console
from serving.cli.tables import DIGEST_CHARS, plain_table
from serving.errors import NotFound
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository


@click.command("diff")
@click.argument("model")
@click.argument("before", type=click.IntRange(min=1))
@click.argument("after", type=click.IntRange(min=1))
@click.option("--repository", type=click.Path(path_type=Path), help="Default: the settings'.")
@click.option("--all", "show_all", is_flag=True, help="Also what is the same.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def diff(
    model: str, before: int, after: int, repository: Path | None, show_all: bool, as_json: bool
) -> None:
    """Show how version AFTER of MODEL differs from version BEFORE: files, data, tools, figures."""
    models = ModelRepository(repository or _configured_repository())
    facts = [_facts(_manifest(models, model, number)) for number in (before, after)]
    names = sorted({*facts[0], *facts[1]})
    rows = [(name, facts[0].get(name, ""), facts[1].get(name, "")) for name in names]
    shown = rows if show_all else [row for row in rows if row[1] != row[2]]
    if as_json:
        print_document(
            {
                "model": model,
                "before": before,
                "after": after,
                "differences": {name: [first, second] for name, first, second in shown},
            }
        )
        return
    table = plain_table(model, str(before), str(after))
    for name, first, second in shown:
        style = "yellow" if first != second else ""
        table.add_row(name, Text(str(first)), Text(str(second), style=style))
    console = stdout_console()
    console.print(table)
    if not shown:
        console.print("no difference but their numbers")


def _configured_repository() -> Path:
    # Imported late: a repository that is named needs no settings.
    from serving.settings import load_settings

    return load_settings().triton.model_repository


def _manifest(models: ModelRepository, model: str, version: int) -> ModelManifest:
    known = models.versions(model)
    if version not in known:
        raise NotFound(f"{models.root / model}: no version {version}, only {known or 'none'}")
    return models.version(model, version).manifest


def _facts(manifest: ModelManifest) -> dict[str, Any]:
    """What a manifest says, by name; digests cut short."""
    found: dict[str, Any] = {
        "served artifact": manifest.served_artifact,
        "build key": manifest.build_key[:DIGEST_CHARS],
        "data": f"{manifest.data_name} {manifest.data_digest[:DIGEST_CHARS]}".strip(),
        "seed": manifest.seed,
        "largest batch": manifest.max_batch_size,
    }
    for artifact in manifest.artifacts:
        found[f"file {artifact.path}"] = (
            f"{artifact.sha256[:DIGEST_CHARS]} ({artifact.size_bytes} bytes)"
        )
    for tensor in (*manifest.inputs, *manifest.outputs):
        found[f"tensor {tensor.name}"] = f"{tensor.dtype}{list(tensor.dims)}"
    for name, version in manifest.tools.items():
        found[f"tool {name}"] = version
    for name, value in manifest.metrics.items():
        found[f"figure {name}"] = round(value, 4)
    for name, value in manifest.config.items():
        found[f"config {name}"] = value
    return found
