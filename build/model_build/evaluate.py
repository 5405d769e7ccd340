"""Held-out figures of published models as tables, beside the trivial baseline and alternatives.

python -m model_build.evaluate [REPOSITORY]
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from model_build.specs import SPECS
from serving.errors import StartupError
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository

# Who the plain names among the baseline's figures belong to.
BASELINES = {
    "understanding": "majority",
    "candidates": "most popular",
    "ranker": "candidates' order",
    "decision": "majority",
}


def metrics_tables(manifests: Iterable[ModelManifest]) -> Iterator[Table]:
    """One table a model that has figures: a row a figure, a column for it and each contender."""
    for manifest in manifests:
        if not manifest.metrics:
            continue
        contenders = _contenders(manifest)
        table = Table(
            title=f"{manifest.model} {manifest.version}, held out: {manifest.data_name}",
            title_justify="left",
            title_style="bold",
        )
        table.add_column("figure", no_wrap=True)
        table.add_column("model", justify="right", style="bold")
        for contender in contenders:
            table.add_column(contender, justify="right")
        for figure, value in manifest.metrics.items():
            others = (figures.get(figure) for figures in contenders.values())
            table.add_row(
                figure.replace("_", " ").replace(".", ": "),
                f"{value:.4f}",
                *("" if other is None else f"{other:.4f}" for other in others),
            )
        yield table


def _contenders(manifest: ModelManifest) -> dict[str, dict[str, float]]:
    """What the model is compared with: figures by contender, the trivial baseline first.

    A figure of another contender is recorded as "contender.figure". A figure of the model may have
    such a prefix as well, then it names the data: those are the baseline's.
    """
    contenders: dict[str, dict[str, float]] = {BASELINES.get(manifest.model, "baseline"): {}}
    for name, value in manifest.baseline_metrics.items():
        contender, _, figure = name.rpartition(".")
        if name in manifest.metrics or not contender:
            next(iter(contenders.values()))[name] = value
        else:
            contenders.setdefault(contender.replace("_", " "), {})[figure] = value
    return contenders


@click.command()
@click.argument("repository", type=click.Path(path_type=Path), default=Path("model_repository"))
def main(repository: Path) -> None:
    """Prints the held-out figures of the newest version of every model."""
    known = ModelRepository(repository)
    try:
        manifests = [known.latest(model).manifest for model in SPECS]
    except StartupError as error:
        raise click.ClickException(error.message) from error
    console = Console()
    for table in metrics_tables(manifests):
        console.print(table)


if __name__ == "__main__":
    main()
