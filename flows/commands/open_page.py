"""`longtake open`: a page in the browser, for one video or one result."""

import threading
import webbrowser
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.commands.demo_video import MODEL, VIDEO, demo_scene, write_video
from flows.page.result_request import bring_prompts, with_result
from flows.page.server import PageServer, listen_on
from flows.page.session import PageSession, open_session
from samcore.errors import InputError, VideoError
from samcore.interactive.project import PROJECT, PROMPTS
from samcore.result.manifest import MANIFEST, Manifest
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
    note: str | None = None
    """What else there is to say."""


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
    names_result = _is_result(where)
    destination = destination or (place if names_result else str(_beside(where)))
    manifest: Manifest | None = None
    if names_result:
        manifest = open_result_store(place, given.get("credentials")).require(place)
        manifest.check_shows_frames()
    elif _is_result(parse_location(destination)):
        manifest = open_result_store(destination, given.get("credentials")).listed()
    if manifest is not None:
        given = with_result(given, manifest)
    if names_result and manifest is not None:
        manifest.check_shows_frames()
    given["source"] = manifest.request.source if names_result and manifest is not None else place
    request = validate_request(**given, destination=destination, automatic={"max_objects": 1})
    video, goes_to = request.source_place, request.destination_place
    try:
        if isinstance(video, Path):
            check_source(video, settings.limits)
        else:
            look_up_source(video, request.source_version, credentials=request.credentials)
    except VideoError as error:
        if not names_result:
            raise
        raise VideoError(
            f"the video of this result is gone or cannot be read: {error}; put it back there, or "
            f"say where it is now: longtake open VIDEO -o {place}"
        ) from error
    folder = goes_to if isinstance(goes_to, Path) else _beside(video).absolute()
    if folder.is_file() or folder == video:
        raise InputError(f"the prompts cannot be kept in {folder}: choose another folder with -o")
    note = None
    if manifest is not None and not (folder / PROJECT).exists():
        target = folder / PROMPTS
        if not bring_prompts(manifest, request.work_path, target):
            note = (
                "the prompts of this result are gone with its run's folder: it can be looked at; "
                f"to correct it, put its prompts file at {target} first"
            )
    return Opened(request, folder, note)


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
        if opened.note is not None:
            yield opened.note
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
