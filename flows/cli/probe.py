"""The command `longtake probe`."""

from typing import Annotated

import typer

from flows.cli.options import Verbose
from flows.commands.console import Terminal

EXAMPLES = "[bold]Example[/bold]\n\n  longtake probe dog.mp4 --json | jq .num_frames"


def probe(
    source: Annotated[
        list[str], typer.Argument(metavar="VIDEO", help="Video file or folder of frames.")
    ],
    join: Annotated[
        bool, typer.Option("--join", help="Take the files for one recording, in this order.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a record for programs.")] = False,
    verbose: Verbose = False,
) -> None:
    """Decode a video once and say what is in it: size, frames, rate, damage."""
    from flows.commands.lines import video_lines
    from samcore.errors import InputError
    from samcore.progress import listening, reporter
    from samcore.sources.recording import recording_parts
    from samcore.video import open_video

    if len(source) > 1 and not join:
        raise InputError("several files: probe one, or give --join if they are one recording")
    asked = recording_parts(source) if join else source[0]
    terminal = Terminal()
    with terminal.live(), listening(terminal.show):
        info = open_video(asked, on_progress=reporter("scanning the video", "frames")).info
    for line in [info.model_dump_json(indent=2)] if as_json else video_lines(info):
        typer.echo(line)
