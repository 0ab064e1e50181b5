"""From what a person asks to one exact run; everything that can be wrong with it is said here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samcore.chunks import plan_chunks
from samcore.config import TrackSettings
from samcore.errors import InputError
from samcore.models.registry import ModelSpec, list_models, resolve_model
from samcore.tracking.prompt_file import PromptFile, parse_prompts
from samcore.tracking.prompt_resolve import prompts_digest, resolve_prompts
from samcore.tracking.prompts import Prompt
from samcore.video import VideoSource, open_video
from tasks.files import check_writable
from tasks.manifest import published_key
from tasks.records import RunRecord, RunRef, TrackedObject
from tasks.request import SegmentRequest, check_frames
from tasks.run_folder import RunFolder
from tasks.sources import open_source

if TYPE_CHECKING:
    from samcore.device import Compute

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedRun:
    """A request that can be carried out."""

    record: RunRecord
    video: VideoSource
    prompts: tuple[Prompt, ...]
    folder: RunFolder
    ref: RunRef


def resolve_request(
    request: SegmentRequest,
    *,
    cache_dir: Path,
    on_scan: Progress | None = None,
    on_download: Progress | None = None,
) -> ResolvedRun:
    """Check a request against the video, the model and the machine, cheap checks first.

    Args:
        request: What is asked.
        cache_dir: Folder for downloaded checkpoints.
        on_scan: Called while the video is scanned: frames so far, and how many there may be.
        on_download: Called while a checkpoint is downloaded: bytes so far, and how many there are.

    Raises:
        SegmentationError: Anything that the person can put right, in one line.
    """
    spec, base_dir = _read_prompts(request)
    # The whole length of a video that is not opened yet is not known; any will do for the options.
    plan_chunks(0, 1, chunk_frames=request.chunk_frames, overlap=request.overlap)
    source = Path(request.source).expanduser().absolute()
    if not source.exists():
        open_video(source)  # says what is wrong
    # A long download waits until all else is known to be right.
    downloads = _needs_download(request, cache_dir)
    model = None if downloads else _resolve_model(request, cache_dir)
    _check_folders(request, source)
    # Here, not above: it imports torch, and what is wrong so far should not take seconds to say.
    from samcore.device import choose_compute

    compute = choose_compute(request.settings.device, request.settings.dtype)
    video = open_source(source, request.work_path, on_progress=on_scan)
    start, stop = check_frames(request, video.info.num_frames)
    prompts = resolve_prompts(
        spec,
        video=video.info,
        frame_at=video.frame_at,
        base_dir=base_dir,
        start=start,
        stop=stop,
        allow_any_path=request.any_mask_path,
    )
    if model is None:
        model = _resolve_model(request, cache_dir, on_download)
    record = RunRecord(
        source=str(source),
        source_digest=video.info.digest,
        objects=_objects(spec, prompts),
        prompts_digest=prompts_digest(prompts),
        model=model,
        settings=_resolve_settings(request.settings, compute),
        start=start,
        stop=stop,
        chunk_frames=request.chunk_frames,
        overlap=request.overlap,
        handoff=request.handoff,
    )
    check_other_result(request, record.key)
    folder = RunFolder.of(request.work_path, record.key)
    ref = RunRef(
        folder=str(folder.path),
        destination=str(request.destination_dir),
        key=record.key,
        video=request.video_name,
    )
    return ResolvedRun(record=record, video=video, prompts=prompts, folder=folder, ref=ref)


def _read_prompts(request: SegmentRequest) -> tuple[PromptFile, Path]:
    """The prompts, and the folder that their mask files are relative to."""
    if isinstance(request.prompts, PromptFile):
        return request.prompts, Path.cwd()
    path = Path(request.prompts).expanduser().absolute()
    return parse_prompts(path), path.parent


def _needs_download(request: SegmentRequest, cache_dir: Path) -> bool:
    here = {entry.name: entry.available for entry in list_models(cache_dir)}
    return request.checkpoint is None and not here.get(request.model or "", True)


def _resolve_model(
    request: SegmentRequest, cache_dir: Path, on_download: Progress | None = None
) -> ModelSpec:
    return resolve_model(
        request.model,
        checkpoint=None if request.checkpoint is None else Path(request.checkpoint).expanduser(),
        config=request.config,
        image_size=request.image_size,
        cache_dir=cache_dir,
        on_progress=on_download,
    )


def _resolve_settings(settings: TrackSettings, compute: "Compute") -> TrackSettings:
    """The settings with everything that was left open chosen for this machine."""
    from samcore.device import default_batches  # late, like all of torch

    encode_batch, object_batch = default_batches(compute)
    return settings.model_copy(
        update={
            "device": str(compute.device),
            "dtype": str(compute.dtype).removeprefix("torch."),
            "encode_batch": settings.encode_batch or encode_batch,
            "object_batch": settings.object_batch or object_batch,
        }
    )


def _objects(spec: PromptFile, prompts: tuple[Prompt, ...]) -> tuple[TrackedObject, ...]:
    labels = spec.labels
    frames: dict[int, list[int]] = {}
    for prompt in prompts:
        frames.setdefault(prompt.obj_id, []).append(prompt.frame_idx)
    return tuple(
        TrackedObject(id=obj_id, label=labels.get(obj_id), prompted_frames=tuple(sorted(found)))
        for obj_id, found in sorted(frames.items())
    )


def _check_folders(request: SegmentRequest, source: Path) -> None:
    """Try the folders before hours of work go into them."""
    destination = request.destination_dir
    if source.is_dir() and destination == source:
        raise InputError(
            f"the masks would go into the folder of frames {source}: choose another one with -o"
        )
    check_writable(destination)
    check_writable(request.work_path)


def check_other_result(request: SegmentRequest, key: str) -> None:
    """Refuse to replace somebody's result unasked.

    Raises:
        InputError: The destination holds another request's result, and `force` is not set.
    """
    found = published_key(request.destination_dir)
    if found is not None and found != key and not request.force:
        raise InputError(
            f"{request.destination_dir} holds the result of another request: choose another "
            "folder with -o, or replace it with --force"
        )
