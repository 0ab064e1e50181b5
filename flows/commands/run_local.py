"""Run the flow from a command, with all that a person sees of it."""

import atexit
import contextlib
import logging
from collections.abc import Iterator

from flows.commands.console import Terminal, WarningPrinter
from flows.server.embedded_server import EmbeddedServer
from samcore.errors import TransientVideoError
from tasks.progress.events import listening
from tasks.progress.steps import listening_to_steps
from tasks.request.early_checks import check_request
from tasks.request.segment_request import SegmentRequest
from tasks.results.open import find_result
from tasks.run.records import ResultRef
from tasks.settings import (
    Settings,
    has_prefect_server,
    quiet_prefect,
)

_log = logging.getLogger(__name__)


def run_local(
    request: SegmentRequest, terminal: Terminal, *, settings: Settings, verbose: bool = False
) -> ResultRef:
    """Check the request, then run `segment-video` in this process.

    All that a person may have got wrong is said before Prefect is there, and without it.

    Args:
        request: What is asked.
        terminal: Where progress shows.
        settings: Of the environment.
        verbose: Show Prefect's log.

    Raises:
        SegmentationError: Something that the person can put right.
        ServerError: Prefect's embedded server does not start.
    """
    if not verbose:
        quiet_prefect()
    # Credentials in a block are known only once its server is there.
    buckets = request.credentials is None or has_prefect_server()
    check_request(request, cache_dir=settings.cache_dir, buckets=buckets)
    with contextlib.ExitStack() as server_stack, contextlib.ExitStack() as stack:
        server: EmbeddedServer | None = None
        if not has_prefect_server():
            # It takes its time, while torch is imported and the video scanned.
            server = server_stack.enter_context(EmbeddedServer(settings.cache_dir / "server.lock"))
        if not verbose:
            stack.enter_context(WarningPrinter(terminal).attached())
            stack.enter_context(terminal.live())
        needs_api = request.credentials is not None
        with (
            _api_of(server) if needs_api else contextlib.nullcontext(),
            listening_to_steps(terminal.step),
        ):
            found = _check(request, terminal, settings)
        if found is not None:
            return found
        terminal.wait("starting Prefect")
        # Prefect's client has things to tell the server until the process ends, and waits a minute
        # for one that is gone. Registered before Prefect is imported, this runs after all of that.
        atexit.register(server_stack.pop_all().close)
        return _run_flow(request, terminal, server)


def _check(request: SegmentRequest, terminal: Terminal, settings: Settings) -> ResultRef | None:
    """Say what is wrong with the request; the result, if there is nothing left to do."""
    # Late: this imports torch, and what is wrong with the options should not take seconds to say.
    from tasks.request.resolve import resolve_request

    try:
        run = resolve_request(
            request,
            cache_dir=settings.cache_dir,
            on_scan=terminal.scan,
            on_download=terminal.download,
            on_fetch=terminal.fetch,
            on_find=lambda: terminal.wait("looking for objects"),
        )
    except TransientVideoError as error:
        _log.warning("%s; trying again", error)
        return None  # the flow checks the same, in tasks that try again
    found = find_result(run.ref, run.record)
    if (
        found is None
        or found.has_overlay < request.wants_overlay
        or found.has_report < request.report
    ):
        return None
    return found if set(request.export_formats) <= set(found.exports) else None


def _run_flow(
    request: SegmentRequest, terminal: Terminal, server: EmbeddedServer | None
) -> ResultRef:
    # Late, for the same reason.
    from flows.segment_video import segment_video

    with _api_of(server), listening(terminal.tracking), listening_to_steps(terminal.step):
        return segment_video(request)


@contextlib.contextmanager
def _api_of(server: EmbeddedServer | None) -> Iterator[None]:
    """Have Prefect's client talk to the embedded server, if there is one and no other is named."""
    # Late, for the same reason.
    from prefect.settings import PREFECT_API_URL, temporary_settings

    # A server may also be named by the person's Prefect profile.
    if server is None or PREFECT_API_URL.value():
        yield
        return
    with temporary_settings({PREFECT_API_URL: server.url()}):
        yield
