"""The JSON records of a run and its result, as they lie on the disk."""

import hashlib
import json
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from samcore.chunks.handoff import find_handoff
from samcore.chunks.plan import Chunk
from samcore.config import TrackSettings
from samcore.detectors.detector import find_detector
from samcore.disk.files import FileRecord
from samcore.errors import InputError
from samcore.identities.config import AssociationConfig
from samcore.machine.rung import Rung
from samcore.masks.ledger import ResultObject
from samcore.models.registry import ModelSpec
from samcore.prompts.automatic import AutomaticPrompts
from samcore.prompts.direction import Direction
from samcore.video.tracked import TrackedFrames

RUN_FORMAT: Literal[2] = 2
"""Part of every work key: raised when older work can no longer be continued."""
RESULT_FORMAT: Literal[1] = 1
"""Part of every result key: raised when equal requests give other masks than before."""


class Record(BaseModel):
    """What all records share: a misspelt or unknown name is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ObjectRecord(Record):
    """One object that is asked for."""

    id: int
    label: str | None
    prompted_frames: tuple[int, ...]
    """Ascending."""
    source: str = "prompt"
    """Where it comes from: `prompt`, `automatic` if it was found, or `warm-start` if the run began
    with its memory and has no prompt of it."""
    direction: Direction = "forward"
    """Where it is tracked from its first prompt on."""

    def entry(self) -> ResultObject:
        """Its entry in the ledger of objects, before anything was tracked."""
        return ResultObject(id=self.id, label=self.label, source=self.source)


class WarmStartRecord(Record):
    """What a run begins with: the memory of objects in another video."""

    source: str
    """Absolute path or address of the state, or of the result that it lies in."""
    file: FileRecord
    """The state."""
    objects: tuple[int, ...]
    """Its objects, ascending; they are tracked from the run's first frame on."""


class DetectionRecord(Record):
    """How objects are found throughout the video."""

    options: dict[str, Any]
    """All of `AutomaticPrompts`. Not held against the detectors that are here: who reads a result
    need not have them."""
    fingerprints: tuple[str, ...]
    """Of each detector: equal ones find the same."""
    cuts: tuple[int, ...] = ()
    """The frames that begin a scene, where detectors look at these; ascending."""
    association: AssociationConfig
    """All constants by which detections become objects, and objects keep their ids."""

    @property
    def asked(self) -> AutomaticPrompts:
        """The options.

        Raises:
            InputError: A detector is not here.
        """
        try:
            return AutomaticPrompts.model_validate(self.options)
        except ValidationError as error:
            why = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
            raise InputError(f"this run's detectors cannot be used here: {why}") from error

    @property
    def batch(self) -> int:
        """The most that any of the detectors does at once, if memory allows."""
        return max(find_detector(one.detector)[0].batch for one in self.asked.each)

    def at(self, number: Callable[[int], int]) -> "DetectionRecord":
        """The same with other numbers for the frames."""
        return self.model_copy(update={"cuts": tuple(map(number, self.cuts))})

    @property
    def identity(self) -> dict[str, object]:
        """All that objects, ids and masks depend on. Where files lie is not part of it."""
        beside = ("detector", "more_detectors", "look_ahead_s", "max_objects", "reanchor_every")
        left_out = {*beside, "association_options"}
        return {
            "detectors": self.fingerprints,
            "options": {k: v for k, v in self.options.items() if k not in left_out},
            "association": self.association.model_dump(mode="json"),
            "cuts": self.cuts,
        }


class SearchRecord(Record):
    """How each chunk finds its objects by itself, on its own first frames."""

    options: dict[str, Any]
    """All of `AutomaticPrompts`, without `detect_every`."""
    fingerprints: tuple[str, ...]
    """Of each detector: equal ones find the same."""

    @property
    def asked(self) -> AutomaticPrompts:
        """The options."""
        return AutomaticPrompts.model_validate(self.options)

    @property
    def identity(self) -> dict[str, object]:
        """All that the objects depend on. Where files lie is not part of it."""
        left_out = {"detector", "more_detectors"}
        return {
            "detectors": self.fingerprints,
            "options": {k: v for k, v in self.options.items() if k not in left_out},
        }


class RunRecord(Record):
    """`request.json`: what was asked, checked, with everything that was left open now chosen."""

    format: Literal[2] = RUN_FORMAT
    source: str
    """Absolute path of the video, or its address without a query, which may hold a secret."""
    source_version: str | None = None
    """The bucket's name for the version of the video; None where it keeps none, and elsewhere."""
    source_mark: str | None = None
    """`ObjectInfo.mark` of the video; None outside of buckets."""
    source_digest: str
    source_reading: str | None = None
    """`VideoInfo.reading`, for videos of which earlier versions gave other pictures or times."""
    objects: tuple[ObjectRecord, ...]
    """By ascending id."""
    prompts_digest: str
    model: ModelSpec
    settings: TrackSettings
    """Nothing in it is `auto` or 0 any more."""
    start: int
    """First frame to track."""
    stop: int
    """One past the last frame to track."""
    chunks: tuple[Chunk, ...]
    """The plan: in order, from `start` to `stop`."""
    handoff: str
    """A name in `samcore.chunks.handoff.HANDOFFS`."""
    warm_start: WarmStartRecord | None = None
    """What the run begins with; None if with prompts only."""
    detection: DetectionRecord | None = None
    """How objects are found on the way; None if they are not."""
    finding_seconds: float | None = None
    """That a device was held for, while objects were found before the first chunk; None if none
    were, or nobody knows. No part of any key."""
    further_parts: tuple[str, ...] = ()
    """The files that follow `source`, where one recording lies in several; likewise."""
    tracked: TrackedFrames | None = None
    """Which of the frames are tracked; None if all are. `start` is then the first of them, and
    `stop` is one past the last."""
    backward_from: int | None = None
    """Of the backward pass of a run, see `samcore.run.backward`: the video's last frame. All frame
    numbers are then those of the mirrored video, in which it is frame 0."""

    search: SearchRecord | None = None
    """How each chunk finds its objects by itself; None if it does not, or by `detection`."""
    shards: tuple[tuple[int, ...], ...] = ()
    """The objects of each share that is tracked by itself, if there are such shares."""
    unit: int | None = None
    """Which unit of work of another run this one is, see samcore/run/units.py; None for a run."""

    @property
    def directions(self) -> dict[int, Direction]:
        """The direction of each object that is not tracked forward only, by id."""
        return {item.id: item.direction for item in self.objects if item.direction != "forward"}

    def in_video(self, frame_idx: int) -> int:
        """The video's own number of a frame."""
        return frame_idx if self.backward_from is None else self.backward_from - frame_idx

    @property
    def result_key(self) -> str:
        """Names the result: equal keys give equal masks.

        Where the video or the weights lie, what objects are called, and which of several equal
        devices is used, are not part of it. The hand-off and the plan of chunks are, if the masks
        depend on where the video is cut.
        """
        identity: dict[str, object] = {
            "format": RESULT_FORMAT,
            "source": self.source_digest,
            "prompts": self.prompts_digest,
            "model": self.model.fingerprint,
            "settings": {
                # What was added later is in the key only where it is used: older keys stay.
                **self.settings.model_dump(
                    mode="json",
                    exclude={
                        name
                        for name in ("stretch", "memory_policy_options")
                        if not getattr(self.settings, name)
                    }
                    | {"retire_after", "look_for_every", "archive_size"}
                    | {"encode_every", "memory_pool"},
                ),
                "device": self.settings.device.partition(":")[0],
            },
            "frames": [self.start, self.stop],
        }
        if self.settings.retirement is not None:
            identity["retirement"] = self.settings.retirement.model_dump(mode="json")
        if self.settings.approximations:
            identity["approximate"] = self.settings.approximations
        if not find_handoff(self.handoff).is_exact:
            identity["chunks"] = [self.handoff, self._plan]
        if self.tracked is not None:
            identity["tracked"] = [self.tracked.first, self.tracked.steps]
        if self.source_reading is not None:
            identity["reading"] = self.source_reading
        if self.warm_start is not None:
            identity["warm_start"] = self.warm_start.file.sha256
        if self.detection is not None:
            identity["detection"] = self.detection.identity
        if self.directions:
            identity["directions"] = sorted(self.directions.items())
        if self.backward_from is not None:
            identity["backward_from"] = self.backward_from
        if self.search is not None:
            identity["search"] = self.search.identity
        if self.shards:
            identity["shards"] = self.shards
        return _key_of(identity)

    @property
    def work_key(self) -> str:
        """Names the work on the way to the result: equal keys give equal chunks."""
        unit = [] if self.unit is None else [self.unit]
        return _key_of([self.format, self.result_key, self.handoff, self._plan, *unit])

    @property
    def _plan(self) -> list[list[int]]:
        return [[chunk.start, chunk.stop] for chunk in self.chunks]

    @property
    def as_asked(self) -> Rung:
        """How much is done at once, if memory allows."""
        return Rung(
            encode_batch=max(1, self.settings.encode_batch),
            object_batch=max(1, self.settings.object_batch),
            detect_batch=1 if self.detection is None else self.detection.batch,
            image_size=self.model.image_size,
        )

    @property
    def most_objects(self) -> int:
        """Objects that there may be at once."""
        found = 0 if self.detection is None else self.detection.association.max_objects
        return max(found, len(self.objects))

    @property
    def num_frames(self) -> int:
        """How many frames are tracked."""
        return self.frames_within(self.start, self.stop)

    def frames_within(self, start: int, stop: int) -> int:
        """How many of the frames [start, stop) are tracked."""
        return stop - start if self.tracked is None else len(self.tracked.within(start, stop))

    def in_steps(self) -> "RunRecord":
        """The same as the tracker sees it: with steps in place of the numbers of frames. Its keys
        are other ones."""
        frames = self.tracked
        if frames is None:
            return self
        plan = [(frames.step_of(chunk.start), frames.step_of(chunk.stop)) for chunk in self.chunks]
        objects = (
            item.model_copy(
                update={"prompted_frames": tuple(map(frames.step_of, item.prompted_frames))}
            )
            for item in self.objects
        )
        return self.model_copy(
            update={
                "start": frames.step_of(self.start),
                "stop": frames.step_of(self.stop),
                "chunks": tuple(Chunk(index, *span) for index, span in enumerate(plan)),
                "objects": tuple(objects),
                "tracked": None,
                "detection": None if self.detection is None else self.detection.at(frames.step_of),
            }
        )

    def overlap(self, index: int) -> int:
        """Frames that chunk `index` shares with the one before; 0 for the first chunk."""
        return self.chunks[index - 1].stop - self.chunks[index].start if index else 0


def _key_of(identity: object) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


class PassRecord(Record):
    """`prompts.done.json`: the prompt pass is done."""

    state: FileRecord
    frames: int
    """Prompted frames that were encoded."""
    seconds: float
    lost_seconds: float = 0.0
    """Of attempts at it that came to nothing, as far as is known."""
    degradations: tuple[str, ...] = ()
    """What was given up to fit into memory, like a chunk's."""
    rung: Rung | None = None
    """How it was done in the end; None if as asked."""
    quality_loss: bool = False
    """Whether that was with a smaller input of the model than asked."""
    peak_rss_bytes: int | None = None
    peak_vram_bytes: int | None = None


class ChunkRecord(Record):
    """`done.json`: a chunk is done. Written last; without it the chunk does not exist."""

    index: int
    """Place in the plan, from 0."""
    start: int
    stop: int
    """Frames [start, stop)."""
    masks: FileRecord
    state: FileRecord | None
    """The state at the next chunk's first frame; None for the last chunk and other hand-offs."""
    attempts: int
    """Tries of the task in the run that finished the chunk."""
    degradations: tuple[str, ...]
    """What was given up to fit into memory: from which frame on, what, and why; empty if nothing
    was."""
    rung: Rung | None = None
    """How the chunk was tracked at its end, and the next one from its beginning; None if as asked.
    """
    quality_loss: bool = False
    """Whether any frame was tracked with a smaller input of the model than asked."""
    device: str
    seconds: float
    """From the first frame wanted to the last one written."""
    frames_per_second: float
    stages: dict[str, float] | None = None
    """Seconds that the chunk's process waited for decoding, encoding, tracking and writing. On a
    GPU encoding shows in `track`, which waits for it."""
    lost_seconds: float = 0.0
    """Of attempts that came to nothing, since they were killed or failed, or whose state was gone
    when the next chunk wanted it; as far as is known."""
    peak_rss_bytes: int
    peak_vram_bytes: int | None
    found: tuple[ResultObject, ...] = ()
    """Objects that detectors found on the chunk's frames and that were no mistakes, with label,
    source and score."""
    finished_at: str
    """ISO 8601, UTC."""


class CorrectionRecord(Record):
    """`correction.json`: what a run takes from a finished one that had other prompts."""

    of: str
    """The finished run's result key."""
    work: str
    """The finished run's work key: its folder is beside that of this run."""
    changed: dict[int, int]
    """Of each object whose masks may be others: the first frame where they may."""
    tracked: dict[int, int]
    """Of each of these: the frame from which on it is tracked again, which may be an earlier one if
    states are gone; whole chunks are tracked."""
    kept: tuple[int, ...]
    """Objects whose masks are as they were on all frames."""
    removed: tuple[int, ...]
    """Objects that are not asked for any more."""
    spreads_from: int | None = None
    """The frame from which on objects are tracked again whose prompts are as they were, since they
    share batches with others that are not; None if there are none."""
    frames: int = 0
    """Frames that are tracked again."""
    object_frames: int = 0
    """The same, counted once for each object that is tracked again there."""
