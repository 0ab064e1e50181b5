"""The video of a request, which is opened while torch and Prefect are imported."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

from flows.commands.imports import much_imported
from samcore.video import ScanOfFile, VideoSource
from tasks.request.early_checks import CheckedRequest, open_asked_video
from tasks.request.early_start import track_early
from tasks.request.segment_request import SegmentRequest


def begin_to_open(
    request: SegmentRequest, checked: CheckedRequest | None = None
) -> Callable[[], VideoSource] | None:
    """Begin to open a request's video in a thread.

    Args:
        request: What is asked.
        checked: What `check_request` has read, buckets included.

    Returns:
        Waits for the video, tracks meanwhile what can be tracked, and raises what went wrong with
        the video. None where a bucket or a server has
        to be asked first: then nothing is begun.
    """
    places = (request.source_place, *request.further_places, request.destination_place)
    if not all(isinstance(place, Path) for place in places):
        return None
    opened: Future[VideoSource] = Future()
    so_far = ScanOfFile()

    def work() -> None:
        try:
            with so_far.scanning():
                opened.set_result(open_asked_video(request, so_far=so_far))
        except BaseException as error:
            opened.set_exception(error)

    # A daemon: the end of the process, when something else is wrong, does not wait for a long scan.
    Thread(target=work, name="longtake-scan", daemon=True).start()

    def wait() -> VideoSource:
        if not opened.done():
            # It will be needed, and nothing else is to do. A short video is there by now: what is
            # wrong with the prompts on it is said before Prefect is imported.
            with much_imported():
                import flows.segment_video  # noqa: F401
            track_early(request, checked, so_far)
        return opened.result()

    return wait
