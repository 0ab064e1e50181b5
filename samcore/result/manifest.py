"""`manifest.json`: what a published result holds, and what its files are called."""

import contextlib
import json
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from typing_extensions import TypeVar

from samcore.chunks.plan import plan_chunks
from samcore.disk.atomic import storage_error
from samcore.disk.files import FileRecord
from samcore.errors import InputError, StorageError
from samcore.result.published import CostRecord, FindingList, Peaks, StreamRecord, Timings
from samcore.result.records import RESULT_FORMAT, ChunkRecord, CorrectionRecord, Record, RunRecord
from samcore.video.info import VideoInfo

MANIFEST = "manifest.json"
PICTURES_FORMAT: Literal["pictures-1"] = "pictures-1"
"""Format of the manifests of results of pictures; those of videos have numbers."""
MASKS = "masks.parquet"
SEAMS = "seams.json"
FRAMES = "frames.parquet"
"""Of a stream: when each of its frames came, and what is missing before it."""
OVERLAY = "overlay.mp4"
MEMORY = "memory.safetensors"
"""What other videos can begin with, see `samcore.tracking.warm_start`."""
REPORT = "report.html"
EXPORTS = "exports"
"""Folder of a result in which each export has one of its own."""

MARK = re.compile(r"source-([0-9a-f]{16})\.json")
"""Name of a file of the result that tells which content of a bucket's video it is of, so that it
shows in a listing."""


class AnyManifest(Record):
    """`manifest.json`: the result is whole. Written last; without it there is no result.

    What all kinds of results have in common; each kind adds what there is to say of its own.
    """

    key: str
    """Names what was asked: equal keys give equal masks."""
    files: tuple[FileRecord, ...]
    """Everything published beside this manifest."""

    def is_same(self, other: "AnyManifest") -> bool:
        """Whether another run's result would say the same, so that it need not be published."""
        return self.key == other.key


class _Listing(BaseModel):
    """What a manifest of whatever kind or version says of its files."""

    model_config = ConfigDict(extra="ignore")

    files: tuple[FileRecord, ...] = ()


AnyM = TypeVar("AnyM", bound=AnyManifest)
M = TypeVar("M", bound=AnyManifest, default="Manifest")
"""The kind of manifest that a store reads and writes: that of a video's result, unless it is said.
"""


class Manifest(AnyManifest):
    """The manifest of what was tracked in one video; its key is `RunRecord.result_key`."""

    format: Literal[1] = RESULT_FORMAT
    request: RunRecord
    video: VideoInfo
    frames: int
    """Frames tracked."""
    objects: int | None = None
    """Objects in `objects.json`; None in results of versions that did not publish that."""
    seam_agreement: float | None
    """The least agreement of any seam; None with a single chunk or no overlap."""
    seams_identical: bool | None
    """Whether all seams are the same to the last bit; None like `seam_agreement`."""
    chunks: tuple[ChunkRecord, ...]
    backward_chunks: tuple[ChunkRecord, ...] = ()
    """Those of the backward pass, in the order in which they were tracked; see `samcore.run`."""
    min_agreement: float = 0.0
    """Mean IoU below which two chunks were said to disagree."""
    findings: FindingList | None = None
    """What a person should look at; None in results of versions that did not look."""
    stream: StreamRecord | None = None
    """Of a part of a stream: what became of its frames; None for a video."""
    timings: Timings
    peaks: Peaks
    cost: CostRecord | None = None
    """What it has cost; None in results of versions that did not count."""
    versions: dict[str, str]
    """Of Longtake and what it stands on."""
    finished_at: str
    """ISO 8601, UTC."""
    correction: CorrectionRecord | None = None
    """What was taken of a finished run that had other prompts; None if nothing."""

    @field_validator("request", mode="before")
    @classmethod
    def _with_its_plan(cls, record: Any) -> Any:
        """Read results of run records of format 1, too: two numbers gave their plan."""
        match record:
            case {
                "format": 1,
                "start": int(start),
                "stop": int(stop),
                "chunk_frames": int(length),
                "overlap": int(overlap),
                **rest,
            }:
                plan = plan_chunks(start, stop, chunk_frames=length, overlap=overlap)
                return {**rest, "start": start, "stop": stop, "chunks": plan}
        return record

    def is_same(self, other: AnyManifest) -> bool:
        """Whether it is of the same run, with objects named alike."""
        return isinstance(other, Manifest) and (self.key, self.request.objects) == (
            other.key,
            other.request.objects,
        )

    def check_shows_frames(self) -> None:
        """Refuse what wants to see the frames, where they are not kept.

        Raises:
            InputError: It is a result of a stream.
        """
        if self.stream is not None:
            raise InputError(
                f"this result is of a stream ({self.request.source}), whose frames are not kept: "
                f"its masks are in {MASKS}, times and gaps in {FRAMES}, and the formats that show "
                "no frames can be exported"
            )

    @property
    def num_objects(self) -> int:
        """How many objects were tracked."""
        return len(self.request.objects) if self.objects is None else self.objects

    @property
    def exports(self) -> tuple[str, ...]:
        """The formats that the masks were exported to as well, in the order of their names."""
        folders = (file.name.split("/") for file in self.files if "/" in file.name)
        return tuple(sorted({parts[1] for parts in folders if parts[0] == EXPORTS}))

    @property
    def quality_loss(self) -> bool:
        """Whether any frame was tracked with a smaller input of the model than asked."""
        return any(chunk.quality_loss for chunk in self.all_chunks)

    @property
    def all_chunks(self) -> tuple[ChunkRecord, ...]:
        """The chunks of both passes, numbered through."""
        return (*self.chunks, *self.backward_chunks)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest in a folder, to read its result and never to write it again: what a later
    version has added to it is passed over.

    Raises:
        InputError: There is no such folder, or no finished result in it.
        StorageError: The manifest is damaged, or of a version that is too far away.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give the one that was tracked to (-o)")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} holds no finished result: it has no {MANIFEST}; give the folder that was "
            "tracked to (-o), or run that command again to its end"
        ) from error
    except OSError as error:
        raise storage_error(path, error, doing="read") from error
    broken = StorageError(
        f"cannot read {path}: damaged, or written by another version of Longtake; track again"
    )
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise broken from error
    found = content.get("format") if isinstance(content, dict) else None
    if found == PICTURES_FORMAT:
        raise InputError(
            f"{folder} holds masks of pictures, made by `longtake image`, and not of a video: its "
            f"{REPORT}, {MASKS} and exports are as they are"
        )
    if isinstance(found, int) and found != RESULT_FORMAT:
        raise StorageError(
            f"cannot read {path}: a result in format {found}, this Longtake reads format "
            f"{RESULT_FORMAT}; use the version that wrote it"
        )
    try:
        return _without_unknown(content)
    except ValidationError as error:
        raise broken from error


def _without_unknown(content: Any) -> Manifest:
    """The manifest of what JSON says, without the names that this version does not know."""
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        unknown = [item["loc"] for item in error.errors() if item["type"] == "extra_forbidden"]
        if len(unknown) < error.error_count():
            raise
    for *places, name in unknown:
        part = content
        for place in places:
            part = part[place]
        del part[name]
    return Manifest.model_validate(content)


def published_key(destination: Path) -> str | None:
    """The key of the result that lies there, whole or not; None if none does.

    A manifest that this version cannot read has the key ""; no run replaces it unasked.
    """
    try:
        return manifest_key((destination / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def manifest_key(data: bytes) -> str:
    """The key that a manifest of whatever version names; "" if it names none."""
    try:
        content = json.loads(data)
    except ValueError:
        return ""
    key = content.get("key") if isinstance(content, dict) else None
    return key if isinstance(key, str) else ""


def listed_files(data: bytes) -> tuple[str, ...]:
    """The names of the files that a manifest of whatever kind lists; none if it is damaged."""
    with contextlib.suppress(ValidationError):
        return tuple(file.name for file in _Listing.model_validate_json(data).files)
    return ()


def with_files(manifest: AnyM, records: Iterable[FileRecord]) -> AnyM:
    """The manifest with more files, or files' new content; by name, those in folders last, in
    whatever order they came."""
    added = tuple(records)
    rest = without_files(manifest, {record.name for record in added})
    files = sorted((*rest.files, *added), key=lambda file: ("/" in file.name, file.name))
    return rest.model_copy(update={"files": tuple(files)})


def without_files(manifest: AnyM, names: Collection[str]) -> AnyM:
    """The manifest without these files, where it lists them."""
    kept = tuple(file for file in manifest.files if file.name not in names)
    return manifest.model_copy(update={"files": kept})
