"""A published result's masks in other formats, within the result or beside it."""

import tarfile
from collections.abc import Callable
from pathlib import Path

from samcore.errors import StorageError
from samcore.exports import FORMATS, write_export
from samcore.exports.folder import files_in
from samcore.exports.source import ExportSource
from samcore.video import VideoSource
from tasks.disk.files import storage_errors
from tasks.progress.steps import reporter
from tasks.results.manifest import MASKS
from tasks.results.open import ResultStore
from tasks.run.records import EXPORTS, Manifest


def masklets_of(manifest: Manifest, table: Path) -> ExportSource:
    """What writers need to know of a result.

    Args:
        manifest: Of the result.
        table: Its masks on this machine.
    """
    record = manifest.request
    return ExportSource(
        table=table,
        video=manifest.video,
        start=record.start,
        stop=record.stop,
        object_ids=tuple(item.id for item in record.objects),
        labels={item.id: item.label for item in record.objects if item.label},
    )


def add_export(
    store: ResultStore, name: str, *, key: str, open_video: Callable[[], VideoSource]
) -> str:
    """Write a result's masks in one format into the result, if they are not there; the address.

    A format with a file for each frame becomes one tar file: a manifest that lists every file
    would grow with the video.

    Args:
        store: Where the result is.
        name: The format.
        key: Of the run whose result it is.
        open_video: Called for a format that needs the video.

    Raises:
        InputError: The format cannot hold these objects.
        StorageError: The result is gone, or cannot be written to.
    """
    manifest = store.read_manifest(key)
    if manifest is None:
        raise StorageError(f"the result in {store.location} is gone or damaged; run again")
    if name not in manifest.exports:
        with store.workspace() as folder:
            new = folder / name
            write_export(
                masklets_of(manifest, store.fetch(MASKS)),
                name,
                new,
                video=open_video() if FORMATS.get(name).needs_video else None,
                on_progress=reporter(f"writing {name}"),
            )
            if FORMATS.get(name).file_per_frame:
                tar = folder / f"{name}.tar"
                with storage_errors(tar, "write"):
                    _pack(new, tar)
                paths = {tar.name: tar}
            else:
                paths = {file.as_posix(): new / file for file in files_in(new)}
            store.add_files({f"{EXPORTS}/{name}/{file}": paths[file] for file in paths}, key)
    return store.address(f"{EXPORTS}/{name}")


def _pack(folder: Path, tar: Path) -> None:
    """One tar file of many, which it removes; of equal files it is the same bytes, whoever packs
    them and when."""
    # Not by TarFile, which remembers every member.
    with tar.open("wb") as out:
        for file in files_in(folder):
            path = folder / file
            member = tarfile.TarInfo(file.as_posix())
            member.size = path.stat().st_size
            out.write(member.tobuf(tarfile.PAX_FORMAT))
            out.write(path.read_bytes())
            out.write(bytes(-member.size % tarfile.BLOCKSIZE))
            path.unlink()
        out.write(bytes(2 * tarfile.BLOCKSIZE))
