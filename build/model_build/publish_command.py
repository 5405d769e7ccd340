"""`cartwright models publish`: parses, publishes, prints."""

from pathlib import Path

import click

from model_build.data.csv_rows import DataError
from model_build.evaluate import metrics_tables
from model_build.options import json_option, repository_option, seed_option
from model_build.profiles import PROFILES
from model_build.publish_checkpoint import MODEL, CheckpointOptions, publish_checkpoint
from model_build.terminal import console_beside, say, show
from serving.cli.document import print_document
from serving.errors import StartupError
from serving.settings import load_settings

_INTERRUPTED = 130


@click.command("publish")
@click.argument("model", type=click.Choice([MODEL]))
@click.argument("checkpoint", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--held-out-unseen",
    "unseen",
    is_flag=True,
    help="Vouch that its training has not seen the held-out samples of this seed, profile and "
    "data. The manifest keeps it; without it, the gate of quality cannot be passed.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of public data sets to be judged by; without it synthetic utterances.",
)
@click.option("--profile", type=click.Choice(list(PROFILES)), default="full", show_default=True)
@seed_option
@repository_option
@json_option
def publish_command(
    model: str,
    checkpoint: Path,
    unseen: bool,
    data: Path | None,
    profile: str,
    seed: int,
    repository: Path | None,
    as_json: bool,
) -> None:
    """Publish CHECKPOINT, a folder with weights of MODEL, as its next version.

    It is calibrated, exported, quantised and compared with its weights as a build does it. Nothing
    goes live by that. A checkpoint that is published already is not published again.
    """
    console = console_beside(as_json=as_json)
    options = CheckpointOptions(
        repository=repository or load_settings().triton.model_repository,
        folder=checkpoint,
        profile=PROFILES[profile],
        seed=seed,
        data_folder=data,
        unseen=unseen,
    )
    try:
        outcome = publish_checkpoint(options, lambda line: say(console, line))
    except DataError as error:
        raise StartupError(f"--data: {error}") from error
    except KeyboardInterrupt:
        say(console, "interrupted; nothing was published")
        raise SystemExit(_INTERRUPTED) from None
    manifest = outcome.manifest
    if as_json:
        print_document({"model": model, "version": manifest.version, "published": outcome.new})
        return
    for table in metrics_tables([manifest]):
        show(console, table)
    how = "published as" if outcome.new else "here already as"
    say(console, f"{checkpoint}: {how} {model} {manifest.version} ({manifest.served_artifact})")
