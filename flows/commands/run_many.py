"""Run the flow for each video of a list, one after another, with all that a person sees of it."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.commands.console import Terminal
from flows.commands.run_local import LocalRuns
from flows.server.embedded_server import ServerError
from samcore.errors import InputError, SegmentationError
from samcore.progress import Progress, clock, counted
from tasks.request.early_checks import check_request
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import ResultRef
from tasks.settings import Settings

_log = logging.getLogger(__name__)
_MANY = 20
"""Different requests, whose checks take a while."""
_MOST_OF_NAME = 34
"""Letters beside a bar, on 80 columns."""


@dataclass(frozen=True, slots=True)
class AskedVideo:
    """One video of a list."""

    name: str
    """Names it among all of the list."""
    mark: str
    """Changes with its content, as far as that shows without reading it."""
    request: SegmentRequest
    """What is asked of it."""
    where: str = ""
    """The row that names it, `todo.csv, line 3`; empty without a table."""


@dataclass(frozen=True, slots=True)
class FailedVideo:
    """One that has no result."""

    name: str
    error: str
    """One line."""


@dataclass(slots=True)
class ManyResults:
    """What became of a list."""

    videos: int
    """Of the list."""
    tracked: int = 0
    """Results that were made now."""
    there: int = 0
    """Results that were there already."""
    frames: int = 0
    """That were tracked now."""
    left: int = 0
    """Videos that were not looked at, since the limit was reached."""
    failed: list[FailedVideo] = field(default_factory=list)


def run_many(
    list_videos: Callable[[], tuple[list[AskedVideo], str]],
    terminal: Terminal,
    *,
    settings: Settings,
    credentials: str | None = None,
    limit: int | None = None,
    gpu_log: Path | None = None,
    verbose: bool = False,
) -> ManyResults:
    """List videos, check what can be checked of all, then run `segment-video` for each.

    One that fails does not stop the others. What has a result is passed over, so that the same
    command goes on after whatever stopped it.

    Args:
        list_videos: Gives the videos, and what there is to say of the list.
        terminal: Where progress shows.
        settings: Of the environment.
        credentials: Of buckets.
        limit: At most so many are worked on; those with a result do not count.
        gpu_log: As of `run_local`.
        verbose: Show Prefect's log.

    Raises:
        SegmentationError: Something that the person can put right, before the first run; or no
            more run can be made, since the Prefect server is gone.
    """
    with LocalRuns(terminal, settings=settings, gpu_log=gpu_log, verbose=verbose) as runs:
        if not runs.buckets(credentials):
            runs.begin()
        with runs.with_api(credentials):
            videos, said = list_videos()
            terminal.say(said)
            check_videos(videos, settings, terminal)
        runs.begin()
        results = ManyResults(len(videos))
        for place, video in enumerate(videos):
            if results.tracked + len(results.failed) == limit:
                results.left = len(videos) - place
                break
            terminal.show_overall(_progress(place, len(videos), video.name))
            with _failures(video, results, terminal):
                _take(video, runs.run(video.request), results, terminal)
    return results


def check_destinations(videos: Sequence[AskedVideo]) -> None:
    """See that no two results have one place.

    Raises:
        InputError: Two have, in one line that names both.
    """
    places: dict[str, AskedVideo] = {}
    for video in videos:
        place = str(video.request.destination_place)
        place = place if "://" in place else os.path.normpath(place)
        other = places.setdefault(place, video)
        if other is not video:
            raise InputError(
                f"{video.where or video.name} and {other.where or other.name}: both results would "
                f"go to {place}; give one of them another destination"
            )


def check_videos(videos: Sequence[AskedVideo], settings: Settings, terminal: Terminal) -> None:
    """Check all that can be wrong with requests, but for the videos themselves.

    Requests that differ in nothing but video and destination are checked once.

    Raises:
        SegmentationError: The first thing that is wrong; it names the row.
    """
    seen: set[bytes] = set()
    for place, video in enumerate(videos):
        asked = video.request.model_dump_json(exclude={"source", "destination"})
        key = hashlib.sha256(asked.encode()).digest()
        if key in seen:
            continue
        seen.add(key)
        if len(seen) > _MANY:
            terminal.show(Progress("checking", place, len(videos), "videos"))
        try:
            check_request(video.request, cache_dir=settings.cache_dir, with_source=False)
        except SegmentationError as error:
            if not video.where:
                raise
            raise InputError(f"{video.where}: {error}") from error


def many_lines(results: ManyResults, *, destination: str, seconds: float) -> Iterator[str]:
    """What was done, and which videos have no result.

    Args:
        results: What became of the list.
        destination: Where the results are.
        seconds: What the command took.
    """
    done = results.tracked + results.there
    yield f"{counted(results.videos, 'video')}: {counted(done, 'result')} in {destination}"
    if results.there:
        yield f"nothing to do for {counted(results.there, 'video')}, whose results were there"
    if results.tracked:
        yield f"took {clock(seconds)} for {counted(results.frames, 'frame')} that were tracked now"
    if results.left:
        yield f"left for the next call: {counted(results.left, 'video')}"
    if results.failed:
        yield f"{counted(len(results.failed), 'video')} without a result:"
    for one in results.failed:
        yield f"  {one.name}: {one.error}"


def _progress(place: int, count: int, name: str) -> Progress:
    line = f"video {place + 1} of {count}: {name}"
    short = name if len(name) <= _MOST_OF_NAME else f"…{name[1 - _MOST_OF_NAME :]}"
    return Progress("videos", place, count, "videos", note=short, text=line)


@contextlib.contextmanager
def _failures(video: AskedVideo, results: ManyResults, terminal: Terminal) -> Iterator[None]:
    """Take note of what goes wrong with one video, and go on; but not without a server."""
    try:
        yield
    except Exception as error:
        if _is_of_all(error):
            raise
        line = " ".join(str(error).split())
        if not isinstance(error, SegmentationError):
            line = f"failed: {type(error).__name__}: {line}"
            _log.debug("%s", video.name, exc_info=error)
        results.failed.append(FailedVideo(video.name, line))
        terminal.say(f"longtake: {video.name}: {line}")


def _is_of_all(error: Exception) -> bool:
    """Whether it would meet all that come after, too: the server is gone."""
    if isinstance(error, ServerError):
        return True
    from flows.server.deployment import ServerAwayError  # late: it imports prefect

    return isinstance(error, ServerAwayError)


def _take(video: AskedVideo, result: ResultRef, results: ManyResults, terminal: Terminal) -> None:
    if result.was_there:
        results.there += 1
        return
    results.tracked += 1
    results.frames += result.frames
    found = result.findings.total if result.findings is not None else 0
    odd = f", {counted(found, 'finding')} to look at" if found else ""
    masks = f"{counted(result.objects, 'object')} on {counted(result.frames, 'frame')}"
    terminal.say(f"{video.name}: {masks}{odd}: {_shown(result.destination)}")


def _shown(destination: str) -> str:
    with contextlib.suppress(ValueError):
        return str(Path(destination).relative_to(Path.cwd()))
    return destination
