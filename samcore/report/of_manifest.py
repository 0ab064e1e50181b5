"""What the report is told: a run's records in the report's own words."""

import csv
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from samcore.chunks.seams import SeamReport
from samcore.findings.checks import check_result
from samcore.findings.finding import kinds
from samcore.machine.meters import MEMORY_LOG_HEADER
from samcore.masks.ledger import ResultObject
from samcore.progress import counted
from samcore.prompts.prompt import Prompt
from samcore.report.facts import ChunkFacts, MemorySample, ReportFacts
from samcore.result.manifest import Manifest
from samcore.result.published import FindingList, FindingRecord
from samcore.result.records import ChunkRecord

_log = logging.getLogger(__name__)
_MAX_SAMPLES = 2_000
_OF_EACH_KIND = 3
"""Findings that a manifest holds."""


def report_facts(
    manifest: Manifest,
    seams: tuple[SeamReport, ...],
    *,
    objects: tuple[ResultObject, ...] | None = None,
    prompts: tuple[Prompt, ...] = (),
    memory_log: Path | None = None,
) -> ReportFacts:
    """Gather what the report says of a run beside its masks.

    Args:
        manifest: Of the published result.
        seams: Its seams, in order.
        objects: What was tracked, with labels; None is what was asked for.
        prompts: What it was asked for.
        memory_log: The run's log of memory use, if it wrote one.
    """
    record, video = manifest.request, manifest.video
    named = record.objects if objects is None else objects
    ends = {
        item.id: item.prompted_frames[0] for item in record.objects if item.direction == "backward"
    }
    samples: tuple[MemorySample, ...] = ()
    if memory_log is not None:
        samples = read_samples(memory_log, manifest.key, start=record.start, stop=record.stop)
    return ReportFacts(
        title=_title(record.source),
        start=record.start,
        stop=record.stop,
        rate=float(video.avg_rate),
        height=video.height,
        width=video.width,
        labels={item.id: item.label for item in named},
        chunks=tuple(_chunk_facts(chunk) for chunk in manifest.chunks),
        backward=tuple(_chunk_facts(chunk) for chunk in manifest.backward_chunks),
        seams=seams,
        prompts=tuple(
            prompt for prompt in prompts if prompt.frame_idx <= ends.get(prompt.obj_id, record.stop)
        ),
        memory=samples,
        about=tuple(_about(manifest)),
        seconds={"prompt pass": manifest.timings.prompt_pass},
        min_agreement=manifest.min_agreement,
        damaged=video.damaged,
        remarks=video.remarks,
        tracked=record.tracked,
        retirements={
            item.id: tuple(map(str, item.retirements)) for item in objects or () if item.retirements
        },
    )


def list_findings(
    manifest: Manifest, seams: tuple[SeamReport, ...], prompts: tuple[Prompt, ...], table: Path
) -> FindingList:
    """What a person should look at in a result, for its manifest.

    Args:
        manifest: Of the result, which need not be published yet.
        seams: Its seams, in order.
        prompts: What it was asked for.
        table: Its masks.

    Raises:
        StorageError: The masks cannot be read.
    """
    _, findings = check_result(
        report_facts(manifest, seams, prompts=prompts), table, limit=_OF_EACH_KIND
    )
    return FindingList(
        total=findings.total,
        counts={kind: count for kind, count in findings.counts.items() if count},
        worst=tuple(
            FindingRecord(kind=kind, frame=item.frame, object_id=item.object_id, text=item.text)
            for kind in kinds()
            for item in findings.worst(kind)
        ),
    )


def read_samples(path: Path, run: str, *, start: int, stop: int) -> tuple[MemorySample, ...]:
    """A run's lines of a memory log, at most some thousand: the highest of each stretch of frames.

    A log that cannot be read, and a line that is none, are passed over: they are not worth a run.

    Args:
        path: The log; other runs' lines may be in it.
        run: The run's key.
        start: First frame that was tracked.
        stop: One past the last frame that was tracked.
    """
    bins = min(_MAX_SAMPLES, stop - start)
    highest: dict[int, MemorySample] = {}
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            for line in csv.DictReader(file, fieldnames=MEMORY_LOG_HEADER.split(",")):
                sample = _sample(line) if line["run"] == run else None
                if sample is None or not start <= sample.frame < stop:
                    continue
                place = (sample.frame - start) * bins // (stop - start)
                known = highest.get(place)
                if known is None or known.rss_bytes < sample.rss_bytes:
                    highest[place] = sample
    except (OSError, csv.Error) as error:
        _log.warning("the report has no memory log: cannot read %s: %s", path, error)
    return tuple(highest[place] for place in sorted(highest))


def _title(source: str) -> str:
    """The last part of a video's path, or of its address, which has no query."""
    scheme, mark, rest = source.partition("://")
    if not mark:
        return Path(source).name or source
    name = rest.rstrip("/").rpartition("/")[2]
    return (unquote(name).replace("/", "_") if scheme == "https" else name) or source


def _sample(line: dict[str, str]) -> MemorySample | None:
    try:
        vram = line["vram_allocated_bytes"]
        return MemorySample(int(line["frame"]), int(line["rss_bytes"]), int(vram) if vram else None)
    except (ValueError, TypeError):
        return None


def _chunk_facts(chunk: ChunkRecord) -> ChunkFacts:
    return ChunkFacts(
        index=chunk.index,
        start=chunk.start,
        stop=chunk.stop,
        seconds=chunk.seconds,
        frames_per_second=chunk.frames_per_second,
        peak_rss_bytes=chunk.peak_rss_bytes,
        peak_vram_bytes=chunk.peak_vram_bytes,
        attempts=chunk.attempts,
        degradations=chunk.degradations,
        quality_loss=chunk.quality_loss,
        stages=chunk.stages,
    )


def _about(manifest: Manifest) -> Iterator[tuple[str, str]]:
    record, video = manifest.request, manifest.video
    in_steps = record.in_steps()
    plan = in_steps.chunks
    shared = in_steps.overlap(1) if len(plan) > 1 else 0
    yield "video", f"{record.source}, {video.codec}, {video.num_frames} frames"
    if video.parts_line is not None:
        yield "parts", video.parts_line
    if record.tracked is not None:
        yield "tracked", f"{record.tracked.said}: {record.num_frames} frames"
    if video.left_out is not None:
        yield "left out", video.left_out
    yield "content", record.source_digest
    compiled = ", compiled" if record.model.is_compiled else ""
    yield "model", f"{record.model.name}, input of {record.model.image_size} pixels{compiled}"
    if record.settings.approximations:
        used = (f"{name} {value}" for name, value in record.settings.approximations.items())
        yield "approximate", ", ".join(used)
    if record.directions:
        ways = list(record.directions.values())
        said = (f"{counted(ways.count(way), 'object')} {way}" for way in sorted(set(ways)))
        yield "backward in time", ", ".join(said)
    devices = sorted({chunk.device for chunk in manifest.all_chunks})
    yield "device", ", ".join(devices)
    frames, objects = record.settings.encode_batch, record.settings.object_batch
    yield "at once", f"{counted(frames, 'frame')} encoded, up to {counted(objects, 'object')}"
    yield (
        "chunks",
        f"{len(plan)}, of {plan[0].stop - plan[0].start} frames with {shared} shared, "
        f"hand-off by {record.handoff}",
    )
    yield "run", manifest.key
    yield "finished", manifest.finished_at
    yield "versions", ", ".join(f"{name} {is_at}" for name, is_at in manifest.versions.items())
