"""The command `longtake budget`."""

import typer

from flows.cli.options import Verbose
from tasks.settings import has_prefect_server

EXAMPLES = "[bold]Example[/bold]\n\n  longtake deploy --budget 8\n\n  longtake budget"


def budget(verbose: Verbose = False) -> None:
    """Show the device-hours that events and sweeps have used today, and which runs wait.

    The bound is that of `longtake deploy --budget`; a day begins at 0:00 UTC. Runs that wait are
    scheduled for the next day, and go on where they were.
    """
    has_prefect_server()
    # Late: this imports prefect.
    from prefect.client.orchestration import get_client

    from flows.server.budget import Ledger, today
    from flows.server.deployment import server_address, server_errors
    from samcore.progress import counted

    with server_errors(server_address()), get_client(sync_client=True) as client:
        ledger = Ledger(client)
        use, waiting = ledger.use(), ledger.waiting()
    bound = "no bound" if use.hours is None else f"{use.hours:g} device-hours a day"
    typer.echo(f"for events and sweeps: {bound}")
    spent = "; all used up" if use.is_spent else ""
    hours = f"{use.used_s / 3600:.2f} device-hours"
    typer.echo(f"used on {today():%Y-%m-%d} (UTC): {hours} by {counted(use.runs, 'run')}{spent}")
    typer.echo(f"waiting for the next day: {counted(len(waiting), 'run')}")
    for run in waiting:
        until = "" if run.until is None else f", until {run.until:%Y-%m-%d %H:%M} UTC"
        typer.echo(f"  {run.name}{until}")
