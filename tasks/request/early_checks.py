"""What can be seen to be wrong with a request before a server starts or a frame is decoded.

Imports neither torch nor prefect: what is wrong should not take seconds to say.
"""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samcore.chunks.handoff import find_handoff
from samcore.chunks.plan import plan_chunks
from samcore.detectors.detector import is_of_model, look_up_detector
from samcore.disk.fetch import Progress
from samcore.disk.files import check_writable
from samcore.errors import InputError, StorageError
from samcore.exports import check_objects
from samcore.models.family import check_compiles, check_memory_pool, model_family
from samcore.models.known import KNOWN_MODELS, HubWeights
from samcore.models.registry import (
    HUB_FAMILY,
    ModelSpec,
    check_can_be_had,
    check_may_take_text,
    needs_download,
    resolve_model,
)
from samcore.models.transformers.names import PREFIX
from samcore.progress import reporter
from samcore.prompts.automatic import AutomaticPrompts
from samcore.prompts.direction import Direction, check_directions
from samcore.tracking.memory.policy import check_policy_fits
from samcore.video import ScanOfFile, VideoSource, check_source
from tasks.request.places import AsksForModel, AsksForPlace
from tasks.request.prompt_source import GivenPrompts, read_prompts
from tasks.request.segment_request import SegmentRequest
from tasks.request.sharing_out import shared_frames
from tasks.request.warm_source import GivenWarmStart, read_warm_start
from tasks.runners.runner import AskedRunner
from tasks.settings import load_settings
from tasks.sources.opened import check_recording, look_up_source, open_recording
from tasks.store.locations import S3Location, parse_location

if TYPE_CHECKING:
    from tasks.run.mirror import Mirror

READING = "reading the video"
"""What reports are of while a file is read for its digest."""
_LONG_READ_BYTES = 100_000_000
"""Of a smaller file there are no such reports: to read it takes a moment."""


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """What the checks read on their way."""

    prompts: GivenPrompts | None
    """None if objects are to be found, or the prompts were not looked at."""
    warm_start: GivenWarmStart | None
    """None if there is none, or it was not looked at."""
    model: ModelSpec | None
    """None if it is to be downloaded first: a long download waits until all else is right."""

    @property
    def directions(self) -> dict[int, Direction]:
        """Those that the prompts say of single objects, by id."""
        return {} if self.prompts is None else self.prompts.spec.directions


def check_request(
    request: SegmentRequest, *, cache_dir: Path, buckets: bool = True, with_source: bool = True
) -> CheckedRequest:
    """Check a request as far as that goes without the video's frames, cheap checks first.

    Args:
        request: What is asked.
        cache_dir: Folder for downloaded checkpoints.
        buckets: Whether buckets may be looked at; not, while their credentials lie in a block of
            a Prefect server that does not run yet.
        with_source: Whether the video is looked at, too; not, where one of many may be bad.

    Raises:
        SegmentationError: Anything that the person can put right, in one line.
    """
    limits = load_settings().limits
    # The whole length of a video that is not opened yet is not known; any will do for the options.
    plan_chunks(0, 1, chunk_frames=request.chunk_frames, overlap=shared_frames(request))
    given = read_prompts(request, limits) if buckets or not _in_bucket(request.prompts) else None
    if given is not None:
        ids = sorted(item.id for item in given.spec.objects)
        check_objects(request.formats, ids, given.spec.labels)
    check_directions(
        request.direction,
        {} if given is None else given.spec.directions,
        detects_throughout=request.looks_throughout,
        warm_start=request.warm_start is not None,
        exact_handoff=find_handoff(request.handoff).is_exact,
        shards=request.shards is not None,
        some_frames=request.every is not None or request.fps is not None,
    )
    warm = None
    if buckets or not _in_bucket(request.warm_start):
        warm = read_warm_start(request, limits)
    source = request.source_place
    places = (source, *request.further_places) if with_source else ()
    for place in places:
        if isinstance(place, Path):
            check_source(place, limits)
    _check_family(request)
    by_model = _detectors_of_model(request.automatic)
    if by_model:
        check_may_take_text(request.model, checkpoint=request.checkpoint is not None)
    model = None
    if request.checkpoint is not None or not needs_download(request.model, cache_dir):
        model = resolve_asked_model(
            request, cache_dir, compile=request.compile, automatic=request.automatic
        )
    elif request.model is not None:
        check_can_be_had(request.model, for_text=bool(by_model))
    AskedRunner.of(request.runner).check_installed()
    if request.automatic is not None:
        for one in request.automatic.each:
            look_up_detector(one)
    _check_policy(request, model)
    if warm is not None:
        warm.check(request, model)
    _check_places(request, buckets=buckets)
    for place in places:
        if not isinstance(place, Path) and (buckets or not isinstance(place, S3Location)):
            version = request.source_version if place is source else None
            look_up_source(place, version, credentials=request.credentials)
    if request.compile:
        from samcore.machine.compiling import check_can_compile  # late: it imports torch
        from samcore.machine.device import choose_compute

        check_can_compile(choose_compute(request.settings.device, "float32").device)
    return CheckedRequest(given, warm, model)


def _detectors_of_model(automatic: AutomaticPrompts | None) -> list[AutomaticPrompts]:
    """What is asked of detectors that are a part of the model that tracks."""
    each = () if automatic is None else automatic.each
    return [one for one in each if is_of_model(one)]


def _in_bucket(place: object) -> bool:
    return isinstance(place, str) and isinstance(parse_location(place), S3Location)


def _check_family(request: SegmentRequest) -> None:
    """Hold what only some families can against that of the model."""
    named = next((one.family for one in KNOWN_MODELS if one.name == request.model), "sam2")
    family = HUB_FAMILY if (request.model or "").startswith(PREFIX) else named
    check_memory_pool(family, request.settings.memory_pool)
    check_compiles(family, compile=request.compile, plain_engine=request.plain_engine)


def _check_policy(request: SegmentRequest, model: ModelSpec | None) -> None:
    """Hold the memory policy's constants against the model, of which its configuration is here."""
    settings = request.settings
    here = (one for one in KNOWN_MODELS if not isinstance(one.weights, HubWeights))
    found = model or next((one for one in here if one.name == request.model), None)
    if found is None or not settings.memory_policy_options:
        return
    num_maskmem = model_family(found.family).num_maskmem(found.config)
    if num_maskmem is not None:
        check_policy_fits(settings.memory_policy, settings.memory_policy_options, num_maskmem)


def resolve_asked_model(
    request: AsksForModel,
    cache_dir: Path,
    on_download: Progress | None = None,
    *,
    compile: bool = False,
    automatic: AutomaticPrompts | None = None,
) -> ModelSpec:
    """The one exact model that a request asks for, downloaded where need be.

    Args:
        request: Names the model.
        cache_dir: Folder for downloads.
        on_download: Told of a download.
        compile: Whether it is to be compiled.
        automatic: What the model is to find; it is held against that.

    Raises:
        InputError: The options do not go together, or the model finds no texts.
        ModelError: Nobody knows the model, or its files cannot be had or used.
        StorageError: A download cannot be kept.
    """
    model = resolve_model(
        request.model,
        checkpoint=None if request.checkpoint is None else Path(request.checkpoint).expanduser(),
        config=request.config,
        image_size=request.image_size,
        plain_engine=request.plain_engine,
        compile=compile,
        cache_dir=cache_dir,
        on_progress=on_download,
    )
    for one in _detectors_of_model(automatic):
        look_up_detector(one, model)
    if request.checkpoint is not None or (request.model or "").startswith(PREFIX):
        from samcore.models.loader import check_model  # late: it imports torch

        check_model(model)
    return model


def open_asked_video(
    request: SegmentRequest,
    *,
    version: str | None = None,
    mirror: "Mirror | None" = None,
    so_far: ScanOfFile | None = None,
) -> VideoSource:
    """Open the video that a request names, and report how far that is.

    Args:
        request: What is asked.
        version: A bucket's name for the version that is wanted; None is the present one.
        mirror: Where the index is looked for, and kept for other machines.
        so_far: As in `samcore.video.open_video`.

    Raises:
        InputError: There is nothing to stretch, or the video is too large.
        VideoError: It cannot be read.
        StorageError: It cannot be fetched, or the index not be written.
    """
    check_recording(
        request.source_place,
        request.further_places,
        credentials=request.credentials,
        version=version,
    )
    return open_recording(
        request.source_place,
        request.further_places,
        request.work_path,
        credentials=request.credentials,
        version=version,
        mirror=mirror,
        on_read=_report_reading,
        on_progress=reporter("scanning the video", "frames"),
        on_fetch=reporter("downloading the video", "MB", scale=1_000_000),
        stretch=request.settings.stretch,
        so_far=so_far,
    )


def _report_reading(done: int, total: int | None) -> None:
    if total is not None and total >= _LONG_READ_BYTES:
        reporter(READING, "MB", scale=1_000_000)(done, total)


def _check_places(request: SegmentRequest, *, buckets: bool) -> None:
    """Try the places before hours of work go into them."""
    source, destination = request.source_place, request.destination_place
    if source == destination and isinstance(source, Path) and source.is_dir():
        raise InputError(
            f"the masks would go into the folder of frames {source}: choose another one with -o"
        )
    check_places(request, buckets=buckets)
    if request.memory_log_path is not None:
        if request.memory_log_path.is_dir():
            raise InputError(f"the memory log {request.memory_log_path} is a folder: name a file")
        check_writable(request.memory_log_path.parent)


def check_places(request: AsksForPlace, *, buckets: bool) -> None:
    """Write to the destination, and where work goes, once.

    Args:
        request: What is asked.
        buckets: Whether buckets may be looked at.

    Raises:
        StorageError: One of them cannot be written to.
    """
    if isinstance(request.destination_place, Path):
        check_writable(request.destination_place)
    elif buckets:
        _check_bucket(request.destination_place, request.credentials)
    check_writable(request.work_path)


def _check_bucket(prefix: S3Location, credentials: str | None) -> None:
    """Write below a destination once, before hours of work go into it.

    Raises:
        InputError: No such credentials.
        StorageError: No such bucket, or no permission to write to it or to delete again.
    """
    from tasks.store.object_store import shared_store  # late, like all of boto3

    store = shared_store(credentials)
    probe = prefix.join(f".longtake/writable-{uuid.uuid4().hex[:8]}")
    try:
        store.put_bytes(probe, b"x")
        store.delete(probe)
    except StorageError as error:
        # The same line, about the destination: nobody knows of that object.
        raise type(error)(str(error).replace(probe.uri, prefix.uri)) from error


def check_frames(request: SegmentRequest, num_frames: int) -> tuple[int, int]:
    """The frames [start, stop) to track in a video of `num_frames`.

    Raises:
        InputError: They are not in the video.
    """
    stop = num_frames if request.stop is None else request.stop
    if not request.start < stop <= num_frames:
        raise InputError(
            f"frames [{request.start}, {stop}) are not in the video: wanted "
            f"0 <= start < stop <= {num_frames}"
        )
    return request.start, stop
