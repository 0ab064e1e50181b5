"""The backward pass of a run: its objects from their first prompts to the run's first frame.

It is a run of its own, of the video mirrored in time, in a folder of its own beside the run's:

    WORK/runs/<work key>/      the run: objects that go forward or both ways
    WORK/runs/<other key>/     its backward pass: objects that go backward or both ways

    the video's frames         0  1  2  3  4  5  6  7  8  9    10 frames, prompts on 3 and 6
    the backward pass's        9  8  7  6  5  4  3  2  1  0    begins on its frame 3, the video's 6

So chunks, states, seams, and going on after a kill are those of any run; `BackwardVideo` gives the
frames and `BackwardTracker` tracks them. Nothing of it depends on the forward pass. All of it
follows from the run's own records. When both are done, one table is made of both:

    object 1, both             <<<<<<<<<p>>>>>>>>>>>>>>>>>>
    object 2, backward         <<<<<<<<<<<<<<<<<<p
    object 3, forward                            p>>>>>>>>>

An object has a row on each frame of its arrow, with area 0 where it is absent. One that goes only
backward has none after its first prompt: there it is not tracked, which is not the same as absent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from samcore.chunks.plan import plan_chunks
from samcore.chunks.seams import SeamReport
from samcore.disk.files import make_folder
from samcore.masks.merged import TableRows, frames_of_objects, merge_tables
from samcore.masks.mirrored import write_mirrored
from samcore.masks.reader import MaskReader
from samcore.prompts.direction import Direction
from samcore.prompts.prompt import Prompt
from samcore.prompts.resolve import prompts_digest
from samcore.result.manifest import MASKS
from samcore.result.records import ChunkRecord, ObjectRecord, RunRecord
from samcore.run.folder import RunFolder
from samcore.run.joining import finished_chunks, join_masks, seam_report


def backward_pass(folder: RunFolder) -> RunFolder | None:
    """The folder of a run's backward pass, laid out if need be; None if nothing goes backward.

    Raises:
        LostWorkError: The run's own records are gone or damaged.
        StorageError: The folder cannot be written to.
    """
    record = folder.record()
    if not record.directions:
        return None
    video = folder.video()
    mirror, prompts = mirrored_run(record, folder.prompts(), last=video.num_frames - 1)
    path = folder.path.parent / mirror.work_key
    found = RunFolder(
        path, allow_quality_loss=folder.allow_quality_loss, credentials=folder.credentials
    )
    found.create(mirror, video, prompts, folder.names())
    return found


def directed(
    objects: Iterable[ObjectRecord],
    *,
    asked: Mapping[int, Direction],
    default: Direction,
    start: int,
) -> tuple[ObjectRecord, ...]:
    """Objects with their directions.

    Args:
        objects: Of a run.
        asked: The directions that are said of single ones.
        default: That of all others.
        start: The run's first frame: who has a prompt there needs not go back from it.
    """
    found = []
    for item in objects:
        direction = asked.get(item.id, default)
        if direction == "both" and item.prompted_frames[:1] == (start,):
            direction = "forward"
        found.append(item.model_copy(update={"direction": direction}))
    return tuple(found)


def mirrored_run(
    record: RunRecord, prompts: tuple[Prompt, ...], *, last: int
) -> tuple[RunRecord, tuple[Prompt, ...]]:
    """What a run's backward pass is asked, and its prompts, in the mirrored video's numbers.

    Args:
        record: The run's; some object in it goes backward.
        prompts: The run's.
        last: The video's last frame.
    """
    going = record.directions
    first = {item.id: _first_frame(item) for item in record.objects}
    mirrored = [
        replace(p, frame_idx=last - p.frame_idx, from_here=False)
        for p in prompts
        # A later one that holds from its frame on tells nothing of the frames before the first.
        if p.obj_id in going and (not p.from_here or p.frame_idx == first[p.obj_id])
    ]
    prompts = tuple(sorted(mirrored, key=lambda prompt: (prompt.obj_id, prompt.frame_idx)))
    objects = tuple(
        ObjectRecord(
            id=item.id,
            label=item.label,
            prompted_frames=tuple(last - frame for frame in reversed(item.prompted_frames)),
            source=item.source,
        )
        for item in record.objects
        if item.id in going
    )
    start, stop = last - max(map(_first_frame, _backward(record))), last - record.start + 1
    plan = record.chunks
    mirror = record.model_copy(
        update={
            "objects": objects,
            "prompts_digest": prompts_digest(prompts),
            "start": start,
            "stop": stop,
            "chunks": plan_chunks(
                start,
                stop,
                chunk_frames=plan[0].stop - plan[0].start,
                overlap=record.overlap(1) if len(plan) > 1 else 0,
            ),
            "backward_from": last,
            "finding_seconds": None,  # they were counted for the run
        }
    )
    return mirror, prompts


def join_both_ways(folder: RunFolder, forward: Path, mirror: RunFolder, staging: Path) -> None:
    """Make one table of a run's two passes, in the place of that of the forward one.

    Args:
        folder: The run's.
        forward: The forward pass's table.
        mirror: The backward pass's folder.
        staging: Where the backward pass's parts are, and its tables go.

    Raises:
        LostWorkError: A chunk of the backward pass is not there.
        StorageError: A table cannot be read or written.
    """
    record = folder.record()
    last = mirror.record().backward_from or 0
    make_folder(staging)
    mirrored = join_masks(mirror, finished_chunks(mirror), staging)
    backward, both = staging / f"backward-{MASKS}", staging / f"both-{MASKS}"
    write_mirrored(mirrored, backward, last=last)
    ranges: dict[int, tuple[int | None, int | None]] = {
        # The first prompt's own row is the forward pass's, if there is one.
        item.id: (None, _first_frame(item) + (item.direction == "backward"))
        for item in _backward(record)
    }
    with MaskReader(forward) as reader:
        metadata = reader.metadata
    parts = [TableRows(forward), TableRows(backward, frames_of_objects(ranges))]
    merge_tables(parts, both, metadata)
    both.replace(forward)


def backward_chunks(record: RunRecord, mirror: RunFolder) -> tuple[ChunkRecord, ...]:
    """The backward pass's chunks in the order in which they were tracked, with the video's frame
    numbers, and counted on from the forward pass's.

    Raises:
        LostWorkError: One of them is not there.
    """
    last = mirror.record().backward_from or 0
    return tuple(
        chunk.model_copy(
            update={
                "index": chunk.index + len(record.chunks),
                "start": last - chunk.stop + 1,
                "stop": last - chunk.start + 1,
            }
        )
        for chunk in finished_chunks(mirror)
    )


def backward_seams(record: RunRecord, mirror: RunFolder) -> list[SeamReport]:
    """How far neighbouring chunks of the backward pass agree, numbered like `backward_chunks`.

    Raises:
        LostWorkError: A chunk is not there.
    """
    mirrored = mirror.record()
    last, before = mirrored.backward_from or 0, len(record.chunks)
    found = []
    for chunk in mirrored.chunks[1:]:
        report = seam_report(mirror, chunk.index)
        objects = tuple(
            item.model_copy(update={"worst_frame": last - item.worst_frame})
            for item in report.objects
        )
        changes = {
            "left_index": report.left_index + before,
            "right_index": report.right_index + before,
            "start": last - report.stop + 1,
            "stop": last - report.start + 1,
            "objects": objects,
        }
        found.append(report.model_copy(update=changes))
    return found


def _backward(record: RunRecord) -> list[ObjectRecord]:
    """The objects that go backward."""
    return [item for item in record.objects if item.direction != "forward"]


def _first_frame(item: ObjectRecord) -> int:
    return item.prompted_frames[0]
