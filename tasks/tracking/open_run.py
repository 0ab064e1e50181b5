"""What the tracking tasks share: from a run's folder to a tracker that is ready to go."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samcore.chunks.plan import Chunk
from samcore.config import TrackSettings
from samcore.disk.files import FileRecord, is_intact, storage_errors
from samcore.errors import LostWorkError, StateError
from samcore.identities.config import AssociationConfig
from samcore.machine.allocator import keep_freed_memory
from samcore.machine.device import Compute, choose_compute
from samcore.machine.meters import StageClock
from samcore.machine.rung import Rung
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.table import MaskReader
from samcore.models.family import TrackingModel
from samcore.models.loader import load_model
from samcore.models.registry import resized_model
from samcore.prompts.prompt import Prompt
from samcore.result.records import ChunkRecord, PassRecord, RunRecord
from samcore.run.correction import Correction
from samcore.run.detection import open_detections
from samcore.run.folder import RunFolder
from samcore.tracking.detections_ahead import DetectionsAhead
from samcore.tracking.identity_tracker import IdentityTracker
from samcore.tracking.resize import resize_state
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker
from samcore.video import Frame, VideoSource
from tasks.settings import load_settings, sets_allocator
from tasks.sources.opened import open_run_source


@dataclass(frozen=True, slots=True, eq=False)
class OpenRun:
    """A run's folder, video and model, opened."""

    folder: RunFolder
    record: RunRecord
    video: VideoSource
    compute: Compute
    model: TrackingModel
    rung: Rung
    """The batch sizes and the place of memory, as a rung of the ladder has them."""
    clock: StageClock
    """Where the time of all its trackers goes."""
    association: AssociationConfig | None = None
    """How detections become objects; None if nothing is detected on the way."""
    detections: DetectionsAhead | None = None
    """What detectors see in the frames; None likewise."""

    @property
    def settings(self) -> TrackSettings:
        """The run's, with the batches of the rung."""
        batches = {
            "encode_batch": self.rung.encode_batch,
            "object_batch": self.rung.object_batch,
        }
        return self.record.settings.model_copy(update=batches)

    def new_tracker(self, prompts: Sequence[Prompt], *, start: int) -> VideoTracker:
        """A tracker that begins at `start`, with these prompts encoded, and with the run's warm
        start.

        Raises:
            VideoError: A prompted frame cannot be decoded.
            LostWorkError: The warm start is gone.
        """
        warm = self.folder.warm_start()
        kind: Callable[..., VideoTracker] = VideoTracker
        if self.association is not None:
            kind = partial(IdentityTracker, association=self.association)
        tracker = kind(
            self.model,
            height=self.video.info.height,
            width=self.video.info.width,
            num_frames=self.video.info.num_frames,
            start_frame=start,
            settings=self.settings,
            warm_start=None if warm is None else self._fitting(TrackerState.load(warm)),
            bank_on_cpu=self.rung.bank_on_cpu,
            clock=self.clock,
        )
        for prompt in prompts:
            tracker.add_prompt(prompt)
        tracker.encode_prompts(self._frames(tracker.prompted_frames))
        return tracker

    def saved_tracker(
        self,
        path: Path,
        wanted: FileRecord | None,
        *,
        start: int,
        changed: Callable[[TrackerState], TrackerState] | None = None,
    ) -> VideoTracker:
        """A tracker that goes on from a state at frame `start`.

        Args:
            path: The state.
            wanted: What the record of those who left it says of it; None if there is none.
            start: The frame that it must be at.
            changed: Gives what is to be gone on from in its place.

        Raises:
            LostWorkError: The state is not that one, or cannot be gone on from. It is removed, so
                that the chunk that left it is tracked again.
        """
        try:
            if wanted is None or not is_intact(path, wanted):
                raise StateError("it is not what its record says")
            state = TrackerState.load(path)
            if state.next_frame != start:
                raise StateError(f"it is at frame {state.next_frame}, wanted {start}")
            return self.continued(state if changed is None else changed(state))
        except StateError as error:
            with storage_errors(path, "write"):
                path.unlink(missing_ok=True)
            raise LostWorkError(
                f"the tracker state {path} is gone, damaged or of something else; run again, and "
                "it is made again"
            ) from error

    def continued(self, state: TrackerState) -> VideoTracker:
        """A tracker that goes on from a state, which may be one of a larger input of the model.

        Raises:
            StateError: The state is of another run.
        """
        kind = VideoTracker if state.identities is None else IdentityTracker
        return kind.from_state(
            self.model,
            self._fitting(state),
            settings=self.settings,
            bank_on_cpu=self.rung.bank_on_cpu,
            clock=self.clock,
        )

    def track(self, tracker: VideoTracker, frames: Iterator[Frame]) -> Iterator[FrameMasks]:
        """Track frames, with what was detected on them."""
        if isinstance(tracker, IdentityTracker) and self.detections is not None:
            ahead = self.detections
            found = partial(ahead.of, features_of=tracker.features_of)
            return tracker.track(ahead.frames(frames), found)
        return tracker.track(frames)

    def _fitting(self, state: TrackerState) -> TrackerState:
        """A state as the model can use it, which may be one of a larger input of the model."""
        facts = self.model.facts
        if state.image_size <= facts.image_size:
            return state
        larger = resized_model(self.record.model, state.image_size)
        if state.model_fingerprint != larger.fingerprint:
            raise StateError("this tracker state was made with another model")
        return resize_state(state, model_fingerprint=facts.fingerprint, image_size=facts.image_size)

    def _frames(self, wanted: Sequence[int]) -> Iterator[Frame]:
        for frame_idx in wanted:
            yield self.video.frame(frame_idx)


@dataclass(frozen=True, slots=True, eq=False)
class RunChunkStart:
    """What an opened run has for one of its chunks: the `ChunkStart` of its hand-off."""

    run: OpenRun
    chunk: Chunk
    correction: Correction | None = None
    """What the run takes from a finished one."""

    @property
    def overlap(self) -> int:
        return self.run.record.overlap(self.chunk.index)

    def prompts(self) -> tuple[Prompt, ...]:
        return self.run.folder.prompts()

    def masks_before(self, frame_idx: int) -> Mapping[int, NDArray[np.bool_]]:
        if self.run.folder.finished_chunk(self.chunk.index - 1) is None:
            raise LostWorkError(f"chunk {self.chunk.index - 1} is gone or damaged; run again")
        with MaskReader(self.run.folder.masks_path(self.chunk.index - 1)) as reader:
            return reader.masks(frame_idx)

    def new_tracker(self, prompts: Sequence[Prompt], *, start: int) -> VideoTracker:
        return self.run.new_tracker(prompts, start=start)

    def tracker_handed_on(self) -> VideoTracker:
        folder, index = self.run.folder, self.chunk.index
        done: ChunkRecord | PassRecord | None = folder.prompt_pass()
        path = folder.prompt_state_path
        if index > 0:
            done, path = folder.finished_chunk(index - 1), folder.state_path(index - 1)
        wanted = None if done is None else done.state
        changed = partial(self.correction.begin, self.chunk) if self.correction else None
        return self.run.saved_tracker(path, wanted, start=self.chunk.start, changed=changed)


def open_run(
    folder: RunFolder, rung: Rung | None = None, clock: StageClock | None = None
) -> OpenRun:
    """Open a run's video and load its model; quick when this process has done so before.

    Args:
        folder: The run's.
        rung: How much to do at once; None is as much as asked.
        clock: Told where the time goes.

    Raises:
        SegmentationError: The video, the model or the folder is not what it was.
    """
    record = folder.record()
    video = open_run_source(folder)
    compute = choose_compute(record.settings.device, record.settings.dtype)
    if compute.device.type == "cpu" and not sets_allocator():
        keep_freed_memory()
    rung = rung or record.as_asked
    model = load_model(resized_model(record.model, rung.image_size), compute)
    clock = clock or StageClock()
    if record.detection is None:
        return OpenRun(folder, record, video, compute, model, rung, clock)
    detections = open_detections(
        record.detection,
        model,
        spec=record.model,
        video=video,
        batch=rung.detect_batch,
        clock=clock,
        cache_dir=load_settings().cache_dir,
    )
    association = record.detection.association
    return OpenRun(folder, record, video, compute, model, rung, clock, association, detections)
