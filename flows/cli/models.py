"""What there is to choose from: `longtake models`, `longtake policies`; `longtake train-nano`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Verbose
from flows.commands.console import Terminal
from tasks.settings import load_settings

MODELS_EXAMPLES = (
    "[bold]Examples[/bold]\n\n  longtake track dog.mp4 --model sam2.1-small ...\n\n"
    "  longtake track dog.mp4 --model hf:facebook/sam2.1-hiera-tiny ..."
)
POLICIES_EXAMPLES = (
    "[bold]Example[/bold]\n\n  longtake track dog.mp4 --memory-policy sam2-stride "
    "--memory-policy-option stride=4 ..."
)
TRAIN_EXAMPLES = (
    "[bold]Examples[/bold]\n\n  longtake train-nano -o nano-run\n\n"
    "  longtake train-nano -o nano-run --config my.yaml --device cuda\n\n"
    "  longtake train-nano -o nano-run --weights nano.safetensors --phase worlds"
)


def models() -> None:
    """List the models that are known by name, which of them are here, and what others want.

    Those that are not here are downloaded when they are first named. Any other SAM 2, SAM 3 or
    EdgeTAM of the Hugging Face hub is hf:ORG/NAME; in a folder as the hub has it, hf:FOLDER.
    """
    from flows.commands.lines import model_lines

    for line in model_lines(load_settings().cache_dir):
        typer.echo(line)


def policies() -> None:
    """List what can be remembered of an object, and the constants that can be set.

    Each is a rule of which past frames the next one is compared with.
    """
    from flows.commands.lines import policy_lines

    for line in policy_lines():
        typer.echo(line)


def train_nano(
    destination: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Folder for weights, checkpoint, log and curve.",
            show_default=False,
        ),
    ],
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="What to train on and for how long. Default: as the shipped weights were made.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Begin with these weights at --phase, not from nothing.",
            show_default=False,
        ),
    ] = None,
    phase: Annotated[
        str, typer.Option(metavar="NAME", help="The first phase to train with --weights.")
    ] = "worlds",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    verbose: Verbose = False,
) -> None:
    r"""Train the embedded model `nano` from nothing, or go on where DIR stands.

    Scenes are made as training goes; nothing is downloaded. Those of photographs need
    `pip install 'longtake\[train]'`. It takes many hours on one core. Under
    `torchrun --nproc-per-node 2 -m flows.cli train-nano` two cores share its steps.

    Stopped or killed? The same command goes on from the last checkpoint.
    """
    from flows.commands.train_nano import run_training
    from samcore.training import Start

    for line in run_training(
        Path(destination),
        None if config is None else Path(config),
        None if weights is None else Start(Path(weights), phase),
        device,
        Terminal(),
    ):
        typer.echo(line)
