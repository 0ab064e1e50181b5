"""A part of a stream becomes a result like any other; beside the tracker, one after another."""

import logging
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from fractions import Fraction
from functools import reduce

from samcore.chunks.plan import Chunk
from samcore.disk.files import fsync_and_record, make_folder, write_atomic
from samcore.errors import SegmentationError, StorageError
from samcore.masks.ledger import OBJECTS, make_ledger
from samcore.masks.table import concat_tables
from samcore.report.of_manifest import list_findings
from samcore.result.manifest import FRAMES, MASKS, SEAMS, Manifest
from samcore.result.published import Peaks, SeamList, StreamCounts, StreamRecord, Timings
from samcore.result.records import ObjectRecord, RunRecord
from samcore.streams.chunk import join_frames
from samcore.streams.folder import WatchFolder
from samcore.streams.plan import WatchPlan
from samcore.streams.records import PartRecord
from samcore.video.info import VideoInfo

_log = logging.getLogger(__name__)

TIME_BASE = Fraction(1, 1_000_000)


def iso(at_us: int) -> str:
    """A time as records have it: ISO 8601, UTC."""
    return datetime.fromtimestamp(at_us / 1e6, timezone.utc).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What is known of the stream as a whole."""

    size_wh: tuple[int, int]
    first_us: int
    """When its first frame came."""
    codec: str
    container: str


def publish_part(
    plan: WatchPlan, folder: WatchFolder, part: PartRecord, facts: StreamFacts
) -> Manifest:
    """Join a part's chunks, and publish them; the manifest comes last.

    To do it again after a kill gives the same result.

    Raises:
        StorageError: A chunk is damaged, or the destination cannot be written to.
    """
    out = folder.publishing_path / part.name
    make_folder(out)
    record = _run_record(plan, part)
    at = folder.part_path(part.name)
    metadata = {
        "source_digest": record.source_digest,
        "prompts_digest": record.prompts_digest,
        "model": record.model.name,
        "model_fingerprint": record.model.fingerprint,
    }
    tables = [(at / one.done.masks.name, one.done.start, one.done.stop) for one in part.chunks]
    concat_tables(tables, out / MASKS, metadata)
    join_frames([at / one.frames.name for one in part.chunks], out / FRAMES)
    ledger = make_ledger(out / MASKS, [item.entry() for item in record.objects], part.found)
    write_atomic(out / OBJECTS, (ledger.model_dump_json(indent=2) + "\n").encode())
    write_atomic(out / SEAMS, (SeamList(seams=()).model_dump_json(indent=2) + "\n").encode())
    names = (MASKS, OBJECTS, SEAMS, FRAMES)
    manifest = Manifest(
        key=record.result_key,
        request=record,
        video=_video(plan, part, facts),
        frames=record.stop - record.start,
        objects=len(ledger.objects),
        files=tuple(fsync_and_record(out / name) for name in names),
        seam_agreement=None,
        seams_identical=None,
        chunks=tuple(one.done for one in part.chunks),
        stream=_stream(plan, part),
        timings=Timings(prompt_pass=0.0, tracking=sum(one.done.seconds for one in part.chunks)),
        peaks=Peaks(
            rss_bytes=max(one.done.peak_rss_bytes for one in part.chunks),
            vram_bytes=max(one.done.peak_vram_bytes or 0 for one in part.chunks) or None,
        ),
        versions=plan.versions,
        finished_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    manifest = manifest.model_copy(
        update={"findings": list_findings(manifest, (), (), out / MASKS)}
    )
    store = plan.open_store(part.name)

    def check(found: str | None) -> None:
        if found not in (None, manifest.key):
            raise StorageError(f"{store.location} holds another result meanwhile: move it away")

    store.publish({name: out / name for name in names}, manifest, check=check)
    shutil.rmtree(out, ignore_errors=True)
    return manifest


class PartPublisher:
    """Publishes parts in a thread, while the next one is tracked; one that fails is tried again."""

    AGAIN_S = 30.0
    """Seconds from a failure to the next try."""

    def __init__(self, plan: WatchPlan, folder: WatchFolder) -> None:
        """Nothing is published yet."""
        self._plan = plan
        self._folder = folder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._at_work: dict[str, tuple[PartRecord, StreamFacts, Future[Manifest]]] = {}
        self._failed: dict[str, tuple[PartRecord, StreamFacts, float]] = {}

    def __enter__(self) -> "PartPublisher":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def begin(self, part: PartRecord, facts: StreamFacts) -> None:
        """Have a part published."""
        work = self._pool.submit(publish_part, self._plan, self._folder, part, facts)
        self._at_work[part.name] = (part, facts, work)

    def done(self, *, wait: bool = False) -> Iterator[tuple[PartRecord, Manifest]]:
        """What was published since; what failed is tried again after a while.

        Args:
            wait: Wait for all of them, and try again at once what had failed.

        Raises:
            SegmentationError: With `wait`: a part cannot be published at present.
        """
        for name, (part, facts, again_at) in tuple(self._failed.items()):
            if wait or time.monotonic() >= again_at:
                del self._failed[name]
                self.begin(part, facts)
        for name, (part, facts, work) in tuple(self._at_work.items()):
            if not wait and not work.done():
                continue
            try:
                manifest = work.result()
            except SegmentationError as error:
                if wait:
                    raise
                _log.warning("%s is not published yet, and is tried again: %s", name, error)
                self._failed[name] = (part, facts, time.monotonic() + self.AGAIN_S)
                del self._at_work[name]
                continue
            del self._at_work[name]
            yield part, manifest


def _run_record(plan: WatchPlan, part: PartRecord) -> RunRecord:
    start, stop = part.frames
    chunks = [
        Chunk(index=i, start=one.done.start, stop=one.done.stop)
        for i, one in enumerate(part.chunks)
    ]
    prompted = (0,) if start == 0 else ()
    return RunRecord(
        source=plan.source.shown,
        source_digest=f"sha256:{part.chunks[-1].digest}",
        objects=tuple(
            ObjectRecord(id=obj_id, label=label, prompted_frames=prompted)
            for obj_id, label in sorted(plan.labels.items())
        ),
        prompts_digest=plan.prompts_digest,
        model=plan.spec,
        settings=plan.settings,
        start=start,
        stop=stop,
        chunks=tuple(chunks),
        handoff="memory",
        detection=plan.detection,
    )


def _video(plan: WatchPlan, part: PartRecord, facts: StreamFacts) -> VideoInfo:
    start, stop = part.frames
    first_us, last_us = part.chunks[0].first_us, part.chunks[-1].last_us
    lasts_s = (last_us - first_us) / 1e6
    rate = plan.source.rate
    if rate is None and stop - start > 1:
        rate = Fraction(stop - start - 1) / Fraction(last_us - first_us, 1_000_000)
        rate = rate.limit_denominator(1000)
    return VideoInfo(
        source=plan.source.shown,
        kind="stream",
        width=facts.size_wh[0],
        height=facts.size_wh[1],
        num_frames=stop,
        time_base=TIME_BASE,
        avg_rate=rate or Fraction(1),
        start_pts=facts.first_us,
        duration_s=lasts_s,
        codec=facts.codec,
        container=facts.container,
        header_num_frames=None,
        header_duration_s=None,
        rotation_deg=0,
        variable_rate=True,
        size_bytes=0,
        digest=f"sha256:{part.chunks[-1].digest}",
        damaged=None,
    )


def _stream(plan: WatchPlan, part: PartRecord) -> StreamRecord:
    counts = reduce(StreamCounts.plus, (one.counts for one in part.chunks))
    frames = part.frames[1] - part.frames[0]
    return StreamRecord(
        drop=plan.drop,
        first_captured=iso(part.chunks[0].first_us),
        last_captured=iso(part.chunks[-1].last_us),
        counts=counts,
        latency_mean_ms=round(counts.latency_sum_ms / frames, 3),
    )
