"""The command `longtake show`."""

import webbrowser
from typing import Annotated

import typer

from flows.cli.options import BucketCredentials, Verbose
from samcore.errors import InputError
from tasks.settings import has_display

EXAMPLES = "[bold]Example[/bold]\n\n  longtake show out"


def show(
    result: Annotated[
        str,
        typer.Argument(
            metavar="RESULT",
            help="Where `longtake track` or `longtake image` put its result.",
            show_default=False,
        ),
    ],
    credentials: BucketCredentials = None,
    verbose: Verbose = False,
) -> None:
    """Open a result's report in a browser; without a display, say where it is."""
    # Late, with pyarrow behind it.
    from samcore.picture_runs.records import PictureManifest
    from samcore.result.manifest import REPORT, Manifest
    from tasks.results.open import open_result_store

    of_pictures = open_result_store(result, credentials, kind=PictureManifest)
    store = of_pictures if of_pictures.listed() else open_result_store(result, credentials)
    manifest = store.require(result)
    if isinstance(manifest, Manifest):
        manifest.check_shows_frames()
    if not any(file.name == REPORT for file in manifest.files):
        raise InputError(
            f"the result in {result} has no {REPORT}: it was made with --no-report; run the same "
            "`longtake track` without it, which tracks nothing again"
        )
    page = store.fetch(REPORT)
    opened = has_display() and webbrowser.open(page.absolute().as_uri())
    address = store.address(REPORT)
    copy = "" if address == str(page) else f", a copy is at {page}"
    typer.echo(f"{'opened ' if opened else ''}{address}{copy}")
