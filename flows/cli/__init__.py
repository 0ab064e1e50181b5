"""The command line: `longtake track`, `demo`, `models`, `probe` and the rest, one file each.

What takes seconds to import (torch, prefect, pyarrow) is imported inside the commands: --help and
an error in an option should come at once.
"""

import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from flows.cli import (
    bench,
    budget,
    demo,
    deploy,
    evaluate,
    export,
    image,
    listen,
    memory,
    models,
    open,
    probe,
    show,
    track,
    watch,
)
from flows.cli.options import RequestCommand
from flows.commands.process import ProcessEnd, StoppedForGood, Terminated, raise_on_sigterm
from samcore.errors import SegmentationError

EXIT_BUG, EXIT_USER, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 130, 143

app = typer.Typer(
    name="longtake",
    help="Segment and track objects through videos of any length with SAM 2.\n\n"
    "Begin with [bold]longtake demo[/bold]; it needs no video and no download.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command(cls=RequestCommand, epilog=track.EXAMPLES)(track.track)
app.command(cls=image.ImageCommand, epilog=image.EXAMPLES)(image.image)
app.command(cls=watch.WatchCommand, epilog=watch.EXAMPLES)(watch.watch)
app.command(epilog=demo.EXAMPLES)(demo.demo)
app.command(epilog=models.MODELS_EXAMPLES)(models.models)
app.command(epilog=models.POLICIES_EXAMPLES)(models.policies)
app.command("train-nano", epilog=models.TRAIN_EXAMPLES)(models.train_nano)
app.command(epilog=probe.EXAMPLES)(probe.probe)
app.command(epilog=bench.EXAMPLES)(bench.bench)
app.command("open", cls=RequestCommand, epilog=open.EXAMPLES)(open.open_)
app.command(epilog=show.EXAMPLES)(show.show)
app.command(epilog=export.EXAMPLES)(export.export)
app.command(epilog=memory.EXAMPLES)(memory.memory)
app.command("eval", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command(epilog=listen.EXAMPLES)(listen.listen)
app.command(epilog=deploy.DEPLOY_EXAMPLES)(deploy.deploy)
app.command(epilog=budget.EXAMPLES)(budget.budget)
app.command(epilog=deploy.SERVE_EXAMPLES)(deploy.serve)
app.command(epilog=deploy.WORKER_EXAMPLES)(deploy.worker)


@app.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if show_version:
        typer.echo(f"longtake {version('longtake')}")
        raise typer.Exit


def run(args: Sequence[str]) -> int:
    """Run one command line; the exit code."""
    verbose = "-v" in args or "--verbose" in args
    said = "stopped; the same command goes on from here"
    try:
        code = typer.main.get_command(app).main(list(args), "longtake", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except Terminated:
        code = EXIT_TERMINATED
    except StoppedForGood as stop:
        code = EXIT_TERMINATED if isinstance(stop.__cause__, Terminated) else EXIT_INTERRUPTED
        said = str(stop)
    except SegmentationError as error:
        return _fail(str(error), EXIT_USER, verbose=verbose)
    except Exception as error:
        if hasattr(error, "format_message"):  # an option that is wrong; typer's own class
            return _usage(error)
        name = type(error).__name__
        hint = "" if verbose else "; -v shows where"
        return _fail(f"failed: {name}: {error}{hint}", EXIT_BUG, verbose=verbose)
    if code in (EXIT_INTERRUPTED, EXIT_TERMINATED):
        return _fail(said, code, verbose=False)
    return code if isinstance(code, int) else 0


def _usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "longtake"
    message = str(error.format_message()) if hasattr(error, "format_message") else str(error)
    if context is not None and not message:
        return EXIT_USER  # no command was given, and typer has shown its help
    return _fail(f"{message.rstrip('.')}; see {command} --help", EXIT_USER, verbose=False)


def _fail(message: str, code: int, *, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    typer.echo(f"longtake: {' '.join(message.split())}", err=True)
    return code


def main() -> None:
    """The console script."""
    end = ProcessEnd()
    raise_on_sigterm()
    code = run(sys.argv[1:])
    end.quietly(code, verbose="-v" in sys.argv or "--verbose" in sys.argv)
