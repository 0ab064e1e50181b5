"""Options that share one video out among workers, and what they go together with."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from samcore.chunks.handoff import find_handoff
from tasks.runners.runner import RUNNERS, AskedRunner

if TYPE_CHECKING:
    from samcore.result.records import RunRecord
    from tasks.request.segment_request import SegmentRequest


_MOST = 1000


def _known(text: str) -> str:
    AskedRunner.of(text)
    return text


def _number_or_auto(value: object) -> object:
    """Said here in one line: of a union, pydantic says what is wrong with each part."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9:
        value = int(value)
    is_number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST
    if value is None or value == "auto" or is_number:
        return value
    raise ValueError(f"wanted a number from 1 to {_MOST}, or auto, got {value!r}")


Overlap = Annotated[
    int | None,
    Field(
        ge=0,
        title="Overlap",
        description="Frames that two chunks both track, to check one by the other; the default is "
        "8, and for the match hand-off, which joins identities there, 24 and the frames from one "
        "look of a detector to the next.",
    ),
]
Shards = Annotated[
    int | Literal["auto"] | None,
    BeforeValidator(_number_or_auto),
    Field(
        title="Shards",
        description="Track the objects in so many shares, side by side; auto is a share for each "
        "worker, and no more than there are batches of objects. Each share reads and encodes the "
        "whole video. Masks are those of one share, but for rounding where batches are smaller.",
    ),
]
Runner = Annotated[
    str,
    AfterValidator(_known),
    Field(
        title="Workers",
        json_schema_extra={"examples": list(RUNNERS.names)},
        description="Where shards, or chunks of the match hand-off, are tracked: here (one after "
        "another), processes:N, dask:N or ray:N on the machine of the run, or the workers of a "
        "cluster, dask:ADDRESS or ray:ADDRESS. They must reach video and destination.",
    ),
]


def shared_frames(request: "SegmentRequest") -> int:
    """`overlap`, or what suits the hand-off."""
    if request.overlap is not None:
        return request.overlap
    handoff = find_handoff(request.handoff)
    every = 1 if request.automatic is None else request.automatic.detect_every
    waits = every - 1 if handoff.is_parallel and isinstance(every, int) else 0
    return min(handoff.overlap + waits, _most_shared(request))


def with_shards(record: "RunRecord", request: "SegmentRequest") -> "RunRecord":
    """The run with its objects shared out, if that is asked and there is more than one share.

    Raises:
        InputError: There are fewer objects than shards.
    """
    from samcore.run.units import count_shards, plan_shards  # late: options are checked without it

    ids, batch = [item.id for item in record.objects], record.settings.object_batch
    count = count_shards(
        request.shards,
        objects=len(ids),
        batch=batch,
        workers=AskedRunner.of(request.runner).workers(record.settings.device),
    )
    if count == 1:
        return record
    return record.model_copy(update={"shards": plan_shards(ids, count, batch=batch)})


def check_sharing_out(request: "SegmentRequest") -> None:
    """Refuse what cannot be shared out.

    Raises:
        ValueError: One line that says why, and what would do.
    """
    if find_handoff(request.handoff).is_parallel:
        _check_match(request)
    if request.shards is not None:
        _check_shards(request)


def _check_match(request: "SegmentRequest") -> None:
    name = request.handoff
    if request.automatic is None:
        raise ValueError(
            f"the hand-off {name} wants something that finds objects at the start of each chunk, "
            "beside prompts or alone: give automatic, such as --automatic, --detect or --text"
        )
    if request.warm_start is not None:
        raise ValueError(
            f"the hand-off {name} does not go with a warm start, which only the first chunk could "
            "begin with: use the hand-off memory"
        )
    if request.every is not None or request.fps is not None:
        raise ValueError(
            f"the hand-off {name} tracks all frames: leave out every and fps, or use the hand-off "
            "memory"
        )
    if request.automatic.frame is not None:
        raise ValueError(
            f"the hand-off {name} looks at the start of each chunk: leave out the frame "
            f"{request.automatic.frame} of automatic"
        )
    most = _most_shared(request)
    if request.overlap is not None and not 1 <= request.overlap <= max(most, 1):
        raise ValueError(
            f"the hand-off {name} joins identities over the overlap: wanted 1 to half of a chunk, "
            f"{most} frames, got {request.overlap}"
        )


def _check_shards(request: "SegmentRequest") -> None:
    if request.handoff != "memory":
        raise ValueError(
            f"shards want the hand-off memory, which is exact; got {request.handoff}: give one of "
            "them"
        )
    if request.looks_throughout:
        raise ValueError(
            "shards want objects that are known at the start: what detect_every finds depends on "
            "all objects; leave out one of them"
        )
    if request.warm_start is not None:
        raise ValueError(
            "shards want prompts or automatic; a warm start is one state of all objects"
        )
    if request.settings.retire_after is not None:
        raise ValueError(
            "shards do not go with retire_after: the archive of objects that are gone is one for "
            "all of them; leave out one of them"
        )


def _most_shared(request: "SegmentRequest") -> int:
    """No frame may be in three chunks."""
    if not find_handoff(request.handoff).is_parallel:
        return request.chunk_frames - 1
    return max(1, request.chunk_frames // 2)
