"""What detectors see on a video's frames, a few frames ahead of the tracker.

Frames pass through here on their way to the tracker, which then asks for their detections:

    reader --> DetectionsAhead.frames --> tracker.track(frames, ahead.of)
                     |                        |
                  detectors                of(frame)

A detector that takes the features of the tracker's own image encoder (`FeatureDetector`) looks when
the tracker asks, so that a frame is encoded once for both.

Which frames are looked at, and which of them go to a detector at once, follows from their numbers
alone, so that detections do not depend on where chunks were cut.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import groupby

from samcore.detectors.detector import Detection, Detector, find_detector, make_detector
from samcore.detectors.wanted import grid_size, is_large_enough, keep_wanted
from samcore.machine.meters import StageClock
from samcore.models.family import ImageFeatures, TrackingModel
from samcore.prompts.automatic import AutomaticPrompts
from samcore.tracking.encoder import FrameLike

ReadFrames = Callable[[int, int], AbstractContextManager[Iterable[FrameLike]]]
"""Reads the frames [start, stop) of the video."""
PICTURES = "pictures"
"""`DetectorEntry.unit` of a detector that takes several pictures at once."""


class DetectionsAhead:
    """Shows frames to detectors, and keeps what they find until the tracker has had it.

    Holds the pictures of one batch, and detections of the frames that the tracker has not asked
    for yet: no more, whatever the video's length.
    """

    def __init__(
        self,
        options: AutomaticPrompts,
        model: TrackingModel,
        *,
        cuts: Collection[int] = (),
        read: ReadFrames,
        batch: int,
        clock: StageClock,
        on_first: Callable[[], None] = lambda: None,
        number: Callable[[int], int] = int,
    ) -> None:
        """Load nothing yet: detectors are made when the first frame is to be looked at.

        Args:
            options: What to look for, by which detectors, and how often (`detect_every`).
            model: The tracker's own; boxes become masks there.
            cuts: The frames that begin a scene, if detectors look at these.
            read: For detectors that must see frames before those that come.
            batch: Most that a detector does at once.
            clock: Told how long detection takes (`detect`).
            on_first: Called before detectors are made, such as to check their files.
            number: Gives a frame's number in the video, where only some of its frames come here,
                numbered anew; for detectors that go by it.
        """
        self._options = options
        self._model = model
        self._cuts = frozenset(cuts)
        self._read = read
        self._batch = batch
        self._clock = clock
        self._on_first = on_first
        self._number = number
        self._eyes: list[_Eye] | None = None
        self._found: dict[int, list[Detection]] = {}
        self._due: set[int] = set()
        self._size_hw = (0, 0)
        entries = [find_detector(one.detector)[0] for one in options.each]
        self._at_once = max(
            (
                min(entry.batch, batch)
                for entry in entries
                if entry.unit == PICTURES and not entry.of_model
            ),
            default=1,
        )

    def looks_at(self, frame_idx: int) -> bool:
        """Whether detectors look at a frame."""
        every = self._options.detect_every
        if every is None:
            return False
        return frame_idx in self._cuts if every == "cuts" else frame_idx % every == 0

    def frames(self, frames: Iterable[FrameLike]) -> Iterator[FrameLike]:
        """The same frames, each once its batch was looked at.

        Raises:
            SegmentationError: A detector cannot be used, or what it finds cannot.
        """
        for _, group in groupby(frames, key=lambda frame: frame.frame_idx // self._at_once):
            batch = list(group)
            with self._clock("detect"):
                self._look(batch)
            yield from batch

    def of(
        self, frame_idx: int, features_of: Callable[[int], ImageFeatures] | None = None
    ) -> list[Detection] | None:
        """What was detected on a frame that `frames` has given; None if nobody looked.

        May be asked again about the frame that was asked for last, and about later ones.

        Args:
            frame_idx: The frame.
            features_of: Gives the tracker's features of it, for detectors that take these.

        Raises:
            ValueError: There is such a detector, and no features.
        """
        self._found = {i: found for i, found in self._found.items() if i >= frame_idx}
        self._due = {i for i in self._due if i >= frame_idx}
        if frame_idx in self._due:
            if features_of is None:
                raise ValueError("a detector needs the features that the tracker has of the frame")
            features = features_of(frame_idx)
            with self._clock("detect"):
                found = [
                    item
                    for eye in self._eyes or ()
                    for item in eye.look_at_features(features, frame_idx, self._size_hw)
                ]
            self._found[frame_idx] = [*self._found[frame_idx], *found]
            self._due.discard(frame_idx)
        return self._found.get(frame_idx)

    def _look(self, batch: Sequence[FrameLike]) -> None:
        """Look at the frames of a batch, which follow each other."""
        looked_at = {frame.frame_idx for frame in batch if self.looks_at(frame.frame_idx)}
        if self._eyes is None:
            if not looked_at:
                return  # the first batch that counts has its lookback read
            self._on_first()
            self._eyes = [
                _Eye(one, self._model, batch=self._batch, number=self._number)
                for one in self._options.each
            ]
        found: dict[int, list[Detection]] = {frame_idx: [] for frame_idx in sorted(looked_at)}
        for eye in self._eyes:
            if eye.takes_features:
                self._due |= looked_at
                continue
            for frame_idx, items in eye.look(batch, looked_at, self._read).items():
                found[frame_idx] += items
        self._size_hw = batch[0].image_rgb_hwc_u8.shape[:2]
        self._found.update(found)


class _Eye:
    """One detector, and the frame that it would see next without a gap."""

    def __init__(
        self,
        options: AutomaticPrompts,
        model: TrackingModel,
        *,
        batch: int,
        number: Callable[[int], int],
    ) -> None:
        self._options = options
        self._number = number
        self._entry, _ = find_detector(options.detector)
        self._detector: Detector = make_detector(
            options, model, batch=min(self._entry.batch, batch)
        )
        self._look_at_features = getattr(self._detector, "detect_features", None)
        self._next_frame = -1

    @property
    def takes_features(self) -> bool:
        """Whether it looks at the tracker's features, and not at pictures."""
        return self._look_at_features is not None

    def look_at_features(
        self, features: ImageFeatures, frame_idx: int, picture_hw: tuple[int, int]
    ) -> list[Detection]:
        """What it finds that is wanted on one frame; nothing if it looks at pictures."""
        if self._look_at_features is None:
            return []
        (found,) = self._look_at_features([features], picture_hw=picture_hw, first_frame=frame_idx)
        return self._wanted(found)

    def look(
        self, batch: Sequence[FrameLike], looked_at: Collection[int], read: ReadFrames
    ) -> dict[int, list[Detection]]:
        """What it finds that is wanted on some of the frames."""
        if not self._remembers:
            return self._look_alone([frame for frame in batch if frame.frame_idx in looked_at])
        first = batch[0].frame_idx
        needed = self._entry.first_needed(first)
        if self._next_frame != first and needed < first:
            with read(needed, first) as before:
                for frame in before:
                    self._detect([frame])
        found = self._detect(batch)
        return {i: items for i, items in found.items() if i in looked_at}

    @property
    def _remembers(self) -> bool:
        """Whether what it finds depends on the frames before."""
        return self._entry.lookback > 0 or self._entry.block > 1

    def _look_alone(self, frames: Sequence[FrameLike]) -> dict[int, list[Detection]]:
        """Pictures that follow each other at once, as detectors want them."""
        found: dict[int, list[Detection]] = {}
        places = {frame.frame_idx: place for place, frame in enumerate(frames)}
        for _, run in groupby(frames, key=lambda frame: frame.frame_idx - places[frame.frame_idx]):
            found |= self._detect(list(run))
        return found

    def _detect(self, frames: Sequence[FrameLike]) -> dict[int, list[Detection]]:
        """What it finds that is wanted; its masks and boxes as they are."""
        first = frames[0].frame_idx
        self._next_frame = -1  # until it is done
        images = [frame.image_rgb_hwc_u8 for frame in frames]
        if self._entry.by_number:
            found = [
                items
                for step, image in enumerate(images, first)
                for items in self._detector.detect([image], first_frame=self._number(step))
            ]
        else:
            found = self._detector.detect(images, first_frame=first)
        self._next_frame = first + len(frames)
        return {first + place: self._wanted(items) for place, items in enumerate(found)}

    def _wanted(self, found: Sequence[Detection]) -> list[Detection]:
        size_hw = grid_size(found)
        return [
            replace(item, source=self._entry.name)
            for item in keep_wanted(found, self._options)
            if is_large_enough(item.region(size_hw), self._options)
        ]
