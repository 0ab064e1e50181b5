"""Run the flow over pictures from a command, with all that a person sees of it."""

import atexit
import contextlib

from flows.commands.console import Terminal, WarningPrinter
from flows.commands.imports import much_imported
from flows.commands.run_local import api_of, check_named_server
from flows.images.plan import describe_list, plan_images, read_asked
from flows.images.request import ImagesRequest
from flows.images.result import ImagesResult, images_result
from flows.server.embedded_server import EmbeddedServer
from samcore.progress import listening
from tasks.settings import Settings, has_prefect_server, quiet_prefect


def run_images(
    request: ImagesRequest, terminal: Terminal, *, settings: Settings, verbose: bool = False
) -> ImagesResult:
    """Check the request, then run `segment-images` in this process.

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
    is_named = has_prefect_server()
    # Credentials in a block are known only once its server is there.
    asked = read_asked(request) if request.credentials is None or is_named else None
    with contextlib.ExitStack() as server_stack, contextlib.ExitStack() as stack:
        server: EmbeddedServer | None = None
        if is_named:
            check_named_server()
        else:
            # It takes its time, while torch is imported and the model is looked up.
            server = server_stack.enter_context(
                EmbeddedServer(settings.cache_dir, linger_s=settings.server_linger_s)
            )
        if not verbose:
            stack.enter_context(WarningPrinter(terminal).attached())
            stack.enter_context(terminal.live())
        needs_api = request.credentials is not None
        with api_of(server) if needs_api else contextlib.nullcontext(), listening(terminal.show):
            asked = asked or read_asked(request)
            terminal.wait(describe_list(asked))
            planned = plan_images(request, asked)
            found = planned.published()
        if found is not None and set(request.formats) <= set(found.exports):
            return images_result(planned.ref, found, was_there=True)
        terminal.wait("starting Prefect")
        # As in run_local: after all that Prefect's client does at the end of the process.
        atexit.register(server_stack.pop_all().close)
        with much_imported():
            from flows.segment_images import segment_planned
        with api_of(server), listening(terminal.show):
            return segment_planned(request, planned)
