"""Ground truth as a folder of PNGs, one a frame: DAVIS and MOTS."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samcore.errors import InputError
from samcore.evaluation.pairing import TrackedVideo
from samcore.evaluation.truth import GroundTruth, TruthFrame
from samcore.masks.rle import Rle, encode_masks
from samcore.video.names import number_in

_DAVIS_BACKGROUND = (0, 255)
"""255 is background, too: the benchmark's package reads it so."""
_MOTS_IGNORED = 10_000


class TruthImages(GroundTruth):
    """A folder of PNGs whose pixels are numbers of objects. Their names are those of the pictures
    that were tracked; of a video file, the last number in a name is its frame's.

    - DAVIS: 8 bits, with a palette or grey. A grey picture of 0 and 255 alone is a mask of
      object 1, as in DAVIS 2016.
    - MOTS: 16 bits, 1000 times the class and the object's number in it; 10000 is not judged.
    """

    def __init__(
        self, folder: Path, *, first_frame: int | None = None, video: TrackedVideo | None = None
    ) -> None:
        """Look at the names and at one picture's head.

        Args:
            folder: Where the pictures are.
            first_frame: The number in the name of the video's first frame. None is 0 for DAVIS;
                for MOTS 0 if there is a frame 0, else 1; it pairs by name where a folder of
                pictures was tracked.
            video: What was tracked, if that is known.

        Raises:
            InputError: No pictures, names that belong to no frame, or not of either kind.
        """
        self._folder = folder
        by_name = video is not None and video.names is not None and first_frame is None
        self._paths = _named(folder, video) if by_name and video else _numbered(folder)
        number, path = next(iter(self._paths.items()))
        with _opened(path) as image:
            self.width, self.height = image.size
            if image.mode in ("P", "L", "1"):
                self.kind = "davis"
            elif image.mode.startswith("I"):
                self.kind = "mots-png"
            else:
                raise InputError(
                    f"{path} is neither DAVIS's (8 bits, palette or grey) nor MOTS's (16 bits, "
                    f"grey): its mode is {image.mode}"
                )
        if by_name:
            self._first = 0
            return
        if first_frame is None:
            first_frame = 1 if self.kind == "mots-png" and number else 0
        if number < first_frame:
            raise InputError(f"{path.name} comes before the first frame, number {first_frame}")
        self._first = first_frame
        if video is not None:
            video.check(max(self._paths) - first_frame, where=str(folder))

    def frames(self) -> Iterator[TruthFrame]:
        for number, path in self._paths.items():
            numbers_hw = self._read(path)
            void: list[Rle] = []
            found = [int(value) for value in np.unique(numbers_hw)]
            if self.kind == "davis":
                if found in ([0, 255], [255]) and self._is_grey(path):
                    numbers_hw, found = np.minimum(numbers_hw, 1), [1]
                found = [value for value in found if value not in _DAVIS_BACKGROUND]
            else:
                if _MOTS_IGNORED in found:
                    void = encode_masks((numbers_hw == _MOTS_IGNORED)[None])
                found = [value for value in found if value not in (0, _MOTS_IGNORED)]
            masks = {value: encode_masks((numbers_hw == value)[None])[0] for value in found}
            yield TruthFrame(frame=number - self._first, masks=masks, void=tuple(void))

    def _read(self, path: Path) -> NDArray[np.int32]:
        with _opened(path) as image:
            # Before a pixel is decoded: a small file may hold a huge picture.
            if image.size != (self.width, self.height):
                raise InputError(
                    f"{path} is {image.size[0]} x {image.size[1]} pixels, others there are "
                    f"{self.width} x {self.height}"
                )
            is_mots = image.mode.startswith("I")
            if is_mots != (self.kind == "mots-png") or image.mode not in "P L 1 I I;16 I;16B":
                raise InputError(f"{path} is of another kind than others there: {image.mode}")
            try:
                numbers_hw = np.asarray(image).astype(np.int32)
            except (OSError, ValueError, SyntaxError) as error:
                raise InputError(f"{path} is damaged: {error}") from error
            return numbers_hw * 255 if image.mode == "1" else numbers_hw

    @staticmethod
    def _is_grey(path: Path) -> bool:
        with _opened(path) as image:
            return image.mode in ("L", "1")


def _named(folder: Path, video: TrackedVideo) -> dict[int, Path]:
    """The PNGs by ascending frame of the pictures that have their names."""
    paths = _pictures(folder)
    frames = video.by_name([path.stem for path in paths], where=str(folder))
    return dict(sorted(zip(frames, paths, strict=True)))


def _numbered(folder: Path) -> dict[int, Path]:
    """The PNGs by ascending number."""
    paths: dict[int, Path] = {}
    for path in _pictures(folder):
        number = number_in(path.stem)
        if number is None:
            raise InputError(f"{path} has no number in its name: which frame is it?")
        other = paths.setdefault(number, path)
        if other != path:
            raise InputError(f"{other.name} and {path.name} in {folder} are both frame {number}")
    return dict(sorted(paths.items()))


def _pictures(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise InputError(f"there is no PNG in {folder}: wanted one for each annotated frame")
    return paths


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path, formats=["PNG"])
    except (OSError, ValueError, SyntaxError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else "no PNG file"
        raise InputError(f"cannot read {path}: {said}") from error
