"""What is made from a published result's masks: overlay, report, other formats."""

import tarfile
from collections.abc import Callable
from pathlib import Path

from samcore.errors import StorageError
from samcore.exports import FORMATS, write_export
from samcore.exports.folder import files_in
from samcore.exports.source import ExportSource
from samcore.overlay import write_overlay
from samcore.prompts.prompt import Prompt
from samcore.video import VideoSource
from tasks.disk.files import storage_errors
from tasks.progress.steps import reporter
from tasks.results.manifest import MASKS, OVERLAY, REPORT, SEAMS
from tasks.results.open import ResultStore
from tasks.results.report_facts import report_facts
from tasks.run.records import EXPORTS, Manifest, SeamList

OVERLAY_NAME = "overlay"
REPORT_NAME = "report"
"""What these outputs are called; the others have the names of their formats."""


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


class Outputs:
    """Adds to a published result what can be made from its masks, each thing once."""

    def __init__(self, store: ResultStore, key: str, open_video: Callable[[], VideoSource]) -> None:
        """Look at nothing yet.

        Args:
            store: Where the result is.
            key: Of the run whose result it is.
            open_video: Called for what shows the video's frames.
        """
        self._store = store
        self._key = key
        self._open_video = open_video

    def add_overlay(self) -> str:
        """Add the video with the masks drawn in; its address.

        Raises:
            VideoError: The video cannot be read.
            StorageError: The result is gone, or cannot be written to.
        """
        return self._add(OVERLAY, self._draw_overlay)

    def add_export(self, name: str) -> str:
        """Add the masks in one format; the address of its folder.

        A format with a file for each frame becomes one tar file: a manifest that lists every file
        would grow with the video.

        Raises:
            InputError: The format cannot hold these objects.
            VideoError: The video cannot be read.
            StorageError: The result is gone, or cannot be written to.
        """
        return self._add(f"{EXPORTS}/{name}", lambda *at: self._write_format(name, *at))

    def add_report(self, prompts: tuple[Prompt, ...], *, memory_log: Path | None) -> str:
        """Add the report; its address.

        Args:
            prompts: Those that the masks were tracked from.
            memory_log: Of the run, if there is one.

        Raises:
            VideoError: The video cannot be read.
            StorageError: The result is gone, or cannot be written to.
        """

        def write(manifest: Manifest, folder: Path) -> dict[str, Path]:
            # Late: plotly takes half a second to import, and results without a report do without.
            from samcore.report import page

            seams = SeamList.model_validate_json(self._store.fetch(SEAMS).read_bytes()).seams
            page.write_report(
                report_facts(manifest, seams, prompts=prompts, memory_log=memory_log),
                self._store.fetch(MASKS),
                self._open_video(),
                folder / REPORT,
                on_progress=reporter("writing the report", "frames"),
            )
            return {REPORT: folder / REPORT}

        return self._add(REPORT, write)

    def _add(self, place: str, write: Callable[[Manifest, Path], dict[str, Path]]) -> str:
        """Have `write` make files in a folder and add them, unless something is at `place`."""
        manifest = self._store.listed(self._key)
        if manifest is None:
            raise StorageError(
                f"the result in {self._store.location} is gone or damaged; run again"
            )
        listed = {file.name for file in manifest.files}
        if place not in listed and not any(name.startswith(f"{place}/") for name in listed):
            with self._store.workspace() as folder:
                self._store.add_files(write(manifest, folder), self._key)
        return self._store.address(place)

    def _draw_overlay(self, manifest: Manifest, folder: Path) -> dict[str, Path]:
        record = manifest.request
        write_overlay(
            self._open_video(),
            self._store.fetch(MASKS),
            folder / OVERLAY,
            labels={item.id: item.label for item in record.objects if item.label},
            start=record.start,
            stop=record.stop,
            on_progress=reporter("drawing the overlay", "frames"),
        )
        return {OVERLAY: folder / OVERLAY}

    def _write_format(self, name: str, manifest: Manifest, folder: Path) -> dict[str, Path]:
        new = folder / name
        chosen = FORMATS.get(name)
        write_export(
            masklets_of(manifest, self._store.fetch(MASKS)),
            name,
            new,
            video=self._open_video() if chosen.needs_video else None,
            on_progress=reporter(f"writing {name}"),
        )
        paths = {file.as_posix(): new / file for file in files_in(new)}
        if chosen.file_per_frame:
            tar = folder / f"{name}.tar"
            with storage_errors(tar, "write"):
                _pack(new, tar)
            paths = {tar.name: tar}
        return {f"{EXPORTS}/{name}/{file}": path for file, path in paths.items()}


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
