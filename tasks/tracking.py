"""What the tracking tasks share: from a run's folder to a tracker that is ready to go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from samcore.chunks import Chunk
from samcore.device import Compute, choose_compute
from samcore.errors import StateError
from samcore.masks.table import MaskReader
from samcore.models.loader import load_model
from samcore.models.sam2_adapter import Sam2Model
from samcore.tracking.prompts import Prompt
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker
from samcore.video import Frame, VideoSource
from tasks.records import RunRecord
from tasks.run_folder import RunFolder
from tasks.sources import open_source


@dataclass(frozen=True, slots=True, eq=False)
class Workbench:
    """A run's folder, video and model, opened."""

    folder: RunFolder
    record: RunRecord
    video: VideoSource
    compute: Compute
    model: Sam2Model

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
            settings=self.record.settings,
        )
        for prompt in prompts:
            tracker.add_prompt(prompt)
        tracker.encode_prompts(self._frames(tracker.prompted_frames))
        return tracker

    def saved_tracker(self, path: Path, *, start: int) -> VideoTracker:
        """A tracker that goes on from a state at frame `start`.

        Raises:
            StateError: The state is damaged, of another run, or at another frame.
        """
        state = TrackerState.load(path, self.compute.device)
        if state.next_frame != start:
            raise StateError(
                f"the tracker state {path} is at frame {state.next_frame}, wanted {start}; delete "
                f"{self.folder.path} to start this run afresh"
            )
        return VideoTracker.from_state(self.model, state, settings=self.record.settings)

    def prompts_from_masks(self, chunk: Chunk) -> tuple[Prompt, ...]:
        """Prompts for a chunk under the `mask` hand-off; the first frame is `handoff_frame`.

        The objects that the chunk before has on that frame start from its masks there, unless a
        person prompted them on that very frame; what is prompted later in the chunk is kept. An
        object whose mask is empty there is lost until a person's next prompt: its rows go on,
        empty, and that is what this hand-off is known for.
        """
        first = handoff_frame(chunk, self.record)
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


def open_workbench(folder: RunFolder) -> Workbench:
    """Open a run's video and load its model; quick when this process has done so before.

    Raises:
        SegmentationError: The video, the model or the folder is not what it was.
    """
    record = folder.record()
    video = open_source(Path(record.source), folder.work_dir)
    if video.info.digest != record.source_digest:
        raise StateError(f"{record.source} has changed since this run began; run it again")
    compute = choose_compute(record.settings.device, record.settings.dtype)
    return Workbench(folder, record, video, compute, load_model(record.model, compute))


def handoff_frame(chunk: Chunk, record: RunRecord) -> int:
    """The frame whose masks chunk `chunk` is prompted with under the `mask` hand-off.

    Its first one, which the chunk before has tracked, too; without overlap the last frame of the
    chunk before, which is then tracked again, and its new masks are dropped.
    """
    return chunk.start if record.overlap > 0 else chunk.start - 1
