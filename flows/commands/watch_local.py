"""What `longtake watch` does."""

import contextlib
import sys
import threading
from collections.abc import Iterator

from flows.commands.console import Terminal, WarningPrinter
from flows.commands.imports import much_imported
from flows.commands.run_local import api_of
from flows.server.embedded_server import EmbeddedServer
from flows.streams.request import WatchRequest
from samcore.errors import InputError
from samcore.machine.stopping import run_stoppable
from samcore.progress import clock, counted, listening
from samcore.streams.tally import WatchSummary
from tasks.settings import Settings, has_prefect_server, quiet_prefect


def watch_local(
    request: WatchRequest, terminal: Terminal, *, settings: Settings, verbose: bool = False
) -> WatchSummary:
    """Watch in this process until the stream ends, or somebody stops it; then publish the rest.

    Prefect is there only for credentials that lie in a block of its server.

    Args:
        request: What is asked.
        terminal: Where progress shows.
        settings: Of the environment.
        verbose: Do not keep warnings of other libraries back.

    Raises:
        SegmentationError: Something that the person can put right.
    """
    if request.live_source.kind == "pipe" and sys.stdin.isatty():
        raise InputError("standard input is a terminal: pipe frames into `longtake watch -`")
    if not verbose:
        quiet_prefect()
    with contextlib.ExitStack() as stack:
        if not verbose:
            stack.enter_context(WarningPrinter(terminal).attached())
            stack.enter_context(terminal.live())
        if request.credentials is not None:
            server = None
            if not has_prefect_server():
                server = stack.enter_context(
                    EmbeddedServer(settings.cache_dir, linger_s=settings.server_linger_s)
                )
            stack.enter_context(api_of(server))
        stack.enter_context(listening(terminal.show))
        # Late: these import torch, and what is wrong with the options is said without it.
        from flows.streams.plan import check_watch

        given = check_watch(request)
        terminal.wait("loading the model")
        with much_imported():
            from flows.streams.plan import plan_watch
            from samcore.streams.session import WatchSession
        plan = plan_watch(request, given)
        place = str(request.destination_place)
        terminal.wait(f"waiting for {plan.source.shown}")

        def say(name: str, frames: int) -> None:
            terminal.say(f"masks on {counted(frames, 'frame')}: {place}/{name}")

        def work(stop: threading.Event) -> WatchSummary:
            summary = WatchSession(
                plan, stop, destination=place, force=request.force, on_published=say
            ).run()
            if stop.is_set():  # what stopped it is raised in place of what is returned
                terminal.say(_line(summary))
            return summary

        return run_stoppable(work)


def summary_lines(summary: WatchSummary, request: WatchRequest, *, seconds: float) -> Iterator[str]:
    """What a session came to, once its stream has ended."""
    yield f"the stream has ended after {clock(seconds)}: {_line(summary)}"
    yield f"all results: {request.destination_place}"


def _line(summary: WatchSummary) -> str:
    return (
        f"{counted(summary.frames, 'frame')} tracked, {summary.dropped} dropped, "
        f"{counted(summary.gaps, 'gap')}, at most {summary.latency_max_ms:.0f} ms from a frame to "
        "its masks"
    )
