"""What `longtake memory` does."""

from collections.abc import Sequence
from pathlib import Path

from samcore.config import TrackSettings
from samcore.errors import InputError, TransientError, VideoError
from samcore.machine.device import choose_compute
from samcore.models.known import KNOWN_MODELS
from samcore.models.loader import load_model
from samcore.models.registry import ModelSpec, resolve_model
from samcore.progress import counted, reporter
from samcore.result.looks import choose_looks
from samcore.result.manifest import MEMORY
from samcore.result.records import RunRecord
from samcore.tracking.remember import remember
from samcore.tracking.state import TrackerState
from samcore.tracking.warm_start import MAX_FRAMES
from samcore.video import VideoSource
from tasks.results.open import open_result_store
from tasks.settings import Settings
from tasks.sources.opened import open_recording


def make_memory(
    result: str,
    *,
    output: Path | None,
    frames: Sequence[int] | None,
    objects: Sequence[int] | None,
    model: str | None,
    checkpoint: Path | None,
    config: str | None,
    image_size: int | None,
    plain_engine: bool,
    compile: bool,
    device: str,
    dtype: str,
    memory_policy: str | None,
    video: str | None,
    credentials: str | None,
    replace: bool,
    settings: Settings,
) -> str:
    """Encode objects of a result for other videos to begin with; the line to say when it is done.

    Args:
        result: Folder or address of a published result.
        output: The file to write; None is the result itself.
        frames: Frames to take masks from; None is the prompted ones.
        objects: Ids; None is all.
        model, checkpoint, config, image_size, plain_engine, compile: As of `longtake track`; the
            default is the model that the result was made with.
        device, dtype: As of `longtake track`.
        memory_policy: The one of the run that will begin with it; None is the result's.
        video: Where the video is now; None is where it was tracked.
        credentials: Name of the AwsCredentials block for buckets.
        replace: Whether a memory that is there may be replaced.
        settings: Of the environment.

    Raises:
        SegmentationError: Something that the person can put right.
    """
    if output is not None and output.exists() and not replace:
        raise InputError(f"{output} is there already: choose another name, or give --force")
    store = open_result_store(result, credentials)
    manifest, masklets = store.open_masklets(result, whole=output is None)
    if output is None and not replace and any(file.name == MEMORY for file in manifest.files):
        raise InputError(f"{store.address(MEMORY)} is there already: give -o, or --force")
    manifest.check_shows_frames()
    asked = manifest.request
    prompted = {item.id: item.prompted_frames for item in asked.objects}
    looks = choose_looks(masklets, prompted, frames=frames, objects=objects, most=MAX_FRAMES)
    choose_compute(device, dtype)  # a device that is not here is said before a download
    if (model, checkpoint, image_size, config) == (None,) * 4 and not (plain_engine or compile):
        spec = _model_of(asked, settings.cache_dir)
    else:
        spec = resolve_model(
            model,
            checkpoint=checkpoint,
            config=config,
            image_size=image_size,
            plain_engine=plain_engine,
            compile=compile,
            cache_dir=settings.cache_dir,
            on_progress=reporter("downloading the model", "MB", scale=1_000_000),
        )
    compute = choose_compute(device, dtype, spec)
    source = _open_video(asked, video, credentials, settings.cache_dir)
    if source.info.digest != masklets.video.digest:
        raise InputError(
            f"{video or asked.source} is not the video that was tracked: say with --video where "
            "that is"
        )
    state = remember(
        load_model(spec, compute),
        source,
        looks,
        _settings(asked.settings, memory_policy),
        reporter("remembering objects", "frames"),
    )
    if output is not None:
        state.save(output)
        place = str(output)
    else:
        with store.workspace() as folder:
            state.save(folder / MEMORY)
            store.add_files({MEMORY: folder / MEMORY}, manifest.key)
        place = store.address(MEMORY)
    return f"{_said(state)}: {place}"


def _model_of(asked: RunRecord, cache_dir: Path) -> ModelSpec:
    """The result's own model, wherever it is on this machine."""
    spec = asked.model
    if spec.name not in {known.name for known in KNOWN_MODELS}:
        return spec
    found = resolve_model(
        spec.name,
        image_size=spec.image_size,
        plain_engine=spec.is_plain,
        compile=spec.is_compiled,
        cache_dir=cache_dir,
        on_progress=reporter("downloading the model", "MB", scale=1_000_000),
    )
    if found.fingerprint != spec.fingerprint:
        raise InputError(
            f"the model {spec.name} is not the one that this result was made with, which another "
            "version of Longtake had: name with --model the one that is to begin with the memory"
        )
    return found


def _open_video(
    asked: RunRecord, video: str | None, credentials: str | None, work_dir: Path
) -> VideoSource:
    try:
        return open_recording(
            video or asked.source,
            () if video else asked.further_parts,
            work_dir,
            credentials=credentials,
            version=None if video else asked.source_version,
            on_progress=reporter("scanning the video", "frames"),
            on_fetch=reporter("downloading the video", "MB", scale=1_000_000),
            stretch=asked.settings.stretch,
        )
    except VideoError as error:
        if video is not None or isinstance(error, TransientError):
            raise
        raise VideoError(f"{error}; if it was moved, say with --video where it is") from error


def _settings(made_with: TrackSettings, policy: str | None) -> TrackSettings:
    """The settings of a tracker that will begin with the memory."""
    if policy in (None, made_with.memory_policy):
        return TrackSettings(
            memory_policy=made_with.memory_policy,
            memory_policy_options=made_with.memory_policy_options,
        )
    return TrackSettings(memory_policy=str(policy))


def _said(state: TrackerState) -> str:
    objects = ", ".join(
        f"{obj.obj_id} on {counted(len(obj.memories), 'frame')}" for obj in state.objects
    )
    return f"memory of object{'s' * (len(state.objects) > 1)} {objects}"
