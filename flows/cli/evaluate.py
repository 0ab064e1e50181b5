"""The command `longtake eval`."""

from enum import Enum
from typing import Annotated

import typer

from flows.cli.options import BucketCredentials, Verbose, local_path


class MatchBy(str, Enum):
    """Which found object is held against which true one."""

    NUMBER = "number"
    OVERLAP = "overlap"


EXAMPLES = """[bold]Examples[/bold]

One video against its DAVIS masks:

  longtake eval out DAVIS/Annotations/480p/bear

A folder of results, named like the sequences, and a record for programs:

  longtake eval results DAVIS/Annotations/480p --json"""


def evaluate(
    result: Annotated[
        str,
        typer.Argument(
            metavar="RESULT",
            help="Where `longtake track` put its result; or a folder of results.",
            show_default=False,
        ),
    ],
    ground_truth: Annotated[
        str,
        typer.Argument(
            metavar="GROUND_TRUTH",
            help="Folder of PNGs (DAVIS or MOTS), MOTS text file, or COCO-video JSON file.",
            show_default=False,
        ),
    ],
    match: Annotated[
        MatchBy | None,
        typer.Option(
            help="Hold objects with the same number against each other, or those that overlap "
            "most. Default: number for DAVIS, else overlap.",
            show_default=False,
        ),
    ] = None,
    sequence: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which sequence of the ground truth. Default: the one named like the video.",
            show_default=False,
        ),
    ] = None,
    first_frame: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="The ground truth's number of the video's first frame. Default: of a folder of "
            "pictures, those with the same names; of a video 0; for MOTS 1, unless there is a 0.",
            show_default=False,
        ),
    ] = None,
    all_frames: Annotated[
        bool,
        typer.Option("--all-frames", help="Also judge first and last frames, unlike DAVIS."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a record for programs.")] = False,
    credentials: BucketCredentials = None,
    verbose: Verbose = False,
) -> None:
    """Measure masks against the truth: J, F and J&F as DAVIS 2017 does, and identities."""
    from flows.commands import evaluate as scores

    found = scores.evaluate(
        result,
        local_path(ground_truth, "the ground truth"),
        sequence=sequence,
        match=None if match is None else match.value,
        first_frame=first_frame,
        all_frames=all_frames,
        credentials=credentials,
    )
    for line in [found.model_dump_json(indent=2)] if as_json else scores.score_lines(found):
        typer.echo(line)
