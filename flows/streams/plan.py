"""From what a person asks of a stream to what is watched; what can be wrong is said here."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flows.streams.request import WatchRequest
from samcore.config import TrackSettings
from samcore.errors import InputError
from samcore.limits import Limits
from samcore.models.family import check_compiles, check_memory_pool
from samcore.models.registry import ModelSpec
from samcore.progress import reporter
from samcore.prompts.file import PromptFile
from samcore.prompts.prompt import Prompt
from samcore.prompts.resolve import resolve_prompts
from samcore.result.manifest import Manifest
from samcore.result.records import DetectionRecord
from samcore.result.store import ResultStore
from samcore.streams.durations import parse_duration
from samcore.streams.plan import WatchPlan
from tasks.request.early_checks import check_places, resolve_asked_model
from tasks.request.prompt_source import GivenPrompts, read_prompts
from tasks.results.manifest import versions
from tasks.results.open import open_result_store
from tasks.settings import load_settings


def check_watch(request: WatchRequest) -> GivenPrompts | None:
    """Check a request as far as that goes without a model, cheap checks first; the prompts.

    Raises:
        SegmentationError: Something that the person can put right, in one line.
    """
    limits = load_settings().limits
    given = read_prompts(request, limits)
    if given is not None:
        _check_first_frame(given.spec)
    check_places(request, buckets=True)
    return given


def plan_watch(
    request: WatchRequest, given: GivenPrompts | None, *, stdin: int = 0, patient: bool = False
) -> WatchPlan:
    """Load the model, and have all that a session needs.

    Args:
        request: What is asked.
        given: As `check_watch` gives it.
        stdin: The descriptor that a pipe is read from.
        patient: Whether a source that cannot be opened at first is tried again for ever.

    Raises:
        SegmentationError: Something that the person can put right, in one line.
    """
    # Late, like all of torch.
    from samcore.machine.allocator import keep_freed_memory
    from samcore.machine.device import choose_compute
    from samcore.models.loader import load_model
    from tasks.request.resolve import resolve_settings
    from tasks.settings import sets_allocator

    known = load_settings()
    cache_dir, limits = known.cache_dir, known.limits
    spec = resolve_asked_model(
        request,
        cache_dir,
        reporter("downloading the model", "MB", scale=1_000_000),
        compile=request.compile,
        automatic=request.automatic,
    )
    check_memory_pool(spec.family, request.settings.memory_pool)
    check_compiles(spec.family, compile=request.compile, plain_engine=request.plain_engine)
    compute = choose_compute(request.settings.device, request.settings.dtype, spec)
    if compute.device.type == "cpu" and not sets_allocator():
        keep_freed_memory()
    finds = request.automatic is not None
    # One frame at a time: a batch would wait for frames to come.
    asked = request.settings.model_copy(update={"encode_batch": 1})
    settings: TrackSettings = resolve_settings(asked, compute, spec.image_size, retires=finds)
    source = request.live_source.with_login(known.stream_login)
    return WatchPlan(
        source=source,
        folder=_work_folder(request),
        open_store=partial(_open_store, request),
        roll_s=parse_duration(request.roll),
        chunk_s=parse_duration(request.chunk),
        drop=request.drop or ("oldest" if source.is_live else "never"),
        waiting=request.waiting,
        stall_s=parse_duration(request.stall),
        spec=spec,
        model=load_model(spec, compute),
        compute=compute,
        settings=settings,
        prompts=_prompts_of(given, request, limits),
        prompts_digest=_digest_of(given),
        labels={} if given is None else {item.id: item.label for item in given.spec.objects},
        detection=_detection(request, given, spec, cache_dir),
        versions=versions(),
        limits=limits,
        stdin=stdin,
        patient=patient,
    )


def _detection(
    request: WatchRequest, given: GivenPrompts | None, spec: ModelSpec, cache_dir: Path
) -> DetectionRecord | None:
    from samcore.run.detection import fetch_detectors  # late, like all of torch

    options = request.automatic
    if options is None:
        return None
    return DetectionRecord(
        options=options.model_dump(mode="json"),
        fingerprints=fetch_detectors(options, model=spec, cache_dir=cache_dir),
        association=options.association({} if given is None else given.spec.labels),
    )


def _check_first_frame(spec: PromptFile) -> None:
    """Refuse prompts of frames that nobody has seen yet."""
    entries = [(f"object {item.id}", entry) for item in spec.objects for entry in item.prompts]
    for who, entry in (*entries, *(("masks", many) for many in spec.masks)):
        if entry.frame or entry.time:
            when = f"frame {entry.frame}" if entry.frame else f"{entry.time:g} s"
            raise InputError(
                f"{who}: a stream's prompts are on frame 0, the first one that is tracked; got "
                f"one at {when}"
            )


def _prompts_of(
    given: GivenPrompts | None, request: WatchRequest, limits: Limits
) -> Callable[[int, int], tuple[Prompt, ...]]:
    def prompts(width: int, height: int) -> tuple[Prompt, ...]:
        if given is None:
            return ()
        return resolve_prompts(
            given.spec,
            video=_FirstFrame(width, height),
            frame_at=lambda _seconds: 0,
            base_dir=given.base_dir,
            start=0,
            stop=1,
            allow_any_path=request.any_mask_path,
            limits=limits,
        )

    return prompts


class _FirstFrame:
    """A stream, as prompts are held against it."""

    num_frames = 1

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height


def _digest_of(given: GivenPrompts | None) -> str:
    """Of what was given, mask files included."""
    digest = hashlib.sha256()
    if given is not None:
        digest.update(given.spec.model_dump_json().encode())
        for name in given.spec.mask_files:
            path = given.base_dir / name
            digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def _work_folder(request: WatchRequest) -> Path:
    place = str(request.destination_place)
    return request.work_path / "watch" / hashlib.sha256(place.encode()).hexdigest()[:16]


def _open_store(request: WatchRequest, name: str) -> ResultStore[Manifest]:
    place = request.destination_place
    at = place / name if isinstance(place, Path) else place.join(name)
    return open_result_store(at, request.credentials)
