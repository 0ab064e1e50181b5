"""What all writers are given, and what they share."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePath
from typing import cast

from samcore.errors import InputError, StorageError
from samcore.masks.columns import object_ids
from samcore.masks.table import MaskReader, MaskRow
from samcore.text import file_name
from samcore.video.info import VideoInfo
from samcore.video.names import FrameNames
from samcore.video.tracked import TrackedFrames

NO_LABEL = "object"
"""The class of an object that was given no label."""


@dataclass(frozen=True, slots=True)
class ExportSource:
    """The masks of one run, and what there is to know about them."""

    table: Path
    """The mask table."""
    video: VideoInfo
    """The video that was tracked."""
    start: int
    """First frame that was tracked."""
    stop: int
    """One past the last frame that was tracked."""
    object_ids: tuple[int, ...] = ()
    """All objects, ascending: those of the table, and those given, which may never be seen."""
    labels: Mapping[int, str] = field(default_factory=dict)
    """Names of those that have one."""
    tracked: TrackedFrames | None = None
    """Which of the frames from `start` on were tracked; None if all were."""

    def __post_init__(self) -> None:
        """Add the objects that the table has besides.

        Raises:
            StorageError: The table is damaged.
        """
        found = {*self.object_ids, *object_ids(self.table)}
        object.__setattr__(self, "object_ids", tuple(sorted(found)))

    @property
    def num_frames(self) -> int:
        """How many frames were tracked."""
        return self.stop - self.start if self.tracked is None else len(self.tracked)

    @property
    def numbers(self) -> Sequence[int]:
        """The frames that were tracked, ascending."""
        if self.tracked is None:
            return range(self.start, self.stop)
        return cast(Sequence[int], self.tracked.numbers_m.tolist())

    def check_tracked(self, frame: int) -> None:
        """Refuse a frame that was not tracked.

        Raises:
            InputError: Says which ones were.
        """
        if not self.start <= frame < self.stop:
            raise InputError(
                f"no frame {frame}: frames {self.start} to {self.stop - 1} were tracked"
            )
        if self.tracked is not None and frame not in self.tracked:
            near = " and ".join(map(str, self.tracked.nearest(frame)))
            raise InputError(
                f"no frame {frame}: of frames {self.start} to {self.stop - 1}, "
                f"{self.tracked.said} were tracked; the nearest are {near}"
            )

    def done(self, frame: int) -> int:
        """How many frames were tracked up to this one, with it."""
        return frame + 1 - self.start if self.tracked is None else self.tracked.step_of(frame) + 1

    @property
    def sequence(self) -> str:
        """The video's name as a file name: letters, digits, dots, dashes, underscores."""
        source = self.video.source
        if "://" in source:  # of an address, what follows a question mark is no name
            source = source.partition("?")[0]
        stem = PurePath(source).stem if self.video.kind == "video" else PurePath(source).name
        return file_name(stem) or "video"

    def pictures(self) -> "Pictures":
        """How frames are called in files about them; reads the head of the table.

        Raises:
            StorageError: The table is damaged, or has the names of another video.
        """
        with MaskReader(self.table) as reader:
            names = FrameNames.in_metadata(reader.metadata, where=str(self.table))
        if names is not None and len(names.files) != self.video.num_frames:
            raise StorageError(
                f"cannot read {self.table}: it names {len(names.files)} frames, the video has "
                f"{self.video.num_frames}; track again"
            )
        folder = PurePath(self.video.source).name
        is_folder = names is not None and folder not in ("", "..")
        return Pictures(folder if is_folder else self.sequence, self.stop, names)

    def label(self, object_id: int) -> str:
        """The object's label, or `object`."""
        return self.labels.get(object_id, NO_LABEL)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels in use, ascending."""
        return tuple(sorted({self.label(object_id) for object_id in self.object_ids}))

    def frames(self) -> Iterator[tuple[int, list[MaskRow]]]:
        """Every frame that was tracked, with its rows by ascending object id; holds a row group.

        Raises:
            StorageError: The table is damaged, or has other frames than it should.
        """
        for frame, _, rows in self.timed_frames():
            yield frame, rows

    def timed_frames(self) -> Iterator[tuple[int, int, list[MaskRow]]]:
        """The same, each frame with its time stamp in the video's time base.

        A frame with rows has the time that they say. One without lies evenly between the nearest
        frames whose time is known, of which the video's first and last are two: strictly later
        than the one before it, as long as the video's own frames are.

        Raises:
            StorageError: The table is damaged, or has other frames than it should.
        """
        before = self._first
        numbers = self.numbers
        done = 0
        for frame, rows in self._known_frames():
            known = frame, rows[0].pts
            place = self.done(frame) - 1
            for missing in numbers[done:place]:
                yield missing, _between(before, known, missing), []
            yield frame, rows[0].pts, rows
            before = known
            done = place + 1
        for missing in numbers[done:]:
            yield missing, _between(before, self._last, missing), []

    def pts(self, frame: int) -> int:
        """One frame's time stamp as `timed_frames` gives it; reads two row groups at most.

        Raises:
            StorageError: The table is damaged.
        """
        with MaskReader(self.table) as reader:
            before, after = reader.nearest(frame)
        return _between(before or self._first, after or self._last, frame)

    @property
    def _first(self) -> tuple[int, int]:
        return 0, self.video.start_pts

    @property
    def _last(self) -> tuple[int, int]:
        """The video's last frame; one more at the mean rate is the video's end."""
        lasts_s = Fraction(self.video.duration_s) - 1 / self.video.avg_rate
        return self.video.num_frames - 1, self.video.start_pts + round(
            lasts_s / self.video.time_base
        )

    def _known_frames(self) -> Iterator[tuple[int, list[MaskRow]]]:
        """The frames that have rows."""
        wanted = self.start
        with MaskReader(self.table) as reader:
            if (reader.height, reader.width) != (self.video.height, self.video.width):
                raise StorageError(
                    f"cannot read {self.table}: its masks are not of the video's size; track again"
                )
            for frame, rows in reader.frames_iter():
                is_tracked = self.tracked is None or frame in self.tracked
                if not wanted <= frame < self.stop or not is_tracked:
                    raise StorageError(
                        f"cannot read {self.table}: frame {frame} has not what its manifest says; "
                        "track again"
                    )
                yield frame, rows
                wanted = frame + 1


@dataclass(frozen=True, slots=True)
class Pictures:
    """How the pictures of a video are called: those of a folder as they are there, the frames of a
    video file by their numbers."""

    folder: str
    """The folder that they lie in."""
    stop: int
    """One past the last frame that is spoken of."""
    names: FrameNames | None
    """The names in a folder; None for a video file."""

    def path(self, frame: int) -> str:
        """Give the picture's place: `folder/00005.jpg`."""
        if self.names is not None:
            return f"{self.folder}/{self.names.files[frame]}"
        return f"{self.folder}/{self.stem(frame)}.jpg"

    def stem(self, frame: int, *, first: int = 0, digits: int = 5) -> str:
        """Give the name without its ending, of which all are different and sort like the frames.

        Args:
            frame: Which frame.
            first: The first frame's number, where frames have no names.
            digits: Of such numbers, or more for a long video.
        """
        if self.names is not None:
            return self.names.stem(frame)
        return f"{frame + first:0{max(digits, len(str(self.stop)))}d}"

    def number(self, frame: int) -> int:
        """Give the number in the picture's name, or the frame's place counted from 1 where names
        have none, or none that ascend."""
        numbers = None if self.names is None else self.names.numbers
        return frame + 1 if numbers is None else numbers[frame]

    def write_places(self, path: Path, masklets: ExportSource) -> None:
        """Write which picture each frame is that was tracked, for a format that counts frames;
        nothing for a video file of which all were."""
        if self.names is None and masklets.tracked is None:
            return
        with path.open("w", encoding="utf-8") as out:
            # A line each: a list of them all would grow with the video.
            for place, frame in enumerate(masklets.numbers):
                one = {"frame": frame, "number": self.number(frame), "file_name": self.path(frame)}
                out.write(",\n " if place else '{"frames": [\n ')
                out.write(json.dumps(one, ensure_ascii=False))
            out.write("\n]}\n")


def _between(before: tuple[int, int], after: tuple[int, int], frame: int) -> int:
    """The time stamp of a frame that lies evenly between two frames and their time stamps."""
    (first, start_pts), (last, stop_pts) = before, after
    if frame <= first or last <= first:
        return start_pts
    # Never back in time, whatever a damaged video says of its end.
    return start_pts + round(Fraction(max(stop_pts - start_pts, 0) * (frame - first), last - first))


def numbering(object_ids: Sequence[int], limit: int) -> dict[int, int]:
    """A number from 1 to `limit` for each object: its own id if all ids are such numbers, else
    1, 2, 3 and so on by ascending id.

    Raises:
        ValueError: There are more objects than that.
    """
    if all(1 <= object_id <= limit for object_id in object_ids):
        return {object_id: object_id for object_id in object_ids}
    if len(object_ids) > limit:
        raise ValueError(f"{len(object_ids)} objects, and at most {limit} can be numbered")
    return {object_id: place + 1 for place, object_id in enumerate(sorted(object_ids))}


def write_objects(path: Path, masklets: ExportSource, numbers: Mapping[int, int]) -> None:
    """Write down which number in the files is which object."""
    objects = [
        {
            "value": numbers[object_id],
            "object_id": object_id,
            "label": masklets.labels.get(object_id),
        }
        for object_id in masklets.object_ids
    ]
    path.write_text(json.dumps({"objects": objects}, indent=2, ensure_ascii=False) + "\n", "utf-8")
