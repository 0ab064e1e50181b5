"""What a page shows of a result, or of a run at work: any frame's masks, lanes and findings."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from samcore.disk.files import copy_atomic, make_folder, storage_errors, write_json
from samcore.errors import LostWorkError, StorageError
from samcore.findings.checks import check_result
from samcore.findings.finding import Findings
from samcore.findings.lanes import LaneBuilder
from samcore.findings.timeline import finding_list, timeline
from samcore.masks.ledger import OBJECTS
from samcore.masks.parts import MaskParts, Part
from samcore.masks.row import MaskRow
from samcore.prompts.prompt import Prompt
from samcore.report.of_manifest import report_facts
from samcore.result.manifest import MANIFEST, MASKS, SEAMS, Manifest, without_files
from samcore.result.published import SeamList
from samcore.result.reader import result_objects
from samcore.result.records import RunRecord
from samcore.result.store import ResultStore
from samcore.run.folder import RunFolder
from samcore.run.so_far import ChunkSoFar, RunSoFar
from samcore.video import VideoInfo

_OF_EACH_KIND = 50
"""Findings of each kind that a page lists."""
MOST_BINS = 2000
"""Of a lane: more than a window has columns."""


class View(Protocol):
    """Masks that can be looked at, from any thread."""

    @property
    def key(self) -> str:
        """Names what is seen: other masks have another one."""

    @property
    def covered(self) -> list[tuple[int, int]]:
        """The frames [start, stop) that have masks; ascending."""

    def rows(self, frame: int) -> list[MaskRow]:
        """The rows of one frame; none where it has no masks."""

    def lanes(self, bins: int) -> dict[str, Any]:
        """Lanes, as `timeline` says them, and `findings`, as `finding_list` does."""

    def close(self) -> None:
        """Close all files."""


class PublishedView:
    """A published result. To open it reads no masks; lanes are made once for a number of bins."""

    def __init__(
        self,
        manifest: Manifest,
        fetch: Callable[[str], Path],
        prompts: tuple[Prompt, ...] = (),
    ) -> None:
        """Fetch the masks, if they are in a bucket.

        Args:
            manifest: Of the result.
            fetch: Gives a file of the result by its name.
            prompts: What the result was asked for, if that is known; findings hold masks
                against them.

        Raises:
            StorageError: The result is damaged, or cannot be read.
        """
        self.manifest = manifest
        """What is published."""
        self.key = manifest.key
        """As in `View`."""
        self._table = fetch(MASKS)
        seams = SeamList.model_validate_json(fetch(SEAMS).read_bytes()).seams
        self._facts = report_facts(
            manifest, seams, objects=result_objects(manifest, fetch), prompts=prompts
        )
        self._masks = MaskParts([Part(self._table, self._facts.start, self._facts.stop)])
        self._lanes: dict[int, dict[str, Any]] = {}
        self._reading = threading.Lock()

    @property
    def covered(self) -> list[tuple[int, int]]:
        """As in `View`."""
        return self._masks.covered

    def rows(self, frame: int) -> list[MaskRow]:
        """As in `View`.

        Raises:
            StorageError: The masks are gone or damaged.
        """
        return self._masks.rows(frame)

    def lanes(self, bins: int) -> dict[str, Any]:
        """As in `View`; reads the table's numbers once.

        Raises:
            StorageError: The masks are gone or damaged.
        """
        bins = min(max(bins, 1), MOST_BINS)
        with self._reading:
            if bins not in self._lanes:
                lanes, findings = check_result(
                    self._facts, self._table, limit=_OF_EACH_KIND, bins=bins
                )
                drawn = timeline(lanes, self._facts.labels)
                self._lanes = {bins: {**drawn, "findings": finding_list(findings)}}
            return self._lanes[bins]

    def close(self) -> None:
        """As in `View`."""
        self._masks.close()


class RunView:
    """A run that is at work, or was stopped; each finished chunk is read once for the lanes."""

    def __init__(self, folder: RunFolder) -> None:
        """Read what is asked.

        Raises:
            LostWorkError: Nothing is laid out there.
        """
        self.folder = folder
        """The run's."""
        self._seen = RunSoFar(folder)
        self.record: RunRecord = self._seen.record
        """What is asked."""
        self.key = f"{self.record.work_key} at work"
        """As in `View`."""
        self.chunks: list[ChunkSoFar] = self._seen.look()
        """How far each one was when somebody looked last."""
        self._builder: tuple[int, LaneBuilder, Findings] | None = None
        self._taken: list[Part] = []
        self._reading = threading.Lock()

    def look(self) -> list[ChunkSoFar]:
        """How far each chunk is now."""
        self.chunks = self._seen.look()
        return self.chunks

    @property
    def covered(self) -> list[tuple[int, int]]:
        """As in `View`."""
        return self._seen.covered

    def rows(self, frame: int) -> list[MaskRow]:
        """As in `View`."""
        return self._seen.rows(frame)

    def lanes(self, bins: int) -> dict[str, Any]:
        """As in `View`, of the chunks that are done."""
        with self._reading:
            return self._grown(min(max(bins, 1), MOST_BINS))

    def close(self) -> None:
        """As in `View`."""
        self._seen.close()

    def _grown(self, bins: int) -> dict[str, Any]:
        wanted = list(self._seen.owned)
        if (
            self._builder is None
            or self._builder[0] != bins
            or wanted[: len(self._taken)] != self._taken
        ):
            self._builder, self._taken = self._begin(bins), []
        _, builder, findings = self._builder
        for part in wanted[len(self._taken) :]:
            try:
                builder.add(part.table, part.start, part.stop)
            except StorageError:
                self._builder = None  # it is tracked again just now
                break
            self._taken.append(part)
        labels = {item.id: item.label for item in self.record.objects}
        return {**timeline(builder.report(), labels), "findings": finding_list(findings)}

    def _begin(self, bins: int) -> tuple[int, LaneBuilder, Findings]:
        video: VideoInfo = self._seen.video()
        findings = Findings(_OF_EACH_KIND)
        builder = LaneBuilder(
            findings,
            start=self.record.start,
            stop=self.record.stop,
            rate=float(video.avg_rate),
            size_hw=(video.height, video.width),
            bins=bins,
            tracked=self.record.tracked,
        )
        return bins, builder, findings


def prompts_of(manifest: Manifest, work_dir: Path) -> tuple[Prompt, ...] | None:
    """What a result was asked for, as its run's folder keeps it; None if that is gone."""
    try:
        return RunFolder.for_key(work_dir, manifest.request.work_key).prompts()
    except LostWorkError:
        return None


def keep_copy(store: ResultStore[Manifest], folder: Path) -> bool:
    """Keep a result's masks before it is replaced, as a result of its own without the other files;
    in a folder of the same disk they cost nothing. What was kept there before goes.

    Args:
        store: Where the result is.
        folder: Where the copy goes.

    Returns:
        Whether there was a result.

    Raises:
        StorageError: The folder cannot be written to.
    """
    manifest = store.listed()
    if manifest is None:
        return False
    names = {MASKS, SEAMS, OBJECTS} & {file.name for file in manifest.files}
    new = folder.with_name(f"{folder.name}.new")
    with storage_errors(folder, "write"):
        shutil.rmtree(new, ignore_errors=True)
        make_folder(new)
        for name in names:
            source = store.fetch(name)
            try:
                os.link(source, new / name)
            except OSError:  # another disk
                copy_atomic(source, new / name)
        others = {file.name for file in manifest.files} - names
        write_json(new / MANIFEST, without_files(manifest, others))
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    return True
