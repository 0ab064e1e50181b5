"""Which frame of the video an annotated frame is."""

from collections.abc import Sequence
from dataclasses import dataclass

from samcore.errors import InputError
from samcore.video.names import FrameNames, number_in
from samcore.video.tracked import TrackedFrames


@dataclass(frozen=True, slots=True)
class TrackedVideo:
    """What ground truth is held against: how many frames there are, and what they are called."""

    num_frames: int
    """Frames of the whole video."""
    names: FrameNames | None = None
    """Of the pictures, if it is a folder of them."""
    tracked: TrackedFrames | None = None
    """Which of the frames were tracked; None if all were."""

    def by_name(self, stems: Sequence[str], *, where: str) -> list[int]:
        """Give the frame that each name belongs to: the one that is called so, or, if none of the
        names is there and all of both sides have numbers, the one with that number.

        Args:
            stems: Names without their endings.
            where: The ground truth, for the message.

        Raises:
            InputError: A name belongs to no frame, or two to one.
        """
        if self.names is None:
            raise ValueError("the frames of a video file have no names")
        found = [self.names.frame_of(stem) for stem in stems]
        if all(frame is None for frame in found) and self.names.numbers is not None:
            frame_of = {number: frame for frame, number in enumerate(self.names.numbers)}
            numbers = [number_in(stem) for stem in stems]
            found = [None if number is None else frame_of.get(number) for number in numbers]
        frames = [frame for frame in found if frame is not None]
        if len(frames) < len(found):
            missing = [stem for stem, frame in zip(stems, found, strict=True) if frame is None]
            raise _unpaired(where, missing[0], len(missing), len(stems), self.names)
        if len(set(frames)) < len(frames):
            raise InputError(f"{where} has two masks of one picture: their names have one number")
        return frames

    def by_number(self, numbers: Sequence[int], *, where: str) -> list[int]:
        """Give the frame whose picture's name has each number, in a folder where all have one.

        Raises:
            InputError: A number belongs to no frame.
        """
        if self.names is None or self.names.numbers is None:
            raise ValueError("the frames have no numbers of their own")
        frame_of = {number: frame for frame, number in enumerate(self.names.numbers)}
        missing = [number for number in numbers if number not in frame_of]
        if missing:
            raise _unpaired(where, str(missing[0]), len(missing), len(numbers), self.names)
        return [frame_of[number] for number in numbers]

    def by_place(self, length: int, first_frame: int | None) -> list[int]:
        """Give the frame of each place in a list: those that were tracked, where it has one place
        for each of them and not one for each of the video's; else all in a row.

        Args:
            length: Of the list.
            first_frame: The place of the video's first frame; None is 0, or chosen by the length.
        """
        if first_frame is None and self.tracked is not None and length == len(self.tracked):
            return [int(number) for number in self.tracked.numbers_m]
        return [place - (first_frame or 0) for place in range(length)]

    def check(self, frame: int, *, where: str) -> None:
        """Make sure that the video has this frame, counted from 0.

        Raises:
            InputError: It ends before.
        """
        if frame >= self.num_frames:
            raise InputError(
                f"{where} goes on to frame {frame}, and the video has {self.num_frames} frames, 0 "
                f"to {self.num_frames - 1}: it is not of this video, or counts frames in another "
                "way; --first-frame says what number the first one has"
            )


def _unpaired(where: str, first: str, missing: int, total: int, names: FrameNames) -> InputError:
    return InputError(
        f"{where}: {missing} of {total} annotated frames, the first of them {first!r}, belong to "
        f"none of the {len(names.files)} pictures that were tracked ({names.files[0]} to "
        f"{names.files[-1]}): not of the same folder, or renamed; --first-frame N pairs them by "
        "their numbers, N for the first picture"
    )
