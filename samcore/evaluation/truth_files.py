"""Ground truth in one file: MOTS's text and YouTube-VIS's JSON."""

import json
from array import array
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from samcore.disk.atomic import storage_error
from samcore.errors import InputError
from samcore.evaluation.pairing import TrackedVideo
from samcore.evaluation.truth import GroundTruth, TruthFrame
from samcore.masks.rle import Rle, rle_from_coco

_IGNORED_CLASS = 10
"""MOTS's class of regions that are not judged."""


class MotsText(GroundTruth):
    """Lines of `frame id class height width runs`, in any order."""

    kind = "mots-txt"

    def __init__(
        self, path: Path, *, first_frame: int | None = None, video: TrackedVideo | None = None
    ) -> None:
        """Read the file once, and keep where each frame's lines are.

        Args:
            path: The file.
            first_frame: The number of the video's first frame; None is 0 if there is a frame 0,
                else 1; or the numbers are those in the names of the pictures that were tracked.
            video: What was tracked, if that is known.

        Raises:
            InputError: It cannot be read, a line is not of this format, or of no frame.
        """
        self._path = path
        self._places: dict[int, array[int]] = {}
        sizes: set[tuple[int, int]] = set()
        place = 0
        try:
            with path.open("rb") as file:
                for line in file:
                    if line.strip():
                        number, _, _, height, width, _ = self._parts(line)
                        sizes.add((height, width))
                        self._places.setdefault(number, array("q")).append(place)
                    place += len(line)
        except OSError as error:
            raise storage_error(path, error, doing="read") from error
        if len(sizes) != 1:
            said = "masks of different sizes" if sizes else "no masks"
            raise InputError(f"{path} has {said}: wanted those of one video")
        ((self.height, self.width),) = sizes
        if first_frame is None and video is not None and video.names and video.names.numbers:
            frames = video.by_number(list(self._places), where=str(path))
            self._places = dict(zip(frames, self._places.values(), strict=True))
            self._first = 0
            return
        lowest = min(self._places)
        self._first = (1 if lowest else 0) if first_frame is None else first_frame
        if lowest < self._first:
            raise InputError(f"{path}: frame {lowest} comes before the first, {self._first}")
        if video is not None:
            video.check(max(self._places) - self._first, where=str(path))

    def frames(self) -> Iterator[TruthFrame]:
        with self._path.open("rb") as file:
            for number in sorted(self._places):
                masks: dict[int, Rle] = {}
                void: list[Rle] = []
                for place in self._places[number]:
                    file.seek(place)
                    _, obj_id, class_id, height, width, runs = self._parts(file.readline())
                    rle = self._rle({"size": [height, width], "counts": runs})
                    if class_id == _IGNORED_CLASS:
                        void.append(rle)
                    elif obj_id in masks:
                        raise InputError(f"{self._path}: object {obj_id} twice on frame {number}")
                    elif rle.area:
                        masks[obj_id] = rle
                yield TruthFrame(number - self._first, masks, tuple(void))

    def _parts(self, line: bytes) -> tuple[int, int, int, int, int, str]:
        try:
            number, obj_id, class_id, height, width, runs = line.decode("ascii").split()
            return int(number), int(obj_id), int(class_id), int(height), int(width), runs
        except ValueError as error:
            raise InputError(
                f"{self._path} is not MOTS's text (frame id class height width runs): "
                f"{line[:60].decode('ascii', 'replace').strip()!r}"
            ) from error

    def _rle(self, segmentation: dict[str, object]) -> Rle:
        try:
            return rle_from_coco(segmentation, height=self.height, width=self.width)
        except ValueError as error:
            raise InputError(f"{self._path}: {error}") from error


class CocoVideo(GroundTruth):
    """YouTube-VIS's JSON: one annotation a masklet, with a segmentation or null for each frame.

    Held as compressed as it is in the file.
    """

    kind = "coco-video"

    def __init__(
        self,
        path: Path,
        *,
        sequence: str | None = None,
        first_frame: int | None = None,
        video: TrackedVideo | None = None,
    ) -> None:
        """Read the file.

        Args:
            path: The file.
            sequence: Which of its videos, by id, name or folder; None if it has one only.
            first_frame: Place of the video's first frame in the lists; None is 0, or pairs by
                `file_names` where a folder of pictures was tracked, or is the first tracked frame
                where only some were tracked and the lists have a place for each of these. Below 0
                where the lists begin with a later frame: -20 for lists that begin with frame 20.
            video: What was tracked, if that is known.

        Raises:
            InputError: It cannot be read, is not of this format, has no such video, or has frames
                that are not in what was tracked.
        """
        self._path = path
        try:
            content = json.loads(path.read_bytes())
            entry = _pick_video(content["videos"], sequence, path)
            self.height, self.width = int(entry["height"]), int(entry["width"])
            self._annotations = [
                (int(item["id"]), list(item["segmentations"]))
                for item in content["annotations"]
                if item["video_id"] == entry["id"]
            ]
            stems = [PurePath(name).stem for name in entry.get("file_names") or ()]
            length = max([len(stems), *(len(s) for _, s in self._annotations)])
        except OSError as error:
            raise storage_error(path, error, doing="read") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{path} is not YouTube-VIS's JSON (videos, and annotations with a list "
                f"`segmentations`): {error!r}"
            ) from error
        ids = [obj_id for obj_id, _ in self._annotations]
        if len(set(ids)) < len(ids):
            raise InputError(f"{path}: two annotations of a video have the same id")
        if first_frame is None and video is not None and video.names and len(stems) == length:
            frames = video.by_name(stems, where=str(path))
        elif video is not None and length:
            frames = video.by_place(length, first_frame)
            video.check(frames[-1], where=str(path))
        else:
            frames = [place - (first_frame or 0) for place in range(length)]
        self._frames = sorted((f, place) for place, f in enumerate(frames) if f >= 0)
        """Each annotated frame, ascending, and its place in the lists."""

    def frames(self) -> Iterator[TruthFrame]:
        for frame, place in self._frames:
            masks: dict[int, Rle] = {}
            for obj_id, segmentations in self._annotations:
                segmentation = segmentations[place] if place < len(segmentations) else None
                if not segmentation:
                    continue
                try:
                    rle = rle_from_coco(segmentation, height=self.height, width=self.width)
                except ValueError as error:
                    raise InputError(
                        f"{self._path}: annotation {obj_id}, frame {place}: {error}"
                    ) from error
                if rle.area:
                    masks[obj_id] = rle
            yield TruthFrame(frame, masks, ())


def _pick_video(videos: list[dict[str, Any]], sequence: str | None, path: Path) -> dict[str, Any]:
    """The one that is meant."""
    if sequence is None and len(videos) == 1:
        return videos[0]
    names = {str(video["id"]): _names_of(video) for video in videos}
    for video in videos:
        if sequence is not None and sequence in names[str(video["id"])]:
            return video
    known = ", ".join(sorted(names)[:10])
    wanted = "--sequence" if sequence is None else f"{sequence!r}"
    raise InputError(
        f"{path} has {len(videos)} videos ({known}{', ...' if len(names) > 10 else ''}): "
        f"{'choose one with ' if sequence is None else 'none is '}{wanted}"
    )


def _names_of(video: dict[str, Any]) -> set[str]:
    """What a video may be called by: its id, its name, the folder of its first frame."""
    names = {str(video["id"]), str(video.get("name", ""))}
    files = video.get("file_names") or [video.get("file_name") or ""]
    names.update({Path(str(files[0])).parent.name, Path(str(files[0])).stem})
    return names - {""}
