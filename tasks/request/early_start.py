"""Tracking that begins while the request's video is still scanned, see samcore/run/early.py."""

import contextlib
import logging
from collections.abc import Callable
from functools import partial

from samcore.disk.files import make_folder
from samcore.disk.locks import locked_if_free
from samcore.errors import SegmentationError
from samcore.machine.stopping import run_stoppable
from samcore.progress import Listener, listening
from samcore.prompts.direction import goes_backward
from samcore.run.early import early_folder, frames_to_begin, track_while_scanned
from samcore.run.folder import RunFolder
from samcore.video import ScanOfFile
from tasks.request.early_checks import CheckedRequest, check_request
from tasks.request.segment_request import SegmentRequest
from tasks.settings import load_settings

_log = logging.getLogger(__name__)


def track_early(
    request: SegmentRequest,
    checked: CheckedRequest | None,
    so_far: ScanOfFile,
    *,
    watching: Callable[[str], Listener] | None = None,
) -> None:
    """Track a request's first chunks into the early folder of its run until the scan of its video
    has ended; if that takes long, and what is to be tracked does not depend on frames ahead.

    It never fails: what is wrong here is found again, and said, when the scan has ended.

    Args:
        request: What is asked.
        checked: What `check_request` has read, buckets included.
        so_far: Of the scan.
        watching: Gives who is told, for a result's key, how far tracking is.
    """
    if request.automatic is not None or request.shards is not None:
        return
    if request.every is not None or request.fps is not None:
        return
    try:
        _track(request, checked, so_far, watching)
    except SegmentationError as error:
        _log.info("not tracked while the video is scanned: %s", error)
    except Exception as error:
        _log.warning("not tracked while the video is scanned: %s: %s", type(error).__name__, error)


def _track(
    request: SegmentRequest,
    checked: CheckedRequest | None,
    so_far: ScanOfFile,
    watching: Callable[[str], Listener] | None,
) -> None:
    settings = load_settings()
    checked = checked or check_request(request, cache_dir=settings.cache_dir)
    if goes_backward(request.direction, checked.directions):
        return  # frame numbers count from the video's end
    video = frames_to_begin(
        so_far,
        start=request.start,
        stop=request.stop,
        chunk_frames=request.chunk_frames,
        moments=() if checked.prompts is None else checked.prompts.spec.moments,
        least_s=settings.early_start_s,
        most=settings.limits.max_frames,
    )
    if video is None:
        return
    # Late: torch and Prefect; and `resolve` imports this module.
    from tasks.encode_prompts import encode_prompts
    from tasks.request.resolve import resolve_request
    from tasks.results.open import find_result
    from tasks.sources.opened import lending
    from tasks.track_chunk import finish_chunk
    from tasks.tracking.device_lock import using_device

    run = resolve_request(
        request, cache_dir=settings.cache_dir, checked=checked, opened=lambda: video
    )
    if run.folder.path.exists() or find_result(run.ref, run.record) is not None:
        return
    place = str(early_folder(run.folder).path)
    # Nothing of it goes to a bucket before the scan has ended.
    ref = run.ref.model_copy(update={"folder": place, "destination": place})
    folder = RunFolder.from_ref(ref)
    make_folder(folder.path)
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(locked_if_free(folder.path / "lock")):
            return
        run.write_to(folder)
        if not stack.enter_context(using_device(run.record.settings.device, unless=so_far.ended)):
            return
        if watching is not None:
            stack.enter_context(listening(watching(ref.key)))
        run_stoppable(
            lambda stop: track_while_scanned(
                folder,
                so_far,
                stop=stop,
                lent=partial(lending, folder),
                encode=partial(encode_prompts.fn, ref),
                track=partial(finish_chunk, ref),
            )
        )
