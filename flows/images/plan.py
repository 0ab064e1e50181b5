"""From what a person asks of pictures to one exact run; what can be wrong is said here."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.images.request import ImagesRequest, default_text_detector
from samcore.chunks.plan import plan_chunks
from samcore.detectors.detector import fetch_detector, is_of_model, look_up_detector
from samcore.disk.files import FileRecord
from samcore.errors import InputError
from samcore.models.registry import ModelSpec, check_may_take_text
from samcore.picture_runs.folder import PictureRunFolder, list_content
from samcore.picture_runs.prompts import anchored, check_common_masks, mask_marks, picture_prompts
from samcore.picture_runs.records import (
    PictureAsk,
    PictureEntry,
    PictureManifest,
    PictureRunRecord,
    entries_digest,
)
from samcore.progress import counted, reporter
from samcore.prompts.automatic import AutomaticPrompts
from samcore.prompts.file import PromptFile
from samcore.sources.listing import Bucket, SourceFile, SourceList, list_sources
from samcore.sources.names import output_stems
from samcore.text import is_utf8
from tasks.request.begun import as_begun
from tasks.request.early_checks import check_places, resolve_asked_model
from tasks.results.open import open_result_store
from tasks.run.refs import RunRef, refuse_result
from tasks.settings import load_settings
from tasks.sources.listing import ListedBuckets
from tasks.store.locations import S3Location, parse_location

if TYPE_CHECKING:
    from samcore.machine.device import Compute

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
)
"""What is taken for a picture in folders and prefixes, in small letters."""
_SHARD = {"cpu": 32, "cuda": 512, "mps": 128}
_MOST_OF_A_SHARD = 512
_FULL_SIZE = 1024
_NOT_UTF8 = "its name is not UTF-8: rename the file"


@dataclass(frozen=True, slots=True)
class AskedPictures:
    """What is asked of which pictures, checked without the model."""

    entries: tuple[PictureEntry, ...]
    """The list."""
    ask: PictureAsk
    """What to do with pictures of which the list says nothing."""
    repeated: int
    """How often the list named a picture again."""
    left_out: int
    """Files of folders and prefixes that are no pictures."""


@dataclass(frozen=True, slots=True)
class ImagesRun:
    """A run over pictures, for all processes that are at it."""

    record: PictureRunRecord
    folder: PictureRunFolder
    ref: RunRef

    @classmethod
    def of(cls, ref: RunRef) -> "ImagesRun":
        """The run that a process is told of; it is laid out.

        Raises:
            LostWorkError: It is not.
        """
        folder = PictureRunFolder.from_ref(ref)
        return ImagesRun(folder.record(), folder, ref)

    def published(self) -> PictureManifest | None:
        """The result that makes this run needless: whole, and with the overlays that are asked
        for; else None.

        Raises:
            StorageError: The destination cannot be read.
        """
        store = open_result_store(self.ref, kind=PictureManifest)
        found = store.read_manifest(self.record.result_key)
        return None if found is None or found.request.overlay < self.record.overlay else found


@dataclass(frozen=True, slots=True)
class PlannedImages(ImagesRun):
    """A run over pictures that can be carried out."""

    entries: tuple[PictureEntry, ...]
    devices: tuple[str, ...]
    """A process for each; the first one is that of the record."""

    def lay_out(self) -> PictureManifest | None:
        """Write down in the run's folder what is asked, unless another process has published its
        result while this one waited for the folder; that result.

        Raises:
            StorageError: The folder cannot be written to, or the destination not be read.
        """
        with self.folder.lock():
            found = self.published()
            if found is None:
                self.folder.create(self.record, self.entries)
            return found


def read_asked(request: ImagesRequest) -> AskedPictures:
    """Find the pictures, and read what is said of them. Imports neither torch nor prefect.

    Raises:
        InputError: There are none, a table or a prompt is wrong, or nothing says what to segment.
        StorageError: A bucket does not answer, or refuses; or the destination cannot be written to.
    """
    place = request.destination_place
    bucket = ListedBuckets(request.credentials)
    common = _common_prompts(request, bucket)
    if isinstance(place, Path) and place.is_dir():
        for text in request.pictures:
            if "://" not in text and Path(text).expanduser().absolute() == place:
                raise InputError(
                    f"the masks would go into the folder of pictures {text}: choose another one "
                    "with -o"
                )
    found = list_sources(
        request.pictures,
        kind="pictures",
        suffixes=PICTURE_SUFFIXES,
        bucket=bucket,
        leave_out=place if isinstance(place, Path) else None,
    )
    entries = _entries(found)
    ask = PictureAsk(
        prompts=common,
        everything=request.everything,
        detector=request.detector,
        text_detector=_text_detector(request, entries),
    )
    unsaid = [one for one in entries if one.prompts is None and not one.texts]
    if ask.is_empty and unsaid:
        which = unsaid[0].place + (f" and {len(unsaid) - 1} more" if len(unsaid) > 1 else "")
        raise InputError(
            f"nothing says what to segment on {which}: give --box, --point, --mask, --prompts "
            "FILE, --everything, --text WORDS or --detect NAME, or a table with text or prompts"
        )
    for detector in ask.detectors:
        look_up_detector(detector)
        if is_of_model(detector):
            check_may_take_text(request.model, checkpoint=request.checkpoint is not None)
    check_places(request, buckets=True)
    return AskedPictures(entries, ask, found.repeated, found.left_out)


def plan_images(request: ImagesRequest, asked: AskedPictures | None = None) -> PlannedImages:
    """Choose what the request leaves open, and cut the list into shards.

    Args:
        request: What is asked.
        asked: What `read_asked` gave, if it was called already.

    Raises:
        SegmentationError: Anything that the person can put right, in one line.
    """
    asked = asked or read_asked(request)
    from samcore.machine.device import choose_compute, choose_devices  # late: they import torch

    cache_dir = load_settings().cache_dir
    devices = choose_devices(request.device)  # says what is wrong before a download
    model = resolve_asked_model(
        request, cache_dir, reporter("downloading the model", "MB", scale=1_000_000)
    )
    for detector in asked.ask.detectors:
        look_up_detector(detector, model)
    compute = choose_compute(devices[0], request.dtype, model)
    content = list_content(asked.entries)
    record = PictureRunRecord(
        asked=request.pictures,
        count=len(asked.entries),
        entries_digest=entries_digest(asked.entries),
        entries=FileRecord(
            name="list.jsonl", size=len(content), sha256=hashlib.sha256(content).hexdigest()
        ),
        ask=asked.ask,
        ask_digest=_ask_digest(asked.ask, model, cache_dir),
        model=model,
        device=str(compute.device),
        dtype=compute.dtype_name,
        overlay=request.overlay,
        shards=plan_chunks(
            0,
            len(asked.entries),
            chunk_frames=request.shard_pictures or shard_size(compute, model.image_size),
            overlap=0,
        ),
    )
    destination = request.destination_place
    found = open_result_store(destination, request.credentials).published_key()
    if request.dtype == "auto":
        record = as_begun(
            record,
            lambda dtype: record.model_copy(update={"dtype": dtype}),
            request,
            compute=compute,
            published=found,
        )
    for device in dict.fromkeys(devices[1:]):
        choose_compute(device, record.dtype)  # says if it cannot
    refuse_result(destination, found, record.result_key, force=request.force)
    folder = PictureRunFolder.for_key(request.work_path, record.work_key)
    ref = RunRef(
        folder=str(folder.path),
        destination=str(destination),
        credentials=request.credentials,
        key=record.result_key,
        video=request.name,
    )
    return PlannedImages(record, folder, ref, asked.entries, devices)


def describe_list(asked: AskedPictures) -> str:
    """What there is to say of a list, for people."""
    said = counted(len(asked.entries), "picture")
    if asked.repeated:
        said += f", {counted(asked.repeated, 'repetition')} left out"
    if asked.left_out:
        said += f", {counted(asked.left_out, 'other file')} passed over"
    return said


def shard_size(compute: "Compute", image_size: int) -> int:
    """Pictures of a shard: fewer where each takes longer, so that a shard takes some minutes.

    The size goes by the device and the model's input alone: the same command finds its shards
    again, whatever else the machine does. How many pictures are worked on at once goes by what is
    free.
    """
    pictures = _SHARD.get(compute.device.type, 32) * (_FULL_SIZE / image_size) ** 2
    return max(1, min(_MOST_OF_A_SHARD, round(pictures)))


def _common_prompts(request: ImagesRequest, bucket: Bucket) -> PromptFile | None:
    given = request.prompts
    if given is None:
        return None
    limit = load_settings().limits.max_prompts_bytes
    if isinstance(given, PromptFile):
        spec, base = picture_prompts(given.model_dump(exclude_defaults=True)), Path.cwd()
        return _with_masks(anchored(spec, base, anywhere=request.any_mask_path))
    place = parse_location(given)
    if isinstance(place, S3Location):
        return _without_files(_named(given, bucket.read(given, limit)), given)
    if not isinstance(place, Path):
        raise InputError(f"prompts: wanted a path or s3://bucket/key, got {place}")
    path = place.expanduser().absolute()
    return _with_masks(anchored(_prompts_in(path), path.parent, anywhere=request.any_mask_path))


def _with_masks(spec: PromptFile) -> PromptFile:
    check_common_masks(spec, load_settings().limits)
    return spec


def _prompts_in(path: Path) -> PromptFile:
    limits = load_settings().limits
    try:
        if not path.is_file():
            raise InputError(f"there is no prompts file {path}")
        limits.check_prompts_bytes(path.stat().st_size, name=f"prompts file {path}")
        return _named(str(path), path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read prompts file {path}: {error.strerror}") from error


def _named(name: str, data: bytes) -> PromptFile:
    try:
        return picture_prompts(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"prompts file {name} is not UTF-8 text, at byte {error.start}") from error
    except InputError as error:
        raise InputError(f"prompts file {name}: {error}") from error


def _without_files(spec: PromptFile, where: str) -> PromptFile:
    if spec.mask_files:
        raise InputError(
            f"{where}: masks of prompts in a bucket are given as run lengths, "
            '{"size": [h, w], "counts": "..."}; got the file '
            f"{spec.mask_files[0]}"
        )
    return spec


def _entries(found: SourceList) -> tuple[PictureEntry, ...]:
    stems = output_stems([file.name for file in found.files])
    entries: list[PictureEntry] = []
    for file, stem in zip(found.files, stems, strict=True):
        prompts = _row_prompts(file)
        marks = [file.mark, *(() if prompts is None else mask_marks(prompts))]
        can_be_written = is_utf8(file.place)
        entries.append(
            PictureEntry(
                place=file.place if can_be_written else ascii(file.place)[1:-1],
                fault="" if can_be_written else _NOT_UTF8,
                mark=" ".join(marks),
                name=file.name,
                stem=stem,
                texts=file.said.texts,
                prompts=prompts,
            )
        )
    return tuple(entries)


def _row_prompts(file: SourceFile) -> PromptFile | None:
    said = file.said
    if not said.prompts:
        if said.labels:
            raise InputError(f"{said.where}: labels name the objects of prompts: give these, too")
        return None
    table = said.where.rpartition(", line ")[0]
    try:
        if said.prompts[:1] in "[{":
            spec = picture_prompts(said.prompts, said.labels)
            if table.startswith("s3://"):
                return _without_files(spec, table)
            return anchored(spec, Path(table).parent, anywhere=False)
        if "://" in table or "://" in said.prompts:
            raise InputError("prompts in a bucket's table stand in it as JSON, not in files")
        path = Path(table).parent / said.prompts
        named = _prompts_in(path).model_dump(exclude_defaults=True)
        return anchored(picture_prompts(named, said.labels), path.parent, anywhere=False)
    except InputError as error:
        raise InputError(f"{said.where}: {error}") from error


def _text_detector(
    request: ImagesRequest, entries: Sequence[PictureEntry]
) -> AutomaticPrompts | None:
    """What looks for the texts of the list, if it has any."""
    first = next((entry.texts for entry in entries if entry.texts), None)
    if first is None:
        return None
    given = request.detector
    if given is not None:
        asked = given.model_dump(exclude_unset=True)
        return AutomaticPrompts.model_validate({**asked, "text": first[:1]})
    return AutomaticPrompts(detector=default_text_detector(request.model), text=first[:1])


def _ask_digest(ask: PictureAsk, model: ModelSpec, cache_dir: Path) -> str:
    identity: list[object] = [ask.model_dump(mode="json", exclude_defaults=True)]
    if ask.prompts is not None:
        identity.append(mask_marks(ask.prompts))
    report = reporter("downloading the detector", "MB", scale=1_000_000)
    for detector in ask.detectors:
        identity.append(
            fetch_detector(detector, model=model, cache_dir=cache_dir, on_progress=report)
        )
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
