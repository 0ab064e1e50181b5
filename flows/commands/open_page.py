"""`longtake open`: a page in the browser, for one video or one result."""

import threading
import webbrowser
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.commands.demo_video import MODEL, VIDEO, demo_scene, write_video
from flows.page.server import PageServer, listen_on
from flows.page.session import PageSession, open_session
from samcore.errors import InputError
from samcore.result.manifest import MANIFEST
from samcore.video import check_source
from tasks.request.segment_request import SegmentRequest, validate_request
from tasks.results.open import open_result_store
from tasks.settings import Settings, has_display
from tasks.sources.opened import look_up_source
from tasks.store.locations import HttpsLocation, S3Location, parse_location

_DEMO = Path("demo")
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Opened:
    """What the command line names."""

    request: SegmentRequest
    """The run that the page prepares; `automatic` stands for the prompts that are to come."""
    folder: Path
    """Where the prompts are kept."""


def what_to_open(
    place: str | None, fields: Mapping[str, Any], destination: str | None, settings: Settings
) -> Opened:
    """Find out what is meant, without reading the video.

    Args:
        place: A video, as `track` takes it, or where a result is; None is the demo's video.
        fields: Of the request: model, device, credentials.
        destination: Where prompts and result go; None is beside a video of this machine, in the
            present folder for others, and where a result is.
        settings: Of the environment.

    Raises:
        SegmentationError: There is no such video or result, or an option is wrong.
    """
    given = dict(fields)
    if place is None:
        path = _DEMO / VIDEO
        if not path.exists():
            write_video(demo_scene(), path)
        place, given["model"] = str(path), given.get("model") or MODEL
    where = parse_location(place)
    if _is_result(where):
        manifest = open_result_store(place, given.get("credentials")).require(place)
        source = manifest.request.source
        given["model"] = given.get("model") or manifest.request.model.name
        destination = destination or place
    else:
        source = place
        destination = destination or str(_beside(where))
    request = validate_request(
        **given, source=source, destination=destination, automatic={"max_objects": 1}
    )
    video, goes_to = request.source_place, request.destination_place
    if isinstance(video, Path):
        check_source(video, settings.limits)
    else:
        look_up_source(video, None, credentials=request.credentials)
    folder = goes_to if isinstance(goes_to, Path) else _beside(video).absolute()
    if folder.is_file() or folder == video:
        raise InputError(f"the prompts cannot be kept in {folder}: choose another folder with -o")
    return Opened(request, folder)


def serve_page(opened: Opened, *, port: int, browser: bool, settings: Settings) -> Iterator[str]:
    """Serve the page until Ctrl-C.

    Args:
        opened: From `what_to_open`.
        port: Where to listen; 0 is any that is free.
        browser: Whether to open one, where there is one.
        settings: Of the environment.

    Yields:
        Lines for a person.

    Raises:
        SegmentationError: The port is taken, the prompts are open elsewhere, or the video cannot
            be read.
    """
    listening = listen_on(port)
    with (
        listening,
        open_session(opened.request, opened.folder, settings=settings) as session,
        PageServer(session, listening).running() as address,
    ):
        shown = browser and has_display() and webbrowser.open(address)
        yield f"{'opened ' if shown else 'open this address in a browser: '}{address}"
        yield f"prompts are saved in {opened.folder}; Ctrl-C ends the page"
        try:
            _wait(session)
        except KeyboardInterrupt:
            yield f"the page is closed; the prompts are in {session.project.folder}"


def _wait(session: PageSession) -> None:
    """Wait for Ctrl-C, or for what is wrong with the video."""
    never = threading.Event()
    while session.opening.error is None:
        never.wait(_POLL_S)
    raise session.opening.error


def _is_result(where: Path | S3Location | HttpsLocation) -> bool:
    if isinstance(where, Path):
        return (where.expanduser() / MANIFEST).exists()
    return isinstance(where, S3Location) and "." not in where.name  # as all videos have


def _beside(where: Path | S3Location | HttpsLocation) -> Path:
    """The folder of a video's prompts."""
    if isinstance(where, Path):
        path = where.expanduser().absolute()
        return path.with_name(f"{path.name}.longtake")
    return Path(f"{where.name or 'video'}.longtake")
