"""`cartwright models build`: parses, builds, prints."""

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from model_build.build import BuildOptions, build
from model_build.data.csv_rows import DataError
from model_build.evaluate import metrics_tables
from model_build.interrupt import Interrupt, Stoppable
from model_build.options import seed_option
from model_build.profiles import PROFILES
from model_build.progress import Bars
from serving.errors import StartupError

_INTERRUPTED = 130


@click.command("build")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of public data sets; without it everything is synthetic.",
)
@seed_option
@click.option("--profile", type=click.Choice(list(PROFILES)), default="full", show_default=True)
@click.option(
    "--repository",
    type=click.Path(path_type=Path),
    default=Path("model_repository"),
    show_default=True,
)
@click.option(
    "--shop", type=click.Path(path_type=Path), default=Path("var/shop"), show_default=True
)
@click.option(
    "--checkpoints",
    type=click.Path(path_type=Path, file_okay=False),
    help="Leave the weights of understanding there too, to go on training; it is trained for that "
    "if they are not there yet.",
)
def build_command(
    data: Path | None,
    seed: int,
    profile: str,
    repository: Path,
    shop: Path,
    checkpoints: Path | None,
) -> None:
    """Train, export and publish the models, and write the shop.

    What is there already, made from the same code, data, seed and tools, is not made again.
    """
    console = Console()
    interrupt = Interrupt()

    def say(line: str) -> None:
        interrupt.check()
        console.print(escape(line), highlight=False, soft_wrap=True)

    options = BuildOptions(
        repository=repository,
        shop=shop,
        profile=PROFILES[profile],
        seed=seed,
        data_folder=data,
        checkpoints=checkpoints,
    )
    try:
        with interrupt:
            report = build(options, Stoppable(Bars(console), interrupt), say)
    except DataError as error:
        raise StartupError(f"--data: {error}") from error
    except KeyboardInterrupt:
        console.print("interrupted; nothing half-made was published", highlight=False)
        raise SystemExit(_INTERRUPTED) from None
    for table in metrics_tables(outcome.manifest for outcome in report.models):
        console.print(table)
    say(
        f"{report.seconds:.1f} s in all, peak memory {report.peak_memory_gib:.2f} GiB; "
        f"models in {repository}, shop in {shop}"
    )
