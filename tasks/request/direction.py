"""In which direction the objects of a request go, and what does not go with that."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from samcore.chunks.handoff import find_handoff
from samcore.errors import InputError
from samcore.prompts.direction import Direction
from samcore.prompts.file import PromptFile

if TYPE_CHECKING:
    from tasks.request.segment_request import SegmentRequest

AskedDirection = Annotated[
    Direction,
    Field(
        title="Direction",
        description="Where objects are tracked from their first prompt on: forward to the end, "
        "backward to the beginning, or both. A prompts file can say it for each object.",
    ),
]


def goes_backward(request: "SegmentRequest", spec: PromptFile | None) -> bool:
    """Whether any object of a request may be tracked backward.

    Args:
        request: What is asked.
        spec: Its prompts, if they were read.
    """
    said = set() if spec is None else set(spec.directions.values())
    return bool({request.direction, *said} - {"forward"})


def check_direction(request: "SegmentRequest", spec: PromptFile | None) -> None:
    """Hold the directions against the rest of a request.

    Raises:
        InputError: Objects are to go backward with something that only goes forward.
    """
    if not goes_backward(request, spec):
        return
    for name, is_used, why in (
        ("detect_every", request.looks_throughout, "which follows what enters forward only"),
        ("every and fps", request.every is not None or request.fps is not None, "yet"),
        ("shards", request.shards is not None, "yet"),
        ("a warm start", request.warm_start is not None, "whose objects begin on the first frame"),
        (
            f"the hand-off {request.handoff}",
            not find_handoff(request.handoff).is_exact,
            "which goes forward only",
        ),
    ):
        if is_used:
            raise InputError(
                f"direction: backward and both do not go with {name}, {why}; leave one of them out"
            )
