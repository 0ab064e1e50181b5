"""A published result, for programs to read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samcore.disk.atomic import storage_error
from samcore.disk.files import hash_file
from samcore.errors import InputError, StorageError
from samcore.exports.source import ExportSource
from samcore.masks.ledger import OBJECTS, ResultObject, make_ledger, read_ledger
from samcore.masks.rle import decode_masks
from samcore.masks.table import MaskReader, MaskRow
from samcore.result.manifest import MASKS, Manifest, read_manifest


@dataclass(frozen=True, slots=True, eq=False)
class ResultFrame:
    """The N objects that have begun by this frame, present or absent, by ascending id."""

    frame_idx: int
    """Position in the source video, from 0."""
    pts: int
    """When it is shown, in units of the video's time base."""
    time_s: float
    """Seconds from the video's first frame to this one."""
    name: str | None
    """The picture's file name, in a folder of pictures; None for a frame of a video file."""
    obj_ids: tuple[int, ...]
    """The caller's numbers."""
    labels: tuple[str, ...]
    """Their labels; `object` where one has none."""
    class_ids_n: NDArray[np.int64]
    """Place of each label in `Result.classes`."""
    masks_nhw: NDArray[np.bool_]
    """N x H x W; all False where an object is absent."""
    boxes_xyxy_n4: NDArray[np.float32]
    """N x 4: left, top, right and bottom in pixels, right and bottom one past the last; zeros where
    an object is absent."""
    scores_n: NDArray[np.float32]
    """Probability that the object is in the frame, in [0, 1]."""
    predicted_ious_n: NDArray[np.float32]
    """The model's guess of each mask's quality, in [0, 1]."""
    prompted_n: NDArray[np.bool_]
    """True where the mask comes from a prompt on this very frame."""

    @property
    def present_n(self) -> NDArray[np.bool_]:
        """Whether each object has a mask on this frame."""
        return self.boxes_xyxy_n4[:, 2] > 0

    def to_supervision(self) -> Any:
        """The objects that are present, as `supervision.Detections`.

        `tracker_id` is the object's id, `confidence` its score, `class_id` its label's place in
        `Result.classes`; the labels are in `data["class_name"]`.

        Raises:
            InputError: supervision is not installed.
        """
        try:
            import supervision  # an extra, and half a second
        except ImportError as error:
            raise InputError(
                "supervision is not installed: pip install 'longtake[supervision]'"
            ) from error
        n = self.present_n
        return supervision.Detections(
            xyxy=self.boxes_xyxy_n4[n],
            mask=self.masks_nhw[n],
            confidence=self.scores_n[n],
            class_id=self.class_ids_n[n],
            tracker_id=np.array(self.obj_ids, dtype=int)[n],
            data={"class_name": np.array(self.labels, dtype=str)[n]},
        )


def result_objects(manifest: Manifest, fetch: Callable[[str], Path]) -> tuple[ResultObject, ...]:
    """All objects of a result, by ascending id: its ledger; of versions that published none, one
    made from its masks.

    Args:
        manifest: Of the result.
        fetch: Gives a file of the result by its name.

    Raises:
        StorageError: The ledger or the masks are damaged.
    """
    if any(file.name == OBJECTS for file in manifest.files):
        return read_ledger(fetch(OBJECTS)).objects
    # Without what was left unsaid: records of those versions do not say where objects come from.
    asked = [item.model_dump(exclude_unset=True) for item in manifest.request.objects]
    return make_ledger(fetch(MASKS), map(ResultObject.model_validate, asked)).objects


def result_masklets(
    manifest: Manifest, objects: Sequence[ResultObject], table: Path
) -> ExportSource:
    """What writers need to know of a result.

    Args:
        manifest: Of the result.
        objects: All that it has.
        table: Its masks.

    Raises:
        StorageError: The masks are damaged.
    """
    return ExportSource(
        table=table,
        video=manifest.video,
        start=manifest.request.start,
        stop=manifest.request.stop,
        object_ids=tuple(item.id for item in objects),
        labels={item.id: item.label for item in objects if item.label},
        tracked=manifest.request.tracked,
    )


class Result:
    """A folder that was published: its objects, and its masks frame by frame.

        for frame in Result("out"):
            print(frame.frame_idx, frame.obj_ids, frame.masks_nhw.shape)

    Holds no file open; iterating holds one frame's masks and one row group.
    """

    def __init__(self, path: str | Path) -> None:
        """Check that there is a whole result with its masks intact.

        Args:
            path: The folder that a run published to.

        Raises:
            InputError: There is no such folder, or no finished result in it.
            StorageError: The manifest or the masks are damaged; which, is said.
        """
        self.path = Path(path).expanduser().absolute()
        """The folder."""
        self.manifest = manifest = read_manifest(self.path)
        """What is published there, as its run wrote it down."""
        masks = self._intact(MASKS)
        self.source = manifest.request.source
        """Path or address of the video when it was tracked."""
        self.source_version = manifest.request.source_version
        """The bucket's name for that version of it; None where there is none."""
        self.key = manifest.key
        """Names the run: equal keys, equal masks."""
        self.stretch = manifest.request.settings.stretch
        """Whether the video was stretched when it was tracked, see `TrackSettings.stretch`."""
        self.video = manifest.video
        """What is known of the video."""
        self.objects = result_objects(
            manifest, lambda name: masks if name == MASKS else self._intact(name)
        )
        """All objects, by ascending id: those that were asked for, and those found since."""
        self.masklets = result_masklets(manifest, self.objects, masks)
        """The same, as exports want it."""
        self._names = self.masklets.pictures().names
        self.classes = self.masklets.classes
        """The labels in use, ascending; `object` if any object has none."""

    def __repr__(self) -> str:
        return f"Result({str(self.path)!r}, {len(self.objects)} objects on {len(self)} frames)"

    def __len__(self) -> int:
        """How many frames were tracked."""
        return self.masklets.num_frames

    def __iter__(self) -> Iterator[ResultFrame]:
        """Every frame that was tracked, in order, also those before the first object begins.

        Raises:
            StorageError: The masks are damaged.
        """
        for frame_idx, pts, rows in self.masklets.timed_frames():
            yield self._frame(frame_idx, rows, pts)

    def check(self) -> None:
        """Make sure that every file that was published is there as it was; reads them all.

        Raises:
            StorageError: One is not; which, is said.
        """
        for file in self.manifest.files:
            self._intact(file.name)

    def frame(self, frame_idx: int) -> ResultFrame:
        """One frame; reads one row group, of a frame without rows its neighbours' times, too.

        Raises:
            InputError: That frame was not tracked.
            StorageError: The masks are damaged.
        """
        self.masklets.check_tracked(frame_idx)
        with MaskReader(self.masklets.table) as reader:
            rows = list(reader.rows(frame_idx, frame_idx + 1))
        pts = rows[0].pts if rows else self.masklets.pts(frame_idx)
        return self._frame(frame_idx, rows, pts)

    def _intact(self, name: str) -> Path:
        """One file, of which all bytes were read and are the ones that the manifest lists."""
        path = self.path / name
        listed = next((file for file in self.manifest.files if file.name == name), None)
        if listed is None:
            raise StorageError(f"the manifest in {self.path} lists no {name}; track again")
        try:
            _, sha256 = hash_file(path)
        except OSError as error:
            raise storage_error(path, error, doing="read") from error
        if sha256 != listed.sha256:
            raise StorageError(
                f"{path} is damaged: it is not the file that its manifest lists; run the command "
                "that tracked it again, to publish it anew"
            )
        return path

    def _frame(self, frame_idx: int, rows: list[MaskRow], pts: int) -> ResultFrame:
        video = self.video
        try:
            masks_nhw = decode_masks([row.rle for row in rows])
        except ValueError as error:
            raise StorageError(
                f"cannot read {self.masklets.table}: frame {frame_idx}: {error}"
            ) from error
        labels = tuple(self.masklets.label(row.object_id) for row in rows)
        boxes = [(row.x, row.y, row.x + row.w, row.y + row.h) for row in rows]
        return ResultFrame(
            frame_idx=frame_idx,
            pts=pts,
            time_s=float(Fraction(pts - video.start_pts) * video.time_base),
            name=None if self._names is None else self._names.files[frame_idx],
            obj_ids=tuple(row.object_id for row in rows),
            labels=labels,
            class_ids_n=np.array([self.classes.index(label) for label in labels], np.int64),
            masks_nhw=masks_nhw if rows else np.zeros((0, video.height, video.width), np.bool_),
            boxes_xyxy_n4=np.array(boxes, np.float32).reshape(-1, 4),
            scores_n=np.array([row.confidence for row in rows], np.float32),
            predicted_ious_n=np.array([row.predicted_iou for row in rows], np.float32),
            prompted_n=np.array([row.prompted for row in rows], np.bool_),
        )
