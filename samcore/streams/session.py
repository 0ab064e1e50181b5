"""Watch a stream: the same tracker as for a video, without an end.

The life of a frame, and what a kill can cost:

    source -> queue -> tracker -> rows -> chunk, state, checkpoint -> part -> result
                                 |------ lost by a kill ------|

Frames are numbered as they are tracked, without a gap, so that the tracker goes on with its memory
whatever was missing; what was missing stands in `frames.parquet`. A part ends by the clock, on
the first frame that came at or after its end. Where masks come some frames late, a chunk's state
holds the frames after its end that were tracked already, and the next chunk gives their masks.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timezone

from samcore.errors import InputError, StateError, StorageError, VideoError
from samcore.machine.meters import MemoryMeter
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.ledger import found_object
from samcore.result.published import StreamCounts
from samcore.result.records import ChunkRecord
from samcore.streams.chunk import OpenChunk, digest_after, warm_up
from samcore.streams.folder import WatchFolder
from samcore.streams.follower import Follower
from samcore.streams.plan import WatchPlan
from samcore.streams.publishing import PartPublisher, StreamFacts
from samcore.streams.records import Checkpoint, FrameStamp, PartRecord, StreamChunk, new_part
from samcore.streams.tally import Tally, WatchSummary
from samcore.tracking.identity_tracker import IdentityTracker
from samcore.tracking.tracker import VideoTracker
from samcore.video import Frame
from samcore.video.live_queue import DROPPED, RESTARTED, LiveFrame
from samcore.video.live_reader import REMEMBERED, LiveReader, Seen

_log = logging.getLogger(__name__)

IDLE_S = 5.0
"""Seconds without a frame after which masks are given that waited for the frames after theirs."""
_TICK_S = 0.25


class WatchSession:
    """One process's time with a stream. Holds one chunk, however long that is."""

    def __init__(
        self,
        plan: WatchPlan,
        stop: threading.Event,
        *,
        destination: str,
        force: bool = False,
        on_published: Callable[[str, int], None] = lambda _name, _frames: None,
    ) -> None:
        """Open nothing yet.

        Args:
            plan: What is asked.
            stop: Ends the session: what is open is closed and published.
            destination: Where results go, for people.
            force: Begin anew where another request has left its work.
            on_published: Told of each result and its frames.
        """
        self._plan = plan
        self._stop = stop
        self._destination = destination
        self._force = force
        self._on_published = on_published
        self._folder = WatchFolder(plan.folder)
        self._checkpoint: Checkpoint | None = None
        self._facts = StreamFacts((0, 0), 0, "", "")
        self._tracker: VideoTracker | None = None
        self._follower = Follower(plan)
        self._meter = MemoryMeter()
        self._chunk: OpenChunk | None = None
        self._part: PartRecord | None = None
        self._stamps: deque[FrameStamp] = deque()
        """Of the frames that were tracked, and whose masks are not written."""
        self._seen: deque[Seen] = deque(maxlen=REMEMBERED)
        self._given_up: set[int] = set()
        self._gap: str | None = None
        self._written = -1
        """`received` of the last frame whose masks are in a chunk that is done."""
        self._received = -1
        self._dropped_last = 0
        """Of the last frame that was tracked."""
        self._last_us = 0
        self._now: tuple[FrameStamp, Seen] | None = None
        """The frame that is tracked now, until it is in the tracker's state."""
        self._digest = ""
        self._has_rolled = False
        self._tally = Tally()

    def run(self) -> WatchSummary:
        """Track until the stream ends or the session is stopped, and publish everything.

        Raises:
            InputError: Another process is at it, or another request's work is there.
            VideoError: The source cannot be opened.
            StateError: What the process before has left is damaged.
            StorageError: Work or results cannot be written.
        """
        plan = self._plan
        with self._folder.alone(self._destination), self._meter:
            self._go_on_from(self._found_checkpoint())
            warm_up()
            with PartPublisher(plan, self._folder) as publisher, self._reader() as reader:
                try:
                    for part in () if self._checkpoint is None else self._checkpoint.closed:
                        publisher.begin(part, self._facts)
                    failure = self._loop(reader, publisher)
                    if reader.is_over:
                        self._count_last(reader.num_received)
                    self._end(publisher)
                    if failure is not None:
                        raise failure
                finally:
                    if self._chunk is not None:
                        self._chunk.abandon()
        return self._tally.summary()

    def _found_checkpoint(self) -> Checkpoint | None:
        """Where the process before has ended, if that is to be gone on from."""
        try:
            found = self._folder.checkpoint()
            if found is not None and self._force:
                self._folder.load_state(found)
        except StateError:
            if not self._force:
                raise
            found = None
        if found is not None and found.key != self._plan.key:
            if not self._force:
                raise InputError(
                    f"{self._destination} holds the work of another request (another source, "
                    "model, setting or prompt): choose another place with -o, or begin anew with "
                    "--force; results that are published stay"
                )
            found = None
        self._folder.clean(found)
        return found

    def _go_on_from(self, found: Checkpoint | None) -> None:
        self._checkpoint = found
        if found is None:
            return
        self._facts = StreamFacts(found.size_wh, found.first_us, found.codec, found.container)
        self._tracker = self._follower.go_on(self._folder.load_state(found))
        self._part = found.open
        self._stamps.extend(found.held)
        self._seen.extend(found.seen)
        self._gap = RESTARTED
        self._received = found.received - 1
        self._written = found.written
        self._last_us, self._digest = found.last_us, found.digest
        _log.info("going on at frame %d", found.next_frame)

    def _reader(self) -> LiveReader:
        plan, found = self._plan, self._checkpoint
        return LiveReader(
            plan.source,
            drop=plan.drop,
            waiting=plan.waiting,
            stall_s=plan.stall_s,
            size_wh=None if found is None else found.size_wh,
            received=self._received + 1,
            seen=self._seen,
            after_us=self._last_us,
            patient=plan.patient or found is not None,
            stdin=plan.stdin,
            limits=plan.limits,
        )

    def _loop(self, reader: LiveReader, publisher: PartPublisher) -> VideoError | None:
        """Track until the stream ends or the session is stopped; why it cannot be read on, if that
        is so."""
        while not self._stop.is_set():
            try:
                frame = reader.get(_TICK_S)
            except VideoError as error:
                return error
            if frame is not None:
                self._take(frame, reader, publisher)
            elif reader.is_over:
                break
            else:
                self._tick(publisher)
            self._reap(publisher)
        return None

    def _count_last(self, received: int) -> None:
        """Count frames that were dropped after the last one that was tracked: no later frame's
        number tells of them."""
        self._dropped_last = received - 1 - self._received
        self._received += self._dropped_last
        self._tally.dropped(self._dropped_last)

    def _tick(self, publisher: PartPublisher) -> None:
        """No frame came: give what waits for the next one, and close what is over by the clock."""
        now_us = time.time_ns() // 1000
        if self._stamps and now_us - self._last_us >= IDLE_S * 1e6:
            self._finish(publisher)
        if not self._stamps:
            self._cut_if_due(now_us, publisher)
        self._tally.tell()

    def _take(self, frame: LiveFrame, reader: LiveReader, publisher: PartPublisher) -> None:
        """Track a frame, and write the masks that are final then."""
        if self._tracker is None:
            self._tracker = self._follower.begin(frame.image_rgb_hwc_u8)
            log = reader.log
            height, width, _ = frame.image_rgb_hwc_u8.shape
            codec, container = ("", "") if log is None else (log.codec, log.container)
            self._facts = StreamFacts((width, height), frame.captured_us, codec, container)
        if not self._stamps:
            self._cut_if_due(frame.captured_us, publisher)
        dropped = frame.received - self._received - 1
        gap = self._gap or frame.gap
        stamp = FrameStamp(
            frame=self._tracker.next_frame,
            received=frame.received,
            captured_us=frame.captured_us,
            checksum=frame.checksum,
            gap=gap or (DROPPED if dropped else None),
        )
        self._now = (stamp, (frame.source_pts, frame.checksum))
        self._stamps.append(stamp)
        for output in self._follower.track(
            Frame(stamp.frame, stamp.captured_us, frame.image_rgb_hwc_u8)
        ):
            self._write(output, publisher)
        self._absorb()
        self._tally.tracked(dropped=dropped, gap=gap)
        self._tally.tell()

    def _absorb(self) -> None:
        """Take the present frame for one that came, once the tracker's state has it."""
        if self._now is None or self._at_work.next_frame <= self._now[0].frame:
            return
        stamp, seen = self._now
        self._now = self._gap = None
        self._seen.append(seen)
        self._received, self._last_us = stamp.received, stamp.captured_us

    def _write(self, output: FrameMasks, publisher: PartPublisher) -> None:
        stamp = self._stamps[0]
        if self._chunk is None:
            self._chunk = self._open_chunk(stamp)
        # Objects that are given up would have rows for ever.
        self._given_up.update(output.given_up)
        self._chunk.write(replace(output, given_up=()), stamp)
        self._stamps.popleft()
        self._tally.wrote(self._chunk.latency_ms)
        if self._stamps:
            self._cut_if_due(self._stamps[0].captured_us, publisher)

    def _finish(self, publisher: PartPublisher) -> None:
        """Write all masks that wait for frames after theirs."""
        for output in self._at_work.finish():
            self._write(output, publisher)

    def _cut_if_due(self, next_us: int, publisher: PartPublisher) -> None:
        """Close what is over before a frame that came at that time."""
        part, chunk = self._part, self._chunk
        is_over = part is not None and next_us >= part.stop_us
        if chunk is not None:
            if is_over or next_us - chunk.start_us >= self._plan.chunk_s * 1_000_000:
                self._cut(publisher, ends_part=is_over)
        elif is_over:
            self._close_part(publisher)

    def _cut(self, publisher: PartPublisher, *, ends_part: bool) -> None:
        """Close the chunk, and write down where to go on."""
        chunk, part, tracker = self._chunk, self._part, self._at_work
        if chunk is None or part is None:
            raise RuntimeError("there is no chunk to close")
        self._chunk = None
        masks, frames = chunk.finish()
        self._digest = digest_after(self._digest, chunk.stamps)
        first, last = chunk.stamps[0], chunk.stamps[-1]
        memory, seconds = self._meter.snapshot(), time.monotonic() - chunk.began
        done = ChunkRecord(
            index=chunk.index,
            start=first.frame,
            stop=last.frame + 1,
            masks=masks,
            state=None,
            attempts=1,
            degradations=(),
            device=self._plan.compute.describe(),
            seconds=seconds,
            frames_per_second=len(chunk.stamps) / max(seconds, 1e-6),
            peak_rss_bytes=memory.peak_rss_bytes,
            peak_vram_bytes=memory.peak_vram_bytes,
            finished_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        one = StreamChunk(
            done=done,
            frames=frames,
            first_us=first.captured_us,
            last_us=last.captured_us,
            digest=self._digest,
            counts=chunk.counts(self._written).plus(
                StreamCounts(received=self._dropped_last, dropped=self._dropped_last)
            ),
        )
        found = {item.id: item for item in part.found}
        if isinstance(tracker, IdentityTracker):
            tracks = [track for track in tracker.ledger.tracks if track.obj_id in chunk.ids]
            found |= {track.obj_id: found_object(track) for track in tracks}
        for obj_id in self._given_up & set(tracker.obj_ids):
            tracker.remove_object(obj_id)
        self._given_up.clear()
        self._written, self._dropped_last = last.received + self._dropped_last, 0
        self._part = part.model_copy(
            update={
                "chunks": (*part.chunks, one),
                "found": tuple(found[obj_id] for obj_id in sorted(found)),
            }
        )
        self._save()
        if ends_part:
            self._close_part(publisher)

    def _save(self) -> None:
        """Write down the state, and all that is done."""
        self._absorb()
        tracker = self._at_work
        facts, before = self._facts, self._checkpoint
        checkpoint = Checkpoint(
            key=self._plan.key,
            size_wh=facts.size_wh,
            first_us=facts.first_us,
            codec=facts.codec,
            container=facts.container,
            next_frame=tracker.next_frame,
            received=self._received + 1,
            written=self._written,
            last_us=self._last_us,
            digest=self._digest,
            state=self._folder.save_state(tracker.state()),
            held=tuple(stamp for stamp in self._stamps if stamp.frame < tracker.next_frame),
            seen=tuple(self._seen) if self._plan.source.repeats else (),
            open=self._part,
            closed=() if before is None else before.closed,
        )
        self._commit(checkpoint)

    def _commit(self, checkpoint: Checkpoint) -> None:
        self._folder.commit(checkpoint)
        self._checkpoint = checkpoint

    def _close_part(self, publisher: PartPublisher) -> None:
        """Have the part published; the next frame begins another one."""
        part, self._part = self._part, None
        found = self._checkpoint
        if part is None or found is None or not part.chunks:
            return
        update = {"open": None, "closed": (*found.closed, part)}
        self._commit(found.model_copy(update=update))
        publisher.begin(part, self._facts)

    def _reap(self, publisher: PartPublisher, *, wait: bool = False) -> None:
        """Let go of what is published."""
        for part, manifest in publisher.done(wait=wait):
            found = self._checkpoint
            if found is not None:
                left = tuple(one for one in found.closed if one.name != part.name)
                self._commit(found.model_copy(update={"closed": left}))
            self._folder.drop_part(part)
            self._tally.published(part.name)
            self._on_published(part.name, manifest.frames)

    def _end(self, publisher: PartPublisher) -> None:
        """Publish everything."""
        if self._tracker is not None:
            self._finish(publisher)
            if self._chunk is not None:
                self._cut(publisher, ends_part=True)
            else:
                self._close_part(publisher)
        self._reap(publisher, wait=True)

    def _open_chunk(self, stamp: FrameStamp) -> OpenChunk:
        if self._part is None:
            closed = () if self._checkpoint is None else self._checkpoint.closed
            self._part = new_part(
                stamp.captured_us,
                roll_s=self._plan.roll_s,
                is_first=not self._has_rolled,
                is_taken=lambda name: self._is_taken(name, closed),
            )
            self._has_rolled = True
        return OpenChunk(
            self._folder.part_path(self._part.name),
            len(self._part.chunks),
            size_wh=self._facts.size_wh,
            start_us=stamp.captured_us,
        )

    def _is_taken(self, name: str, closed: Iterable[PartRecord]) -> bool:
        if any(part.name == name for part in closed):
            return True
        try:
            return self._plan.open_store(name).published_key() is not None
        except StorageError:
            return False  # nobody can tell now; who publishes looks again

    @property
    def _at_work(self) -> VideoTracker:
        if self._tracker is None:
            raise RuntimeError("no frame came yet")
        return self._tracker
