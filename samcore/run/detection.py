"""How objects are found throughout a run: decided once, and done while chunks are tracked."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from samcore.detectors.detector import fetch_detector
from samcore.disk.files import exclusive
from samcore.disk.sealed import read_sealed, write_sealed
from samcore.errors import InputError, LostWorkError
from samcore.machine.meters import StageClock
from samcore.models.family import TrackingModel
from samcore.models.registry import ModelSpec
from samcore.progress import counted, reporter
from samcore.prompts.automatic import AutomaticPrompts
from samcore.result.records import DetectionRecord, SearchRecord
from samcore.tracking.detections_ahead import DetectionsAhead
from samcore.video import VideoSource
from samcore.video.cuts import CUT_SCORE, CutFinder

_log = logging.getLogger(__name__)


class _Cuts(BaseModel):
    """What is kept of a video's cuts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: tuple[int, ...]


def plan_detection(
    options: AutomaticPrompts,
    *,
    model: ModelSpec,
    video: VideoSource,
    frames: tuple[int, int],
    labels: Mapping[int, str],
    num_prompted: int,
    work_dir: Path,
    cache_dir: Path,
) -> DetectionRecord:
    """Decide how objects are found throughout a run.

    Args:
        options: With `detect_every`.
        model: The run's own.
        video: Where to look.
        frames: The frames [start, stop) that are tracked.
        labels: What a person calls the objects that are prompted.
        num_prompted: Objects that a person prompts.
        work_dir: Where the video's cuts are kept, so that they are found once.
        cache_dir: Where digests of large files are remembered.

    Raises:
        InputError: There is no room for objects beside the prompted ones, or none of the frames is
            one to look at.
        ModelError: A detector's weights cannot be had or used.
        VideoError: The video cannot be decoded.
        StorageError: What is found cannot be written down.
    """
    if num_prompted >= options.max_objects:
        raise InputError(
            f"max_objects: {options.max_objects} at once leave no room for what is found beside "
            f"{counted(num_prompted, 'prompted object')}: give --max-objects {num_prompted + 10}"
        )
    every = options.detect_every
    if isinstance(every, int) and -frames[0] % every >= frames[1] - frames[0]:
        raise InputError(
            f"detect_every: none of the frames to track, {frames[0]} to {frames[1] - 1}, is a "
            f"multiple of {every}, so nobody would look: give a smaller number, or begin earlier"
        )
    return DetectionRecord(
        options=options.model_dump(mode="json"),
        fingerprints=fetch_detectors(options, model=model, cache_dir=cache_dir),
        cuts=_find_cuts_once(video, frames, work_dir) if options.detect_every == "cuts" else (),
        association=options.association(dict(labels)),
    )


def plan_search(options: AutomaticPrompts, *, model: ModelSpec, cache_dir: Path) -> SearchRecord:
    """Decide how each chunk of a run finds its objects by itself; the arguments, and what is
    raised, are those of `plan_detection`."""
    return SearchRecord(
        options=options.model_dump(mode="json"),
        fingerprints=fetch_detectors(options, model=model, cache_dir=cache_dir),
    )


def open_detections(
    record: DetectionRecord,
    model: TrackingModel,
    *,
    spec: ModelSpec,
    video: VideoSource,
    batch: int,
    clock: StageClock,
    cache_dir: Path,
) -> DetectionsAhead:
    """What detectors see in a run's frames; detectors are made when they are needed.

    Args:
        record: From `plan_detection`.
        model: The tracker's.
        spec: What it was made of.
        video: The run's.
        batch: Most that a detector does at once.
        clock: Told how long detection takes.
        cache_dir: Where digests of large files are remembered.
    """
    options = record.asked

    def check() -> None:
        if fetch_detectors(options, model=spec, cache_dir=cache_dir) != record.fingerprints:
            raise LostWorkError(
                f"{options.named} is not what it was when this run was planned; run again, and "
                "what it finds now is tracked"
            )

    return DetectionsAhead(
        options,
        model,
        cuts=record.cuts,
        read=lambda start, stop: video.read(start, stop, prefetch=1),
        batch=batch,
        clock=clock,
        on_first=check,
        number=video.number,
    )


def fetch_detectors(
    options: AutomaticPrompts, *, model: ModelSpec, cache_dir: Path
) -> tuple[str, ...]:
    """Have the files of all detectors on this machine; the fingerprint of each.

    Args:
        options: Name them.
        model: The run's own, on this machine.
        cache_dir: Where digests of large files are remembered.

    Raises:
        SegmentationError: One cannot be had; one line says why, and what to do.
    """
    on_progress = reporter("downloading the detector", "MB", scale=1_000_000)
    return tuple(
        fetch_detector(one, model=model, cache_dir=cache_dir, on_progress=on_progress)
        for one in options.each
    )


def _find_cuts_once(video: VideoSource, frames: tuple[int, int], work_dir: Path) -> tuple[int, ...]:
    """The frames that begin a scene, the first one that is tracked among them; found once."""
    identity = [video.info.digest, video.stretched, frames, CUT_SCORE]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
    path = work_dir / "found" / f"cuts-{name}.json"
    with exclusive(path.with_suffix(".lock")):
        known = read_sealed(path, _Cuts, of=path.name)
        if known is None:
            known = _Cuts(frames=_find_cuts(video, frames))
            write_sealed(path, known, of=path.name)
    _log.info("%s", counted(len(known.frames), "scene"))
    return known.frames


def _find_cuts(video: VideoSource, frames: tuple[int, int]) -> tuple[int, ...]:
    start, stop = frames
    on_progress = reporter("looking for scene cuts", "frames")
    with CutFinder() as finder, video.read(start, stop) as reader:
        for frame in reader:
            finder.show(frame)
            on_progress(frame.frame_idx + 1 - start, stop - start)
    return tuple(sorted({start, *(cut.frame for cut in finder.cuts)}))
