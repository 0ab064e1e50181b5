"""What every detector gives, whatever it is made of, and the list of them.

A detector gets pictures and says where objects are, as masks or boxes with scores. Which of them
become objects of a run is decided in one way for all detectors: on the first frame in
`samcore/prompts/automatic.py`, throughout a video in `samcore/identities/`.

People name a detector by its entry, with a colon and what the entry takes: `motion`,
`torchvision:ssdlite320_mobilenet_v3_large`, `file:boxes.txt`.
"""

from __future__ import annotations  # torch takes a second to import; only types need it here

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from samcore.errors import InputError
from samcore.registry import Entry, Registry

if TYPE_CHECKING:
    from samcore.detectors.abilities import ModelPart
    from samcore.models.family import TrackingModel
    from samcore.models.registry import ModelSpec
    from samcore.prompts.automatic import AutomaticPrompts


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One object on one picture; it has a mask or a box."""

    score: float
    """How sure the detector is, about 0 to 1; comparable within a picture. Bounds are held against
    four digits of it: see `samcore/detectors/wanted.py`."""
    picture_hw: tuple[int, int]
    """Height and width of the picture."""
    mask_hw: NDArray[np.bool_] | None = None
    """Where the object is. It may be smaller than the picture, and is enlarged when it is used."""
    box_xyxy_px: tuple[float, float, float, float] | None = None
    """Left, top, right, bottom in pixels of the picture; not beside a mask."""
    label: str | None = None
    """What the object is, if the detector says that; it becomes the label of the run's object."""
    source: str | None = None
    """The detector's name, once whoever asked it has put that in."""

    def __post_init__(self) -> None:
        if (self.mask_hw is None) == (self.box_xyxy_px is None):
            raise ValueError("a detection has a mask or a box, and not both")

    def enlarged(self) -> NDArray[np.bool_] | None:
        """The mask at the size of the picture, H x W; None if there is a box."""
        if self.mask_hw is None:
            return None
        if self.mask_hw.shape == self.picture_hw:
            return np.ascontiguousarray(self.mask_hw)
        import cv2  # late: a request is checked without it

        height, width = self.picture_hw
        # Linear between the pixels: no staircase along the edge.
        large = cv2.resize(
            self.mask_hw.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
        )
        return np.asarray(large >= 0.5)

    def region(self, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask, or the inside of the box, on a grid of this size laid over the picture."""
        if self.mask_hw is not None:
            if self.mask_hw.shape == size_hw:
                return self.mask_hw
            import cv2

            small_hw = self.mask_hw.astype(np.uint8)
            grid_hw = cv2.resize(small_hw, size_hw[::-1], interpolation=cv2.INTER_NEAREST)
            return np.asarray(grid_hw > 0)
        left, top, right, bottom = self.box_xyxy_px or (0.0, 0.0, 0.0, 0.0)
        down, across = size_hw[0] / self.picture_hw[0], size_hw[1] / self.picture_hw[1]
        inside_hw = np.zeros(size_hw, bool)
        rows = slice(max(0, round(top * down)), max(0, round(bottom * down)))
        inside_hw[rows, max(0, round(left * across)) : max(0, round(right * across))] = True
        return inside_hw


class Detector(Protocol):
    """Finds objects on single pictures.

    Equal pictures give equal detections on the same machine, whatever was looked at before: a run
    that is started again must find the same objects. What runs out of memory is raised as it is,
    and the caller makes a new detector with a smaller batch.

    A detector that looks for motion needs frames before those that are asked for: its entry says
    so, and `first_needed` gives the first one. It is given them in their order, in one call or in
    several; where a call begins with the frame after the last one, it goes on.
    """

    def detect(
        self,
        images_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        *,
        first_frame: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Detection]]:
        """Look at pictures.

        Args:
            images_rgb_hwc_u8: Consecutive frames, each H x W x 3.
            first_frame: The number of the first one in the video.
            on_progress: Called with how much of the work is done, and how much there is.

        Returns:
            The detections of each picture, in any order.
        """


class MakesDetector(Protocol):
    """The home of an entry: a class, or a function that makes a detector."""

    def __call__(
        self, model: TrackingModel, options: AutomaticPrompts, *, batch: int
    ) -> Detector: ...


Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here, and the total if it is known."""


class DetectorFiles(Protocol):
    """What a detector needs besides the tracking model: weights, or detections made elsewhere.

    Nothing here imports torch before `fetch`: what is wrong should not take seconds to say.
    """

    def check(self, what: str, options: AutomaticPrompts) -> None:
        """Refuse what can be seen to be wrong by words alone, on any machine.

        Args:
            what: Behind the colon.
            options: The labels and texts that are asked for.

        Raises:
            InputError: One line.
        """

    def look_up(self, what: str, options: AutomaticPrompts) -> None:
        """See early whether it can be had, before anything large is fetched.

        Raises:
            SegmentationError: It cannot; one line says why, and what to do.
        """

    def fetch(
        self,
        what: str,
        options: AutomaticPrompts,
        *,
        cache_dir: Path,
        on_progress: Progress | None = None,
    ) -> str:
        """Have all of it on this machine.

        Args:
            what: Behind the colon.
            options: What is to be found.
            cache_dir: Where digests of large files are remembered.
            on_progress: Told of a download.

        Returns:
            All that answers depend on besides `options`, such as the version of a library and a
            digest of the weights.

        Raises:
            SegmentationError: It cannot be had; one line says why, and what to do.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorEntry(Entry):
    """A detector. Its home makes one from a model, options and a batch: see `MakesDetector`."""

    batch: int = 1
    """How much of its work it does at once where memory allows that; halved where it does not."""
    unit: str = "pictures"
    """What its progress counts."""
    version: str = "1"
    """All that its answers depend on besides the model, the options and its files: what was found
    is kept under this, and not looked for again."""
    takes: str = ""
    """What follows its name and a colon, as people are told, such as `NAME`; empty for nothing."""
    choices: tuple[str, ...] = ()
    """What may follow, as far as there is a list; the form shows it."""
    files: str = ""
    """Module and attribute of its `DetectorFiles`, if it has any."""
    of_model: bool = False
    """Whether it is a part of the model that tracks; its files are then a
    `samcore.detectors.abilities.ModelPart`, and it may be a `FeatureDetector`."""
    min_score: float = 0.0
    """Least score of a detection where none is asked for."""
    min_text_score: float = 0.3
    """The same where a text says what to find: most such models are less sure."""
    has_labels: bool = True
    """Whether it says what objects are."""
    takes_text: bool = False
    """Whether it looks for what a text says."""
    lookback: int = 0
    """Frames before a block that it must see before that block's."""
    by_number: bool = False
    """Whether it goes by the numbers of frames in a video."""
    block: int = 1
    """What it remembers begins anew at multiples of this, so that a result does not depend on
    where one began to look: 1 for what looks at single pictures."""

    @property
    def form(self) -> str:
        """How people name it."""
        return f"{self.name}:{self.takes}" if self.takes else self.name

    def first_needed(self, frame_idx: int) -> int:
        """The first frame that must be seen for the detections of a frame to be right.

        With lookback 60 and block 300, for frame 700:

            0          300       540  600     700
            |-----------|---------|...|========|
                                  540          asked for
        """
        return max(0, frame_idx - frame_idx % self.block - self.lookback)


DETECTORS = Registry(
    "detector",
    "longtake.detectors",
    DetectorEntry,
    [
        DetectorEntry(
            name="masks",
            about="whatever the tracking model has a sharp mask for, by a grid of clicks",
            home="samcore.detectors.masks:MaskGrid",
            batch=64,
            unit="points",
            has_labels=False,
        ),
        DetectorEntry(
            name="motion",
            about="what moves before a background that stands still: for fixed cameras only",
            home="samcore.detectors.motion:MotionBlobs",
            unit="frames",
            has_labels=False,
            lookback=60,
            block=300,
        ),
        DetectorEntry(
            name="file",
            about="detections made elsewhere: MOT text, COCO results, or our own JSON",
            home="samcore.detectors.file:ListedDetections",
            takes="DETECTIONS",
            by_number=True,
            files="samcore.detectors.file:DetectionsFile",
        ),
        DetectorEntry(
            name="torchvision",
            about="80 kinds of things, by SSDLite, Faster R-CNN or Mask R-CNN",
            home="samcore.detectors.torchvision:TorchvisionDetector",
            takes="NAME[:FILE]",
            choices=(
                "ssdlite320_mobilenet_v3_large",
                "fasterrcnn_mobilenet_v3_large_320_fpn",
                "fasterrcnn_resnet50_fpn_v2",
                "maskrcnn_resnet50_fpn_v2",
            ),
            files="samcore.detectors.torchvision:TorchvisionFiles",
            min_score=0.5,
        ),
        DetectorEntry(
            name="transformers",
            about="models of the hub: RT-DETR, D-FINE; by text Grounding DINO, OWLv2",
            home="samcore.detectors.transformers:HubDetector",
            takes="ORG/NAME",
            files="samcore.detectors.transformers:HubDetectorFiles",
            min_score=0.5,
            takes_text=True,
        ),
        DetectorEntry(
            name="sam3",
            about="whatever a text says, by the detector of the SAM 3 that tracks",
            home="samcore.detectors.sam3:TextDetector",
            batch=8,
            files="samcore.detectors.sam3:TextDetectorFiles",
            of_model=True,
            min_score=0.5,
            min_text_score=0.5,  # score_threshold_detection of build_sam3_video_model
            takes_text=True,
        ),
    ],
)
"""The detectors, by name."""


def find_detector(named: str) -> tuple[DetectorEntry, str]:
    """The entry that a person names, and what follows the colon.

    Raises:
        InputError: There is none, or what it takes is missing or too much.
    """
    name, colon, what = named.partition(":")
    if name not in DETECTORS:
        forms = ", ".join(entry.form for entry in DETECTORS)
        raise InputError(f"unknown detector: got {name!r}, known are {forms}")
    entry = DETECTORS.get(name)
    if colon and not entry.takes:
        raise InputError(f"the detector {name} takes nothing behind a colon, got {named!r}")
    if entry.takes and not what:
        such = f", such as {name}:{entry.choices[0]}" if entry.choices else ""
        raise InputError(f"the detector {name} wants more: give {entry.form}{such}")
    return entry, what


def is_of_model(options: AutomaticPrompts) -> bool:
    """Whether the detector that is asked for is a part of the model that tracks."""
    return find_detector(options.detector)[0].of_model


def check_detector(options: AutomaticPrompts) -> None:
    """Refuse a detector, labels or texts that can be seen to be wrong by words alone.

    Raises:
        InputError: One line that says what would do.
    """
    entry, what = find_detector(options.detector)
    if options.text and not entry.takes_text:
        able = " or ".join(one.form for one in DETECTORS if one.takes_text)
        raise InputError(
            f"text: the detector {entry.name} does not look for what a text says; take {able}"
        )
    if options.labels and not entry.has_labels:
        able = ", ".join(one.name for one in DETECTORS if one.has_labels)
        raise InputError(
            f"labels: the detector {entry.name} does not say what objects are; those that do are "
            f"{able}"
        )
    if entry.files:
        _files(entry).check(what, options)


def look_up_detector(options: AutomaticPrompts, model: ModelSpec | None = None) -> None:
    """See early whether a detector can be had.

    Args:
        options: Name it, and say what it is to find.
        model: The run's own; None while it is not on this machine.

    Raises:
        SegmentationError: It cannot; one line says why, and what to do.
    """
    entry, what = find_detector(options.detector)
    if entry.files:
        _files(entry).look_up(what, options)
    if entry.of_model and model is not None:
        _part(entry).check_model(model, options)


def fetch_detector(
    options: AutomaticPrompts,
    *,
    model: ModelSpec | None = None,
    cache_dir: Path,
    on_progress: Progress | None = None,
) -> str:
    """Have a detector's files on this machine.

    Args:
        options: Name it.
        model: The run's own, on this machine; a detector that is a part of it needs it.
        cache_dir: Where digests of large files are remembered.
        on_progress: Told of a download.

    Returns:
        Its fingerprint: equal ones give equal detections, for equal options and the same model.

    Raises:
        SegmentationError: It cannot be had; one line says why, and what to do.
    """
    entry, what = find_detector(options.detector)
    said = f"{entry.name} {entry.version}"
    if not entry.files:
        return said
    digest = _files(entry).fetch(what, options, cache_dir=cache_dir, on_progress=on_progress)
    if entry.of_model:
        if model is None:
            raise ValueError(f"{entry.name} is a part of the run's model, which was not given")
        digest = _part(entry).check_model(model, options)
    return f"{said} {digest}"


def _files(entry: DetectorEntry) -> DetectorFiles:
    module, _, attribute = entry.files.partition(":")
    files: DetectorFiles = getattr(importlib.import_module(module), attribute)()
    return files


def _part(entry: DetectorEntry) -> ModelPart:
    part: ModelPart = _files(entry)  # type: ignore[assignment]  # as `of_model` says
    return part


def make_detector(options: AutomaticPrompts, model: TrackingModel, *, batch: int) -> Detector:
    """The detector that is asked for.

    Args:
        options: Name it, and say what it is to find. Its files are here: see `fetch_detector`.
        model: The run's own, on its device.
        batch: How much it does at once, `DetectorEntry.batch` or less.

    Raises:
        InputError: There is no such detector; the message lists the known ones.
    """
    home: MakesDetector = find_detector(options.detector)[0].load()
    return home(model, options, batch=batch)
