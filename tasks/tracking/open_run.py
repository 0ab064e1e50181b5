"""What the tracking tasks share: from a run's folder to a tracker that is ready to go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from samcore.chunks.plan import Chunk
from samcore.config import TrackSettings
from samcore.errors import StateError
from samcore.machine.device import Compute, choose_compute
from samcore.machine.meters import StageClock
from samcore.masks.table import MaskReader
from samcore.models.loader import load_model
from samcore.models.registry import resized_model
from samcore.models.sam2.adapter import Sam2Model
from samcore.prompts.prompt import Prompt
from samcore.tracking.resize import resize_state
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker
from samcore.video import Frame, VideoSource
from tasks.disk.files import FileRecord, is_intact, storage_errors
from tasks.run.folder import RunFolder
from tasks.run.records import Rung, RunRecord
from tasks.sealed import LostWorkError
from tasks.sources.opened import open_run_source


@dataclass(frozen=True, slots=True, eq=False)
class Workbench:
    """A run's folder, video and model, opened."""

    folder: RunFolder
    record: RunRecord
    video: VideoSource
    compute: Compute
    model: Sam2Model
    rung: Rung
    """How much is done at once."""
    clock: StageClock
    """Where the time of all its trackers goes."""

    @property
    def settings(self) -> TrackSettings:
        """The run's, with the batches of the rung."""
        batches = {
            "encode_batch": self.rung.encode_batch,
            "object_batch": self.rung.object_batch,
        }
        return self.record.settings.model_copy(update=batches)

    def new_tracker(self, prompts: Sequence[Prompt], *, start: int) -> VideoTracker:
        """A tracker that begins at `start`, with these prompts encoded.

        Raises:
            VideoError: A prompted frame cannot be decoded.
        """
        tracker = VideoTracker(
            self.model,
            height=self.video.info.height,
            width=self.video.info.width,
            num_frames=self.video.info.num_frames,
            start_frame=start,
            settings=self.settings,
            bank_on_cpu=self.rung.bank_on_cpu,
            clock=self.clock,
        )
        for prompt in prompts:
            tracker.add_prompt(prompt)
        tracker.encode_prompts(self._frames(tracker.prompted_frames))
        return tracker

    def saved_tracker(self, path: Path, wanted: FileRecord | None, *, start: int) -> VideoTracker:
        """A tracker that goes on from a state at frame `start`.

        Args:
            path: The state.
            wanted: What the record of those who left it says of it; None if there is none.
            start: The frame that it must be at.

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
            return self.continued(state)
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
        asked = self.record.model
        if state.image_size > self.model.image_size:
            if state.model_fingerprint != resized_model(asked, state.image_size).fingerprint:
                raise StateError("this tracker state was made with another model")
            state = resize_state(
                state,
                model_fingerprint=self.model.fingerprint,
                image_size=self.model.image_size,
            )
        return VideoTracker.from_state(
            self.model,
            state,
            settings=self.settings,
            bank_on_cpu=self.rung.bank_on_cpu,
            clock=self.clock,
        )

    def prompts_from_masks(self, chunk: Chunk) -> tuple[Prompt, ...]:
        """Prompts for a chunk under the `mask` hand-off; the first frame is `handoff_frame`.

        The objects that the chunk before has on that frame start from its masks there, unless a
        person prompted them on that very frame; what is prompted later in the chunk is kept. An
        object whose mask is empty there is lost until a person's next prompt: its rows go on,
        empty, and that is what this hand-off is known for.

        Raises:
            LostWorkError: The chunk before is not there.
        """
        first = handoff_frame(chunk, self.record)
        if self.folder.chunk(chunk.index - 1) is None:
            raise LostWorkError(f"chunk {chunk.index - 1} is gone or damaged; run again")
        asked = [p for p in self.folder.prompts() if first <= p.frame_idx < chunk.stop]
        prompted = {p.obj_id for p in asked if p.frame_idx == first}
        with MaskReader(self.folder.masks_path(chunk.index - 1)) as reader:
            handed = [
                Prompt(obj_id, first, mask_hw=mask_hw)
                for obj_id, mask_hw in reader.masks(first).items()
                if obj_id not in prompted
            ]
        return (*handed, *asked)

    def _frames(self, wanted: Sequence[int]) -> Iterator[Frame]:
        for frame_idx in wanted:
            yield self.video.frame(frame_idx)


def open_workbench(
    folder: RunFolder, rung: Rung | None = None, clock: StageClock | None = None
) -> Workbench:
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
    rung = rung or record.as_asked
    model = load_model(resized_model(record.model, rung.image_size), compute)
    return Workbench(folder, record, video, compute, model, rung, clock or StageClock())


def handoff_frame(chunk: Chunk, record: RunRecord) -> int:
    """The frame whose masks chunk `chunk` is prompted with under the `mask` hand-off.

    Its first one, which the chunk before has tracked, too; without overlap the last frame of the
    chunk before, which is then tracked again, and its new masks are dropped.
    """
    return chunk.start if record.overlap > 0 else chunk.start - 1
