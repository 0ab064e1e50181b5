"""From finished shards to the files of a result, whole, before any of them is published."""

import csv
import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from samcore.disk.atomic import storage_errors
from samcore.disk.files import FileRecord, fsync_and_record, make_folder, write_atomic
from samcore.errors import LostWorkError
from samcore.exports.folder import files_in
from samcore.picture_runs.drawn import read_drawn
from samcore.picture_runs.folder import PictureRunFolder
from samcore.picture_runs.formats import PICTURE_FORMATS
from samcore.picture_runs.records import (
    MAX_BROKEN,
    OVERLAYS,
    PICTURES,
    BrokenPicture,
    PictureEntry,
    PictureManifest,
    PictureRecord,
    ShardRecord,
)
from samcore.picture_runs.table import SCHEMA
from samcore.picture_runs.writers import PictureSource
from samcore.progress import reporter
from samcore.report.sheet import SheetFacts, SheetPicture, write_sheet
from samcore.result.manifest import EXPORTS, MASKS, REPORT
from samcore.result.store import ResultStore

_COLUMNS = ("picture", "name", "path", "width", "height", "masks", "error", "notes")


@dataclass(frozen=True, slots=True)
class JoinedResult:
    """A result that can be published."""

    files: dict[str, Path]
    """Where each file lies now, by its name in the result."""
    manifest: PictureManifest


def join_result(
    folder: PictureRunFolder,
    staging: Path,
    *,
    versions: dict[str, str],
    finished_at: str,
) -> JoinedResult:
    """Put the result of all shards together. Only with the run's lock held.

    Args:
        folder: The run's.
        staging: Folder to write in; what is there is removed.
        versions: For the manifest.
        finished_at: Likewise.

    Raises:
        LostWorkError: A shard is not there.
        StorageError: The disk is full, or a shard's file is damaged.
    """
    shutil.rmtree(staging, ignore_errors=True)
    make_folder(staging)
    record = folder.record()
    shards = [_finished(folder, shard.index) for shard in record.shards]
    entries = folder.entries(0, record.count)
    pictures = [picture for shard in shards for picture in shard.pictures]
    _join_masks(folder, shards, staging / MASKS)
    write_atomic(staging / PICTURES, _csv_of(entries, pictures))
    sheet = _unpack(folder, shards, entries, staging)
    broken = [(entry, one) for entry, one in zip(entries, pictures, strict=True) if one.error]
    manifest = PictureManifest(
        key=record.result_key,
        request=record,
        pictures=record.count,
        masks=sum(one.masks for one in pictures),
        broken=len(broken),
        first_broken=tuple(
            BrokenPicture(name=entry.name, place=entry.place, error=one.error)
            for entry, one in broken[:MAX_BROKEN]
        ),
        seconds=sum(shard.seconds for shard in shards),
        degradations=tuple(step for shard in shards for step in shard.degradations),
        files=(),
        versions=versions,
        finished_at=finished_at,
    )
    shown = [
        SheetPicture(
            name=entries[at].name,
            link=f"{OVERLAYS}/{entries[at].stem}.jpg" if record.overlay else "",
            width=one.width,
            height=one.height,
            masks=one.masks,
            jpeg=sheet[at],
        )
        for at, one in enumerate(pictures)
        if at in sheet
    ]
    write_sheet(_facts(manifest, shards), shown, staging / REPORT)
    names = [path.as_posix() for path in files_in(staging)]
    records = [_recorded(staging / name, name) for name in names]
    records.sort(key=lambda file: ("/" in file.name, file.name))
    return JoinedResult(
        {name: staging / name for name in names},
        manifest.model_copy(update={"files": tuple(records)}),
    )


def _finished(folder: PictureRunFolder, index: int) -> ShardRecord:
    shard = folder.finished_shard(index)
    if shard is None:
        raise LostWorkError(f"shard {index} in {folder.path} is gone or damaged; run again")
    return shard


def _join_masks(folder: PictureRunFolder, shards: Sequence[ShardRecord], out: Path) -> None:
    report = reporter("joining the masks", "shards")
    with storage_errors(out, "write"), pq.ParquetWriter(out, SCHEMA, compression="zstd") as writer:
        for number, shard in enumerate(shards, 1):
            with pq.ParquetFile(folder.masks_path(shard.index)) as part:
                for group in range(part.num_row_groups):
                    writer.write_table(part.read_row_group(group))
            report(number, len(shards))


def _csv_of(entries: Sequence[PictureEntry], pictures: Sequence[PictureRecord]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for entry, one in zip(entries, pictures, strict=True):
        size = (one.width or "", one.height or "")
        said = (one.masks, one.error, "; ".join(one.notes))
        table.writerow((one.index, entry.name, entry.place, *size, *said))
    return text.getvalue().encode("utf-8", "surrogateescape")


def _unpack(
    folder: PictureRunFolder,
    shards: Sequence[ShardRecord],
    entries: Sequence[PictureEntry],
    staging: Path,
) -> dict[int, bytes]:
    """Write the drawn pictures; the small ones, by their places, are given."""
    sheet: dict[int, bytes] = {}
    report = reporter("writing the overlays", "shards")
    for number, shard in enumerate(shards, 1):
        for kind, index, data in read_drawn(folder.drawn_path(shard.index)):
            if kind == "sheet":
                sheet[index] = data
                continue
            path = staging / OVERLAYS / f"{entries[index].stem}.jpg"
            make_folder(path.parent)
            with storage_errors(path, "write"):
                path.write_bytes(data)
        report(number, len(shards))
    return sheet


def _facts(manifest: PictureManifest, shards: Sequence[ShardRecord]) -> SheetFacts:
    asked = manifest.request
    return SheetFacts(
        title=", ".join(asked.asked[:3]) + (", ..." if len(asked.asked) > 3 else ""),
        pictures=manifest.pictures,
        masks=manifest.masks,
        broken=tuple((one.name, one.error) for one in manifest.first_broken),
        num_broken=manifest.broken,
        seconds=manifest.seconds,
        rss_bytes=max((shard.peak_rss_bytes for shard in shards), default=0),
        vram_bytes=max((shard.peak_vram_bytes or 0 for shard in shards), default=0),
        degradations=manifest.degradations,
        facts=(
            ("model", f"{asked.model.name}, {asked.model.image_size} px"),
            ("device", f"{asked.device}, {asked.dtype}"),
            ("asked", asked.ask.in_words()),
            ("shards", str(len(asked.shards))),
            ("finished", manifest.finished_at),
            *sorted(manifest.versions.items()),
        ),
    )


def add_formats(
    store: ResultStore[PictureManifest],
    manifest: PictureManifest,
    entries: Sequence[PictureEntry],
    names: Sequence[str],
) -> PictureManifest:
    """Add formats to a published result, those that are not there yet.

    Args:
        store: Where the result is.
        manifest: Of the result.
        entries: Its list.
        names: Of `PICTURE_FORMATS`.

    Returns:
        The manifest with their files.

    Raises:
        StorageError: The result is gone, or cannot be written to.
    """
    wanted = [name for name in dict.fromkeys(names) if name not in manifest.exports]
    if not wanted:
        return manifest
    pictures = _read_csv(store.fetch(PICTURES))
    source = PictureSource(store.fetch(MASKS), entries, pictures)
    with store.workspace() as folder:
        for item in map(PICTURE_FORMATS.get, wanted):
            make_folder(folder / item.name)
            item.load()(source, folder / item.name, reporter(f"writing {item.name}", "pictures"))
        files = {f"{EXPORTS}/{path.as_posix()}": folder / path for path in files_in(folder)}
        return store.add_files(files, manifest.key)


def _read_csv(path: Path) -> list[PictureRecord]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return [
            PictureRecord(
                index=int(row["picture"]),
                width=int(row["width"] or 0),
                height=int(row["height"] or 0),
                masks=int(row["masks"]),
                error=row["error"],
            )
            for row in csv.DictReader(file)
        ]


def _recorded(path: Path, name: str) -> FileRecord:
    return fsync_and_record(path).model_copy(update={"name": name})
