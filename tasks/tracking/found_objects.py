"""Objects that a detector found, kept so that a resumed run has the same ones."""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from samcore.detectors.detector import (
    Detection,
    Detector,
    find_detector,
    make_detector,
)
from samcore.detectors.wanted import keep_wanted
from samcore.disk.files import exclusive
from samcore.disk.sealed import read_sealed, write_sealed
from samcore.errors import LostWorkError
from samcore.machine.device import Compute
from samcore.machine.meters import MemoryMeter
from samcore.machine.rung import Rung
from samcore.models.loader import load_model
from samcore.models.registry import ModelSpec
from samcore.progress import counted, reporter
from samcore.prompts.automatic import (
    AutomaticPrompts,
    choose_objects,
    frames_to_look_at,
    name_frames,
    nothing_found,
)
from samcore.prompts.file import PromptFile
from samcore.prompts.kept import from_file, to_file
from samcore.prompts.prompt import Prompt
from samcore.run.attempts import lost_seconds
from samcore.run.detection import fetch_detectors
from samcore.run.memory_log import describe_peak
from samcore.run.oom_ladder import OomLadder
from samcore.video import VideoSource
from tasks.tracking.device_lock import using_device

_log = logging.getLogger(__name__)
_VERSION = 2
"""Raised when the same arguments would now give other objects."""


class _Spent(BaseModel):
    """What is kept of what it has cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float


def find_objects_once(
    options: AutomaticPrompts,
    *,
    video: VideoSource,
    model: ModelSpec,
    compute: Compute,
    frames: tuple[int, int],
    work_dir: Path,
    cache_dir: Path,
    fingerprints: tuple[str, ...] | None = None,
) -> tuple[tuple[Prompt, ...], float | None]:
    """Give prompts for what is on the first frame, of those looked at, that shows anything;
    what was found before is read, not found again. With them the seconds that a device was held
    for it, whenever that was; None if nobody knows.

    Args:
        options: What to look for.
        video: Where to look.
        model: The run's own.
        compute: Its device and arithmetic.
        frames: The frames [start, stop) that are tracked.
        work_dir: Where what is found is kept.
        cache_dir: Where digests of large files are remembered.
        fingerprints: What the detectors must be; None if they may be any.

    Raises:
        InputError: The frame is not tracked.
        NothingFoundError: There is nothing on any.
        LostWorkError: The detectors are others than `fingerprints` say.
        ModelError: The detector's weights cannot be had or used.
        VideoError: The frame cannot be decoded.
        StorageError: What is found cannot be written down.
        OutOfMemory: It does not fit, however little is done at once.
    """
    start, stop = frames
    looked_at = frames_to_look_at(options, start=start, stop=stop, rate=video.info.avg_rate)
    here = fetch_detectors(options, model=model, cache_dir=cache_dir)
    if fingerprints not in (None, here):
        raise LostWorkError(
            f"{options.named} is not what it was when this run was planned; run again, and what it "
            "finds now is tracked"
        )
    path = _record_path(work_dir, options, here, video, model, compute, looked_at)
    # One process looks, others read what it found.
    with exclusive(path.with_suffix(".lock")):
        known = read_sealed(path, PromptFile, of=path.name)
        spent_path = path.with_suffix(".spent")
        if known is not None:
            spent = read_sealed(spent_path, _Spent, of=spent_path.name)
            return from_file(known), None if spent is None else spent.seconds
        if path.exists():
            _log.info("what was found cannot be read: looking again")
        with using_device(str(compute.device)), MemoryMeter() as meter:
            mark = path.with_suffix(".attempt.json")
            started = time.monotonic()
            made: dict[str, Detector] = {}
            for frame_idx in looked_at:
                found = [
                    item
                    for one in options.each
                    for item in keep_wanted(
                        _find(one, video, model, compute, frame_idx, mark, made), one
                    )
                ]
                prompts = choose_objects(found, options, frame_idx=frame_idx)
                if prompts:
                    break
            else:
                raise nothing_found(options, [video.number(one) for one in looked_at])
            memory = meter.snapshot()
            seconds = time.monotonic() - started + lost_seconds(mark)
        write_sealed(spent_path, _Spent(seconds=round(seconds, 3)), of=spent_path.name)
        write_sealed(path, to_file(prompts), of=path.name)
    if frame_idx != looked_at[0]:
        _log.warning(
            "no objects found on %s: the objects are those of frame %d",
            name_frames([video.number(one) for one in looked_at if one < frame_idx]),
            video.number(frame_idx),
        )
    _log.info(
        "%s found among %s on frame %d, %s",
        *(counted(len(prompts), "object"), counted(len(found), _kind(found))),
        video.number(frame_idx),
        describe_peak(memory.peak_rss_bytes, memory.peak_vram_bytes),
    )
    return prompts, seconds


def _find(
    options: AutomaticPrompts,
    video: VideoSource,
    model: ModelSpec,
    compute: Compute,
    frame_idx: int,
    mark: Path,
    made: dict[str, Detector],
) -> list[Detection]:
    """All that is on a frame, with smaller batches where memory does not suffice for larger ones.
    A detector that could do its work waits in `made` for the next frame.

    Raises:
        OutOfMemory: Not even the smallest batch fits.
    """
    entry, _ = find_detector(options.detector)
    # What a detector does at once is what a batch of frames is to the tracker.
    wanted = Rung(
        encode_batch=entry.batch,
        object_batch=1,
        bank_on_cpu=True,  # there is no memory bank to be moved
        image_size=model.image_size,
    )
    ladder = OomLadder(
        wanted,
        model,
        num_objects=1,
        device=str(compute.device),
        allow_quality_loss=False,
        doing=" while looking for objects",
    )
    first = entry.first_needed(frame_idx)

    def look() -> list[Detection]:
        loaded = load_model(model, compute)
        detector = made.pop(options.detector, None) or make_detector(
            options, loaded, batch=ladder.rung.encode_batch
        )
        on_progress = reporter("looking for objects", entry.unit)
        # A frame at a time: there may be hundreds that it must see before this one.
        with video.read(first, frame_idx + 1, prefetch=1) as reader:
            for frame in reader:
                (found,) = detector.detect(
                    [frame.image_rgb_hwc_u8],
                    first_frame=video.number(frame.frame_idx)
                    if entry.by_number
                    else frame.frame_idx,
                    on_progress=on_progress if first == frame_idx else None,
                )
                if first < frame_idx:
                    on_progress(frame.frame_idx + 1 - first, frame_idx + 1 - first)
        made[options.detector] = detector
        return found

    with ladder.attempting(mark, frame_idx=frame_idx):
        return ladder.run_until_it_fits(look, frame_idx=lambda: frame_idx)


def _kind(found: Sequence[Detection]) -> str:
    return "mask" if any(item.mask_hw is not None for item in found) else "detection"


def _record_path(
    work_dir: Path,
    options: AutomaticPrompts,
    fingerprints: tuple[str, ...],
    video: VideoSource,
    model: ModelSpec,
    compute: Compute,
    looked_at: tuple[int, ...],
) -> Path:
    """A file for everything that what is found depends on."""
    later = ("labels", "text", "min_score")
    others = ("more_detectors", "detect_every", "reanchor_every", "association_options")
    identity = {
        "version": _VERSION,
        "video": video.info.digest,
        # Only where it is used, so that what was found before stays found.
        **({"stretch": True} if video.stretched else {}),
        **({"detector": fingerprints[0]} if options.detector != "masks" else {}),
        **{name: value for name in later if (value := getattr(options, name))},
        **({"more": fingerprints[1:]} if options.more_detectors else {}),
        "frames": looked_at,
        "options": options.model_dump(
            mode="json", exclude={"frame", "look_ahead_s", "detector", *later, *others}
        ),
        "model": model.fingerprint,
        "device": compute.device.type,
        "dtype": str(compute.dtype),
    }
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    return work_dir / "found" / f"{name}.json"
