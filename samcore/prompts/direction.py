"""In which direction of time objects are tracked from their prompts."""

from collections.abc import Mapping
from typing import Literal

from samcore.errors import InputError

Direction = Literal["forward", "backward", "both"]
"""`forward`: from the object's first prompt to the end. `backward`: from its first prompt to the
beginning; frames after it are not tracked. `both`: one masklet over all frames."""


def goes_backward(default: Direction, asked: Mapping[int, Direction]) -> bool:
    """Whether any object may be tracked backward.

    Args:
        default: The direction of all objects of which nothing else is said.
        asked: What is said of single ones, by id.
    """
    return bool({default, *asked.values()} - {"forward"})


def check_directions(
    default: Direction,
    asked: Mapping[int, Direction],
    *,
    detects_throughout: bool,
    warm_start: bool,
    exact_handoff: bool,
    shards: bool,
    some_frames: bool,
) -> None:
    """Hold directions against what else is asked of a run; see `goes_backward`.

    Args:
        detects_throughout: Whether detectors look throughout the video.
        warm_start: Whether it begins with another video's objects.
        exact_handoff: Whether chunks hand on the tracker's memory.
        shards: Whether objects are tracked in shares.
        some_frames: Whether only some frames are tracked.

    Raises:
        InputError: Objects are to go backward with something that only goes forward.
    """
    if not goes_backward(default, asked):
        return
    for is_used, what in (
        (detects_throughout, "detect_every, which follows what enters forward only"),
        (warm_start, "a warm start, whose objects begin on the first frame"),
        (
            not exact_handoff,
            "a hand-off that depends on where the chunks lie, which goes forward only",
        ),
        (shards, "shards, which go forward only"),
        (some_frames, "every and fps, which go forward only"),
    ):
        if is_used:
            raise InputError(
                f"direction: backward and both do not go with {what}; leave one of them out"
            )
