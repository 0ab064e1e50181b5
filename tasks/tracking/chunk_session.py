"""Track one chunk from where it stands to its end, in as much memory as there is."""

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from samcore.chunks.handoff import find_handoff
from samcore.chunks.plan import Chunk
from samcore.disk.files import FileRecord, fsync_and_record
from samcore.machine.meters import MemoryMeter, StageClock
from samcore.machine.out_of_memory import memory_failure
from samcore.machine.stopping import WorkStopped
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.ledger import ResultObject, found_object
from samcore.masks.table import MaskWriter
from samcore.progress import ChunkProgress
from samcore.result.records import RunRecord
from samcore.run.correction import Correction
from samcore.run.folder import RunFolder
from samcore.run.memory_log import MemoryLog
from samcore.run.oom_ladder import OomLadder
from samcore.run.partial_chunk import PartialChunk, save_partial_chunk
from samcore.tracking.tracker import VideoTracker
from samcore.video import Frame
from tasks.run.refs import RunRef
from tasks.tracking.open_run import OpenRun, RunChunkStart, open_run


class ChunkSession:
    """One chunk on its way.

    All that is large hangs on this object alone and is let go of by `track`, whichever way that
    ends: Prefect keeps the frames of a task's last error, and they would keep their tensors.
    """

    def __init__(
        self,
        run: RunRef,
        record: RunRecord,
        index: int,
        *,
        before: PartialChunk | None,
        ladder: OomLadder,
        meter: MemoryMeter,
        log: MemoryLog,
        stop: threading.Event,
    ) -> None:
        """Open nothing yet.

        Args:
            run: Where the run is.
            record: What it is.
            index: The chunk's place in the plan.
            before: Where the chunk was stopped.
            ladder: How much to do at once; takes note of what memory does not suffice for.
            meter: Running.
            log: Open.
            stop: Set by who wants the chunk to be stopped.
        """
        self.clock = StageClock()
        """Where the time went."""
        self.handed_on: FileRecord | None = None
        """The state for the next chunk, once its first frame is reached."""
        self.device = ""
        """For a person."""
        self.found: tuple[ResultObject, ...] = ()
        """Objects that began on the chunk's frames by being detected, once it is tracked."""
        self._folder = RunFolder.from_ref(run)
        self._record = record
        self._chunk: Chunk = record.chunks[index]
        self._before = before
        self._ladder = ladder
        self._meter = meter
        self._log = log
        self._stop = stop
        chunks = record.chunks
        self._handoff = find_handoff(record.handoff)
        hands_on = self._handoff.hands_on_state and index + 1 < len(chunks)
        self._successor = chunks[index + 1] if hands_on else None
        begin = self._chunk.start if before is None else before.record.next_frame
        self._progress = ChunkProgress(run.video, chunks, index, begin=begin)
        self._started = time.monotonic()
        self._next_frame = begin
        self._correction = Correction.of(self._folder)
        self._run: OpenRun | None = None
        self._tracker: VideoTracker | None = None
        self._unwritten: FrameMasks | None = None

    @property
    def masks_path(self) -> Path:
        """Where the masks go."""
        return self._folder.masks_path(self._chunk.index)

    def track(self) -> None:
        """Write the masks, and the state for the next chunk if it wants one.

        Raises:
            WorkStopped: `stop` was set; what there is has been saved as a checkpoint.
            OutOfMemory: It does not fit, however little is done at once.
        """
        self._ladder.run_until_it_fits(self._track, frame_idx=lambda: self._next_frame)

    def _track(self) -> None:
        try:
            self._begin()
            with MaskWriter(self.masks_path, height=self._height, width=self._width) as writer:
                if self._before is not None:
                    self._before.restore(writer)
                while (reason := self._go_on(writer)) is not None:
                    self._step_down(reason)
            if self._at_work.first_held < self._chunk.stop:
                self._save()
                raise WorkStopped
            begun = self._at_work.found(self._chunk.start, self._chunk.stop)
            self.found = tuple(map(found_object, begun))
        finally:
            self._run = self._tracker = self._unwritten = None

    def _begin(self) -> None:
        """Open everything, and bring the tracker to its first frame."""
        self._unwritten = None
        self._run = opened = open_run(self._folder, self._ladder.rung, self.clock)
        self.device = opened.compute.describe()
        self._height, self._width = opened.video.info.height, opened.video.info.width
        self._tracker = self._handoff.start(RunChunkStart(opened, self._chunk, self._correction))
        self.handed_on = None
        if self._before is not None:
            before = self._before
            self._tracker = opened.saved_tracker(
                before.state_path, before.record.state, start=before.record.next_frame
            )
            self.handed_on = before.record.handed_on
        self._next_frame = self._tracker.next_frame
        self._go_on_alone()

    def _go_on(self, writer: MaskWriter) -> str | None:
        """Track to the chunk's end, or until stopped; why memory did not suffice, if it did not.

        Whatever fails for want of memory can be tried again from where it was: the frame that is
        tracked but not written, the state that is not saved, the next frame.
        """
        try:
            self._settle(writer)
            tracker = self._at_work
            while tracker.next_frame < self._end:
                with self._open.video.read(tracker.first_needed, self._next_cut) as frames:
                    for output in self._outputs(self.clock.waiting("decode", self._wanted(frames))):
                        self._unwritten = output
                        self._settle(writer)
                        if self._stop.is_set():
                            break
                self._hand_on()
                if self._stop.is_set():
                    break
            if tracker.next_frame == self._record.stop:
                for output in tracker.finish():
                    self._unwritten = output
                    self._settle(writer)
        except Exception as error:
            reason = memory_failure(error)
            if reason is None or writer.broken:
                raise
            return reason
        return None

    def _settle(self, writer: MaskWriter) -> None:
        """Write the rows of the frame that was tracked last, unless they are written already."""
        output = self._unwritten
        if output is not None and self._chunk.start <= output.frame_idx < self._chunk.stop:
            with self.clock("write"):
                writer.write(output, self._open.video.pts(output.frame_idx))
            # From here on the frame is written, whatever fails.
            self._unwritten = None
            memory = self._meter.snapshot()
            self._progress.tracked(output.frame_idx, memory)
            is_end = output.frame_idx in (self._chunk.start, self._chunk.stop - 1)
            self._log.add(self._chunk.index, output.frame_idx, memory, always=is_end)
        self._unwritten = None
        self._hand_on()

    def _hand_on(self) -> None:
        """Save the state for the next chunk, if the tracker is where that one begins."""
        tracker = self._at_work
        self._next_frame = tracker.next_frame
        if (
            self.handed_on is None
            and self._successor is not None
            and tracker.next_frame == self._successor.start
        ):
            path = self._folder.state_path(self._chunk.index)
            with self.clock("write"):
                state = tracker.state()
                if self._correction is not None:
                    state = self._correction.whole(self._chunk, state)
                state.save(path)
                self.handed_on = fsync_and_record(path)
        self._go_on_alone()

    def _go_on_alone(self) -> None:
        """Let go of objects whose rows are taken from a finished run, once they need not be tracked
        beside those that are not."""
        if self._correction is None:
            return
        until = self._correction.others_until(self._chunk)
        if until is None or self._at_work.next_frame <= until:
            return
        for obj_id in set(self._at_work.obj_ids) - self._correction.tracked(self._chunk):
            self._at_work.remove_object(obj_id)

    def _step_down(self, reason: str) -> None:
        """Go on from the last good frame with less at once."""
        before = self._ladder.rung
        state = self._at_work.state()
        self._next_frame = state.next_frame
        self._tracker = None
        self._ladder.step_down(self._next_frame, reason)
        if self._ladder.rung.image_size != before.image_size:
            self._run = None  # with the model, for which there may be no room beside the next
        self._run = opened = open_run(self._folder, self._ladder.rung, self.clock)
        self._tracker = opened.continued(state)

    def _save(self) -> None:
        """Keep what there is of the chunk."""
        spent = self._before.record.seconds if self._before else 0.0
        save_partial_chunk(
            self._folder,
            self._chunk.index,
            self._at_work.state(),
            handed_on=self.handed_on,
            degradations=tuple(self._ladder.steps),
            rung=self._ladder.degraded,
            quality_loss=self._ladder.quality_loss,
            seconds=time.monotonic() - self._started + spent,
        )

    def _wanted(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames until the chunk is to be stopped. Where masks come late, many a frame gives
        none after which that would be noticed."""
        if not self._at_work.delay:
            return frames
        return itertools.takewhile(lambda _: not self._stop.is_set(), frames)

    def _outputs(self, frames: Iterator[Frame]) -> Iterator[FrameMasks]:
        """The tracker's outputs; masks that a chunk was handed do not count as prompts."""
        record, chunk = self._record, self._chunk
        handed = self._handoff.prompts_by_itself(chunk, overlap=record.overlap(chunk.index))
        asked = {(item.id, frame) for item in record.objects for frame in item.prompted_frames}
        for output in self._open.track(self._at_work, frames):
            if output.frame_idx == handed:
                prompted = [(obj_id, handed) in asked for obj_id in output.obj_ids]
                output = replace(output, prompted_n=np.array(prompted, dtype=np.bool_))
            yield output

    @property
    def _end(self) -> int:
        """One past the last frame that has to be seen for the chunk's masks.

        Where masks come late, by 3 frames say, the chunk [4, 8) sees frames of the next one, and
        gives no masks of them; masks of frames before it are the chunk's before:

            frames       456789a
            masks    ---123456789  of which its own are 4567
        """
        return min(self._chunk.stop + self._at_work.delay, self._record.stop)

    @property
    def _next_cut(self) -> int:
        """Where reading has to end, so that the state there can be saved.

        Where masks come at once that is noticed on the way.
        """
        tracker, successor = self._at_work, self._successor
        if tracker.delay and successor is not None and tracker.next_frame < successor.start:
            return successor.start
        return self._end

    @property
    def _open(self) -> OpenRun:
        if self._run is None:
            raise RuntimeError("this chunk is not open")
        return self._run

    @property
    def _at_work(self) -> VideoTracker:
        if self._tracker is None:
            raise RuntimeError("this chunk is not open")
        return self._tracker
