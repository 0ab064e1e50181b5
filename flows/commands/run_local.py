"""Run the flow from a command, with all that a person sees of it."""

import atexit
import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flows.commands.console import Terminal, WarningPrinter
from flows.commands.early_scan import begin_to_open
from flows.commands.imports import much_imported
from flows.commands.process import Terminated
from flows.server.embedded_server import EmbeddedServer, ServerError
from samcore.disk.files import check_writable
from samcore.errors import SegmentationError, TransientVideoError
from samcore.machine.gpu import GpuWatch, NvmlMeter, find_gpu_meter
from samcore.progress import Listener, Progress, listening
from samcore.result.records import RunRecord
from samcore.run.gpu_log import GpuLog
from samcore.video import VideoSource
from tasks.request.early_checks import READING, CheckedRequest, check_request
from tasks.request.segment_request import SegmentRequest
from tasks.results.open import find_result
from tasks.run.refs import ResultRef, RunRef
from tasks.settings import (
    Settings,
    has_prefect_server,
    quiet_prefect,
)

_log = logging.getLogger(__name__)

_LONG = 1000
"""Frames of a scan, which takes long from here on, as any download does."""


def run_local(
    request: SegmentRequest,
    terminal: Terminal,
    *,
    settings: Settings,
    gpu_log: Path | None = None,
    verbose: bool = False,
) -> ResultRef:
    """Check the request, then run `segment-video` in this process.

    All that a person may have got wrong is said before Prefect is there, and without it.

    Args:
        request: What is asked.
        terminal: Where progress shows.
        settings: Of the environment.
        gpu_log: A file for how busy and how full the GPUs are.
        verbose: Show Prefect's log.

    Raises:
        SegmentationError: Something that the person can put right.
        ServerError: Prefect's embedded server does not start.
    """
    with LocalRuns(terminal, settings=settings, gpu_log=gpu_log, verbose=verbose) as runs:
        return runs.run(request)


class LocalRuns:
    """Runs of this process, one after another, which share one Prefect server; a context manager.

    The model stays loaded from one to the next, as far as they want the same one.
    """

    def __init__(
        self,
        terminal: Terminal,
        *,
        settings: Settings,
        gpu_log: Path | None = None,
        verbose: bool = False,
    ) -> None:
        """Start nothing yet; the arguments are those of `run_local`.

        Raises:
            InputError: There is a `gpu_log`, but no GPU that can be watched.
            StorageError: The log cannot be written.
        """
        self._gpu_log = gpu_log
        self._gpus = find_gpu_meter() if gpu_log is None else NvmlMeter()
        if gpu_log is not None:
            check_writable(gpu_log.absolute().parent)
        self._terminal = terminal
        self._settings = settings
        self._verbose = verbose
        if not verbose:
            quiet_prefect()
        self._is_named = has_prefect_server()
        self._server: EmbeddedServer | None = None
        self._has_begun = self._ends_at_exit = False
        self._server_stack = contextlib.ExitStack()
        self._stack = contextlib.ExitStack()
        # What takes long, and the run's folder, wait until a server that is named is known to be
        # there; the embedded one is awaited later.
        self._check = functools.cache(check_named_server if self._is_named else lambda: None)

    def __enter__(self) -> "LocalRuns":
        return self

    def __exit__(self, *error: Any) -> None:
        with self._server_stack:
            self._stack.close()

    def begin(self) -> None:
        """Start the embedded server, unless one is named, and show what goes on."""
        if self._has_begun:
            return
        self._has_begun = True
        if not self._is_named:
            # It takes its time, while torch is imported and the video scanned.
            self._server = self._server_stack.enter_context(
                EmbeddedServer(self._settings.cache_dir, linger_s=self._settings.server_linger_s)
            )
        if not self._verbose:
            self._stack.enter_context(WarningPrinter(self._terminal).attached())
            self._stack.enter_context(self._terminal.live())
        if self._gpus is not None:
            tell = [self._terminal.show_gpus]
            if self._gpu_log is not None:
                tell.append(self._stack.enter_context(GpuLog(self._gpu_log)).add)
            self._stack.enter_context(GpuWatch(self._gpus, tell))

    def buckets(self, credentials: str | None) -> bool:
        """Whether buckets can be looked at: credentials in a block are known only once its server
        is there."""
        return credentials is None or self._is_named

    def with_api(self, credentials: str | None) -> contextlib.AbstractContextManager[None]:
        """Has Prefect's server at hand, if credentials lie in a block of it."""
        return contextlib.nullcontext() if credentials is None else api_of(self._server)

    def run(self, request: SegmentRequest) -> ResultRef:
        """Check the request, then run it; its result, which may have been there.

        Raises:
            SegmentationError: Something that the person can put right.
            ServerError: Prefect's embedded server does not start.
        """
        buckets = self.buckets(request.credentials)
        checked = check_request(request, cache_dir=self._settings.cache_dir, buckets=buckets)
        self.begin()
        with (
            self.with_api(request.credentials),
            listening(_after_check(self._terminal.show, self._check)),
        ):
            # A server that is named is asked first.
            known = checked if buckets else None
            opened = None if self._is_named else begin_to_open(request, known)
            run, found = _plan(request, self._settings, known, self._check, opened)
        if found is not None:
            return found
        self._terminal.wait("starting Prefect")
        # Prefect's client has things to tell the server until the process ends, and waits a minute
        # for one that is gone. Registered before Prefect is imported, this runs after all of that.
        if not self._ends_at_exit:
            self._ends_at_exit = True
            atexit.register(self._server_stack.pop_all().close)
        try:
            return _run_flow(request, run and run[0], self._terminal, self._server)
        except Exception as error:
            lost = self._server is not None and self._server.has_failed
            if run is None or not lost or isinstance(error, SegmentationError):
                raise
            return _without_server(request, *run, error)


def check_named_server() -> None:
    """See that the server that is named is there."""
    # Late: this imports prefect.
    from flows.server.deployment import check_server

    check_server()


def _without_server(
    request: SegmentRequest, ref: RunRef, record: RunRecord, error: Exception
) -> ResultRef:
    """What a run came to that could not tell its server, which was ended in the middle of it."""
    context: BaseException | None = error
    while context is not None:
        if isinstance(context, (KeyboardInterrupt, Terminated)):
            raise context  # the run was stopped, and could not tell that
        context = context.__context__
    found = _published(request, ref, record)
    if found is None:
        raise ServerError(
            "Prefect's embedded server was ended from outside, and the run with it; the same "
            "command goes on from here"
        ) from error
    return found.model_copy(update={"was_there": False})


def _after_check(show: Listener, check: Callable[[], None]) -> Listener:
    """Show steps, but check the server before one that takes long.

    Not while a file is read for its digest: a result that is there already needs no server, and
    that is known only then.
    """

    def shown(progress: Progress) -> None:
        is_download = progress.unit == "MB" and progress.what != READING
        if is_download or (progress.unit == "frames" and progress.done >= _LONG):
            check()
        show(progress)

    return shown


def _plan(
    request: SegmentRequest,
    settings: Settings,
    checked: CheckedRequest | None,
    check_server: Callable[[], None],
    opened: Callable[[], VideoSource] | None = None,
) -> tuple[tuple[RunRef, RunRecord] | None, ResultRef | None]:
    """Say what is wrong with the request, and lay out its run unless its result is there already.

    Returns:
        The run, or None if it cannot be planned at present; and the result, if it is there.
    """
    # Late: this imports torch, and what is wrong with the options should not take seconds to say.
    with much_imported():
        from tasks.request.resolve import resolve_request

    try:
        run = resolve_request(request, cache_dir=settings.cache_dir, checked=checked, opened=opened)
    except TransientVideoError as error:
        _log.warning("%s; trying again", error)
        return None, None  # the flow plans in a task that tries again
    found = _published(request, run.ref, run.record)
    if found is None:
        check_server()
        run.lay_out()
    # Not the whole of it, which holds the prompts' masks.
    return (run.ref, run.record), found


def _published(request: SegmentRequest, ref: RunRef, record: RunRecord) -> ResultRef | None:
    """The result, if it is there with all that was asked for."""
    found = find_result(ref, record)
    if (
        found is None
        or found.has_overlay < request.wants_overlay
        or found.has_report < request.report
    ):
        return None
    return found if set(request.export_formats) <= set(found.exports) else None


def _run_flow(
    request: SegmentRequest, run: RunRef | None, terminal: Terminal, server: EmbeddedServer | None
) -> ResultRef:
    # Late, for the same reason.
    with much_imported():
        from flows.segment_video import segment_planned

    with api_of(server), listening(terminal.show):
        return segment_planned(request, run)


@contextlib.contextmanager
def api_of(server: EmbeddedServer | None) -> Iterator[None]:
    """Have Prefect's client talk to the embedded server, if there is one and no other is named."""
    # Late, for the same reason.
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    # A server may also be named by the person's Prefect profile.
    if server is None or PREFECT_API_URL.value():
        if PREFECT_API_URL.value():
            check_named_server()
        yield
        return
    # Nobody looks for runs here that went silent, and the thread that sends a sign of life now and
    # then holds up the end of a run for most of a second.
    own = {
        PREFECT_API_URL: server.url(),
        PREFECT_API_AUTH_STRING: server.password,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with temporary_settings(own):
        yield
