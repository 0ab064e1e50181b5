"""What is made from a published result's masks: overlay, report, other formats."""

import contextlib
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from samcore.beside import Beside
from samcore.disk.files import storage_errors
from samcore.errors import StorageError
from samcore.exports import FORMATS, view_export, write_export
from samcore.exports.folder import files_in
from samcore.exports.source import ExportSource
from samcore.failures import Failures
from samcore.progress import reporter
from samcore.prompts.prompt import Prompt
from samcore.report.of_manifest import report_facts
from samcore.result.manifest import EXPORTS, MASKS, OVERLAY, REPORT, SEAMS, Manifest
from samcore.result.published import SeamList
from samcore.video import VideoSource
from samcore.video.tracked import skipping
from samcore.video.viewers import Show, Viewer, show_frames
from tasks.results.open import ResultStore

OVERLAY_NAME = "overlay"
REPORT_NAME = "report"
"""What these outputs are called; the others have the names of their formats."""


def place_of(name: str) -> str:
    """Where an output of a run is in its result: a file, or a format's folder.

    Args:
        name: `overlay`, `report` or the name of another format.
    """
    return {OVERLAY_NAME: OVERLAY, REPORT_NAME: REPORT}.get(name, f"{EXPORTS}/{name}")


class Outputs:
    """Adds to a published result what can be made from its masks, each thing once."""

    def __init__(
        self,
        store: ResultStore,
        key: str,
        open_video: Callable[[], VideoSource],
        *,
        prompts: Callable[[], tuple[Prompt, ...]] = tuple,
        memory_log: Path | None = None,
    ) -> None:
        """Look at nothing yet.

        Args:
            store: Where the result is.
            key: Of the run whose result it is.
            open_video: Called once if anything shows the video's frames.
            prompts: For the report: gives those that the masks were tracked from.
            memory_log: For the report: of the run, if there is one.
        """
        self._store = store
        self._key = key
        self._open_video = open_video
        self._prompts = prompts
        self._memory_log = memory_log
        self._lock = threading.Lock()
        """For the store, whose copies of a result's files are one thread's at a time."""

    def add(self, *places: str) -> None:
        """Add what is not there yet, side by side. All that shows frames is made in one pass over
        the video; what does not is written meanwhile.

        One that fails does not stop the others; what failed is raised at the end. A format with a
        file for each frame becomes one tar file: a manifest that lists every file would grow with
        the video.

        Args:
            places: As `place_of` gives them.

        Raises:
            InputError: A format cannot hold these objects.
            VideoError: The video cannot be read.
            StorageError: The result is gone, or cannot be written to.
        """
        manifest = self._store.listed(self._key)
        if manifest is None:
            raise StorageError(
                f"the result in {self._store.location} is gone or damaged; run again"
            )
        present = {file.name for file in manifest.files}
        present |= {f"{EXPORTS}/{name}" for name in manifest.exports}
        missing = [place for place in places if place not in present]
        seen = [place for place in missing if _sees_frames(place)]
        others = [place for place in missing if place not in seen]
        formats, shown, failures = Failures(), Failures(), Failures()
        with contextlib.ExitStack() as stack:
            if missing:
                # Keeps the folder of all workspaces: threads leave theirs while others enter.
                stack.enter_context(self._store.workspace())
            if seen and others:
                stack.enter_context(
                    Beside(lambda check: self._write_formats(others, manifest, formats, check))
                )
            else:
                self._write_formats(others, manifest, formats)
            if seen:
                with shown.collected():
                    self._show(seen, manifest, shown)
        for part in (formats, shown):
            with failures.collected():
                part.say()
        failures.say()

    def _show(self, places: list[str], manifest: Manifest, failures: Failures) -> None:
        video = skipping(self._open_video(), manifest.request.tracked)
        show_frames(
            video,
            manifest.request.start,
            manifest.request.stop,
            [self._viewer(place, manifest, video) for place in places],
            failures,
            on_progress=reporter(", ".join(map(_doing, places)), "frames"),
        )

    def _write_formats(
        self,
        places: list[str],
        manifest: Manifest,
        failures: Failures,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        for place in places:
            with failures.collected():
                self._write_format(place, manifest, check)

    def address(self, place: str) -> str:
        """Where an output is, for people."""
        return self._store.address(place)

    def _write_format(self, place: str, manifest: Manifest, check: Callable[[], None]) -> None:
        name, report = _format(place), reporter(_doing(place))

        def on_progress(done: int, total: int) -> None:
            check()
            report(done, total)

        with self._store.workspace() as folder:
            write_export(self._masklets(manifest), name, folder / name, on_progress=on_progress)
            self._take(place, folder / name)

    def _masklets(self, manifest: Manifest) -> ExportSource:
        with self._lock:
            return self._store.masklets(manifest)

    @contextlib.contextmanager
    def _viewer(self, place: str, manifest: Manifest, video: VideoSource) -> Iterator[Show]:
        with self._store.workspace() as folder:
            if place == REPORT:
                viewer = self._report(manifest, video, folder / REPORT)
            else:
                name = _format(place)
                viewer = view_export(self._masklets(manifest), name, folder / name, video=video)
            with viewer as show:
                yield show
            self._take(place, folder / (REPORT if place == REPORT else name))

    def _report(self, manifest: Manifest, video: VideoSource, out: Path) -> Viewer:
        # Late: plotly takes half a second to import, and results without a report do without.
        from samcore.report.page import view_report

        with self._lock:
            masks = self._store.fetch(MASKS)
            seams = SeamList.model_validate_json(self._store.fetch(SEAMS).read_bytes()).seams
            objects = self._store.objects(manifest)
        facts = report_facts(
            manifest,
            seams,
            objects=objects,
            prompts=self._prompts(),
            memory_log=self._memory_log,
        )
        return view_report(facts, masks, video, out)

    def _take(self, place: str, made: Path) -> None:
        """Add a file that was made, or a format's folder, to the result."""
        if made.is_file():
            files = {place: made}
        elif place == OVERLAY:
            files = {place: made / OVERLAY}
        else:
            if FORMATS.get(_format(place)).file_per_frame:
                tar = made.with_name(f"{made.name}.tar")
                with storage_errors(tar, "write"):
                    _pack(made, tar)
                tar.rename(made / tar.name)
            files = {f"{place}/{file.as_posix()}": made / file for file in files_in(made)}
        with self._lock:
            self._store.add_files(files, self._key)


def _format(place: str) -> str:
    return OVERLAY_NAME if place == OVERLAY else place.removeprefix(f"{EXPORTS}/")


def _sees_frames(place: str) -> bool:
    return place == REPORT or FORMATS.get(_format(place)).sees_frames


def _doing(place: str) -> str:
    names = {OVERLAY: "drawing the overlay", REPORT: "writing the report"}
    return names.get(place, f"writing {_format(place)}")


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
