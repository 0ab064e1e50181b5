"""From what a person asks to one exact run; everything that can be wrong with it is said here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from samcore.chunks.plan import plan_chunks
from samcore.config import RETIRE_AFTER, TrackSettings
from samcore.errors import InputError
from samcore.exports import check_objects
from samcore.machine.batches import default_batches
from samcore.progress import Listener, reporter
from samcore.prompts.prompt import Prompt
from samcore.prompts.resolve import prompts_digest, resolve_prompts
from samcore.result.records import ObjectRecord, RunRecord
from samcore.run.backward import directed
from samcore.run.changes import why_not_taken
from samcore.run.early import opened_beside, take_early_work
from samcore.run.folder import RunFolder
from samcore.run.stepping import (
    automatic_in_steps,
    check_tracked,
    chunks_in_frames,
    prompts_in_frames,
)
from samcore.tracking.memory.policy import policy_options
from samcore.video import VideoInfo, VideoSource
from samcore.video.tracked import choose_frames, in_steps
from tasks.request.begun import as_begun
from tasks.request.early_checks import (
    CheckedRequest,
    check_frames,
    check_request,
    open_asked_video,
    resolve_asked_model,
)
from tasks.request.early_start import track_early
from tasks.request.places import AsksForPlace
from tasks.request.prompt_source import GivenPrompts
from tasks.request.segment_request import SegmentRequest
from tasks.request.sharing_out import shared_frames, with_shards
from tasks.results.open import open_result_store
from tasks.run.mirror import open_mirror
from tasks.run.refs import RunRef, refuse_result
from tasks.settings import load_settings
from tasks.sources.opened import find_version

if TYPE_CHECKING:
    from samcore.machine.device import Compute


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedRun:
    """A request that can be carried out."""

    record: RunRecord
    video: VideoSource
    prompts: tuple[Prompt, ...]
    folder: RunFolder
    ref: RunRef
    warm_start: Path | None
    """The state that it begins with."""

    def lay_out(self) -> RunRef:
        """Write down in the run's folder what is asked, and take what was tracked of it while the
        video was scanned; where the run is.

        Raises:
            StorageError: The folder cannot be written to.
        """
        take_early_work(self.folder, self.video, self.write_to)
        self.write_to(self.folder)
        return self.ref

    def write_to(self, folder: RunFolder) -> None:
        """Write down in a folder what is asked.

        Raises:
            StorageError: The folder cannot be written to.
        """
        folder.create(self.record, self.video.info, self.prompts, self.video.names, self.warm_start)


def resolve_request(
    request: SegmentRequest,
    *,
    cache_dir: Path,
    checked: CheckedRequest | None = None,
    opened: Callable[[], VideoSource] | None = None,
    on_probe: Callable[[VideoInfo], None] | None = None,
    watching: Callable[[str], Listener] | None = None,
) -> ResolvedRun:
    """Check a request against the video, the model and the machine, cheap checks first: probe the
    video, find objects where that is asked, and cut it into chunks.

    Args:
        request: What is asked.
        cache_dir: Folder for downloaded checkpoints.
        checked: What `check_request` has read, if it has been asked already, buckets included.
        opened: Gives the request's video, if somebody has begun to open it already.
        on_probe: Told of the video before anything is held against it.
        watching: As in `track_early`.

    Raises:
        SegmentationError: Anything that the person can put right, in one line.
    """
    checked = checked or check_request(request, cache_dir=cache_dir)
    given, model, source = checked.prompts, checked.model, request.source_place
    warm = checked.warm_start
    # Here, not above: it imports torch, and what is wrong so far should not take seconds to say.
    from samcore.machine.device import choose_compute

    device, dtype = request.settings.device, request.settings.dtype
    compute = choose_compute(device, dtype, model)
    if warm is not None and model is not None:
        warm.check(request, model, compute.dtype_name)
    version, mark = find_version(source, request.source_version, credentials=request.credentials)
    if opened is None:
        mirror = open_mirror(request.destination_place, request.credentials)
        video = opened_beside(
            partial(open_asked_video, request, version=version, mirror=mirror),
            partial(track_early, request, checked, watching=watching),
        )
    else:
        video = opened()
    if on_probe is not None:
        on_probe(video.info)
    start, stop = check_frames(request, video.info.num_frames)
    tracked = choose_frames(video, start, stop, every=request.every, fps=request.rate_wanted)
    if tracked is not None:
        stop = tracked.number(len(tracked))
    known = () if warm is None else warm.record.objects
    prompts = () if given is None else _hold_against(given, request, video, (start, stop), known)
    check_tracked(prompts, tracked, video)
    # As the tracker sees it.
    steps = in_steps(video, tracked)
    span = (start, stop) if tracked is None else (0, len(tracked))
    if model is None:
        on_download = reporter("downloading the model", "MB", scale=1_000_000)
        model = resolve_asked_model(
            *(request, cache_dir, on_download), compile=request.compile, automatic=request.automatic
        )
        compute = choose_compute(device, dtype, model)
        if warm is not None:
            warm.check(request, model, compute.dtype_name)
    labels = {} if given is None else given.spec.labels
    finding_seconds: float | None = None
    found_first = request.automatic is not None and not request.takes_both
    if request.automatic is not None and found_first:
        from tasks.tracking.found_objects import find_objects_once  # late, like all of torch

        prompts, finding_seconds = find_objects_once(
            automatic_in_steps(request.automatic, tracked, video),
            video=steps,
            model=model,
            compute=compute,
            frames=span,
            work_dir=request.work_path,
            cache_dir=cache_dir,
        )
        prompts = prompts_in_frames(prompts, tracked)
        labels = {prompt.obj_id: prompt.label for prompt in prompts if prompt.label}
    source_of_objects = "automatic" if found_first else "prompt"
    objects = directed(
        _objects(labels, prompts, source_of_objects, known),
        asked=checked.directions,
        default=request.direction,
        start=start,
    )
    check_objects(request.formats, [item.id for item in objects], _labels(objects))
    detection = search = None
    if request.automatic is not None and not found_first and not request.looks_throughout:
        from samcore.run.detection import plan_search  # late, for the same reason

        search = plan_search(request.automatic, model=model, cache_dir=cache_dir)
    if request.automatic is not None and request.looks_throughout:
        from samcore.run.detection import plan_detection  # late, for the same reason

        detection = plan_detection(
            request.automatic,
            model=model,
            video=steps,
            frames=span,
            labels=_labels(objects),
            num_prompted=len(objects),
            work_dir=request.work_path,
            cache_dir=cache_dir,
        )
        if tracked is not None:
            detection = detection.at(tracked.number)
    record = RunRecord(
        source=str(source),  # without the query of a web address, which may hold a secret
        source_version=version,
        source_mark=mark,
        source_digest=video.info.digest,
        source_reading=video.info.reading,
        objects=objects,
        prompts_digest=prompts_digest(prompts),
        model=model,
        settings=resolve_settings(
            request.settings, compute, model.image_size, retires=detection is not None
        ),
        start=start,
        stop=stop,
        chunks=chunks_in_frames(
            plan_chunks(*span, chunk_frames=request.chunk_frames, overlap=shared_frames(request)),
            tracked,
        ),
        further_parts=tuple(map(str, request.further_places)),
        tracked=tracked,
        handoff=request.handoff,
        warm_start=None if warm is None else warm.record,
        detection=detection,
        finding_seconds=finding_seconds,
        search=search,
    )
    record = with_shards(record, request)
    store = open_result_store(request.destination_place, request.credentials)
    published = store.published_key()
    if dtype == "auto":
        settings = record.settings
        record = as_begun(
            record,
            lambda other: record.model_copy(
                update={"settings": settings.model_copy(update={"dtype": other})}
            ),
            request,
            compute=compute,
            published=published,
        )
    refuse_other(request, published, record.result_key)
    folder = RunFolder.for_key(request.work_path, record.work_key)
    log = request.memory_log_path
    ref = RunRef(
        folder=str(folder.path),
        destination=str(request.destination_place),
        credentials=request.credentials,
        key=record.result_key,
        video=request.video_name,
        allow_quality_loss=request.allow_quality_loss,
        memory_log=None if log is None else str(log),
        keep_states=request.keep_states
        and isinstance(request.destination_place, Path)
        and why_not_taken(record) is None,
    )
    return ResolvedRun(
        record=record,
        video=video,
        prompts=prompts,
        folder=folder,
        ref=ref,
        warm_start=None if warm is None else warm.path,
    )


def _hold_against(
    given: GivenPrompts,
    request: SegmentRequest,
    video: VideoSource,
    frames: tuple[int, int],
    known: tuple[int, ...],
) -> tuple[Prompt, ...]:
    prompts = resolve_prompts(
        given.spec,
        video=video.info,
        frame_at=video.frame_at,
        base_dir=given.base_dir,
        start=frames[0],
        stop=frames[1],
        allow_any_path=request.any_mask_path,
        limits=load_settings().limits,
        begun=known,
    )
    held = next((one for one in prompts if one.from_here), None)
    if held is not None and (request.looks_throughout or request.settings.retire_after):
        raise InputError(
            f"object {held.obj_id}, frame {held.frame_idx}, from_here: where objects retire or are "
            "detected throughout the video, a prompt holds for the whole video: leave from_here out"
        )
    return prompts


def resolve_settings(
    settings: TrackSettings, compute: "Compute", image_size: int, *, retires: bool
) -> TrackSettings:
    """The settings with everything that was left open chosen for this machine.

    Args:
        settings: As asked.
        compute: The device and its arithmetic.
        image_size: Side of the model's input in pixels.
        retires: Whether objects retire if nothing is said of that.
    """
    if retires and settings.retire_after is None:
        settings = settings.model_copy(update={"retire_after": RETIRE_AFTER})
    encode_batch, object_batch = default_batches(compute.device.type, image_size)
    return settings.model_copy(
        update={
            "device": str(compute.device),
            "dtype": compute.dtype_name,
            "encode_batch": settings.encode_batch or encode_batch,
            "object_batch": settings.object_batch or object_batch,
            "memory_policy_options": policy_options(
                settings.memory_policy, settings.memory_policy_options
            ).model_dump(mode="json"),
        }
    )


def _objects(
    labels: dict[int, str], prompts: tuple[Prompt, ...], source: str, known: tuple[int, ...]
) -> tuple[ObjectRecord, ...]:
    """All objects of a run: those with prompts, and the ones whose memory it begins with."""
    frames: dict[int, list[int]] = {obj_id: [] for obj_id in known}
    for prompt in prompts:
        frames.setdefault(prompt.obj_id, []).append(prompt.frame_idx)
    return tuple(
        ObjectRecord(
            id=obj_id,
            label=labels.get(obj_id),
            prompted_frames=tuple(sorted(found)),
            source=source if found else "warm-start",
        )
        for obj_id, found in sorted(frames.items())
    )


def _labels(objects: tuple[ObjectRecord, ...]) -> dict[int, str]:
    return {item.id: item.label for item in objects if item.label}


def refuse_other(request: AsksForPlace, found: str | None, key: str) -> None:
    """Refuse to replace somebody's result unasked.

    Args:
        request: What is asked.
        found: The key of the result at the destination; None if there is none.
        key: The key of the request's own.

    Raises:
        InputError: It is another request's, and `force` is not set.
    """
    refuse_result(request.destination_place, found, key, force=request.force)
