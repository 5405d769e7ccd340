"""Held-out figures of published models as a table, beside the trivial baseline and alternatives.

python -m model_build.evaluate [REPOSITORY]
"""

from collections.abc import Iterable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from model_build.specs import SPECS
from serving.errors import StartupError
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository

# What the plain names among the baseline's figures stand for.
BASELINES = {
    "understanding": "majority",
    "candidates": "most popular",
    "ranker": "candidates' order",
    "decision": "majority",
}


def metrics_table(manifests: Iterable[ModelManifest]) -> Table:
    """One row a figure: the model's, its baseline's, and those of other contenders."""
    table = Table(title="Held-out figures", title_justify="left")
    for heading in ("model", "figure", "value", "baseline", "others"):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    for manifest in manifests:
        first = True
        for name, value in manifest.metrics.items():
            table.add_row(
                f"{manifest.model} {manifest.version}" if first else "",
                name.replace("_", " ").replace(".", ": "),
                f"{value:.4f}",
                _baseline(manifest, name),
                _others(manifest, name),
            )
            first = False
        if not first:
            table.add_row("", f"[dim]data: {manifest.data_name}[/dim]", "", "", "")
            table.add_section()
    return table


def _baseline(manifest: ModelManifest, figure: str) -> str:
    value = manifest.baseline_metrics.get(figure)
    if value is None:
        return ""
    return f"{value:.4f} {BASELINES.get(manifest.model, '')}".rstrip()


def _others(manifest: ModelManifest, figure: str) -> str:
    """Figures of contenders: names of the form "contender.figure"."""
    found = []
    for name, value in manifest.baseline_metrics.items():
        contender, dot, what = name.rpartition(".")
        if dot and what == figure:
            found.append(f"{value:.4f} {contender.replace('_', ' ')}")
    return ", ".join(found)


@click.command()
@click.argument("repository", type=click.Path(path_type=Path), default=Path("model_repository"))
def main(repository: Path) -> None:
    """Prints the held-out figures of the newest version of every model."""
    known = ModelRepository(repository)
    try:
        manifests = [known.latest(model).manifest for model in SPECS]
    except StartupError as error:
        raise click.ClickException(error.message) from error
    Console().print(metrics_table(manifests))


if __name__ == "__main__":
    main()
