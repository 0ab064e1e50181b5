"""What commands print when they are done."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.images.result import ImagesResult
from samcore.config import TrackSettings
from samcore.models.family import FAMILIES, missing_extra
from samcore.models.known import DEFAULT_MODEL, HubWeights, RemoteWeights
from samcore.models.registry import ModelEntry, list_models
from samcore.models.transformers.family import is_logged_in
from samcore.picture_runs.records import OVERLAYS, PICTURES
from samcore.progress import clock, counted
from samcore.result.cost import cost_line
from samcore.result.manifest import EXPORTS, MANIFEST, MASKS, OVERLAY, REPORT, Manifest
from samcore.tracking.memory.policy import POLICIES, PolicyOptions
from samcore.video.info import VideoInfo
from tasks.results.open import open_result_store
from tasks.run.refs import ResultRef

_MAX_FINDINGS = 5
"""Lines of findings; the report has more."""

_MAX_BROKEN = 20
"""Lines of broken pictures."""


def result_lines(result: ResultRef, *, seconds: float) -> Iterator[str]:
    """What was written, where, and how well chunks agreed.

    Args:
        result: What was published.
        seconds: What the command took.
    """
    if result.superseded:
        yield f"left as it is: {result.destination} holds the result of a newer version"
    elif result.was_there:
        yield f"nothing to do: {result.destination} holds this result already"
    yield (
        f"masks of {counted(result.objects, 'object')} on {counted(result.frames, 'frame')}: "
        f"{result.address(MASKS)}"
    )
    yield from _finding_lines(result)
    if result.has_overlay:
        yield f"video with the masks drawn in: {result.address(OVERLAY)}"
    if result.has_report:
        yield f"report to look at: {result.address(REPORT)}"
    for name in result.exports:
        yield f"the masks as {name}: {result.address(f'{EXPORTS}/{name}')}"
    if result.seam_agreement is not None:
        exact = ", identical to the last bit" if result.seams_identical else ""
        yield f"agreement at seams: {result.seam_agreement:.4f} at least{exact}"
    manifest = None if result.was_there else open_result_store(result).listed(result.key)
    if manifest is not None:
        peaks = manifest.peaks
        vram = "" if peaks.vram_bytes is None else f" and {peaks.vram_bytes / 1e9:.1f} GB of GPU"
        # Frames of a chunk without an object are passed over: none is decoded.
        is_forward = not manifest.backward_chunks or any(
            one.stages is None or "decode" in one.stages for one in manifest.chunks
        )
        tracked = manifest.frames if is_forward else 0
        if backward := manifest.backward_chunks:
            tracked += max(one.stop for one in backward) - min(one.start for one in backward)
        rate = tracked / max(manifest.timings.tracking, 1e-6)
        yield (
            f"took {clock(seconds)}; tracking {rate:.1f} frames/s, at most "
            f"{peaks.rss_bytes / 1e9:.1f} GB of memory{vram}"
        )
        if manifest.cost is not None:
            yield f"cost {cost_line(manifest.cost)}"
        gave_up = sum(chunk.rung is not None for chunk in manifest.all_chunks)
        if manifest.quality_loss:
            yield "masks are coarser than asked in places, as memory did not suffice"
        elif gave_up:
            of = f"{gave_up} of {len(manifest.all_chunks)}"
            yield f"chunks that fit into memory only in smaller batches: {of}"
        yield from _correction_lines(manifest)
        if result.states_bytes:
            size = f"{result.states_bytes / 1e6:.1f} MB"
            yield f"kept to correct it from: {size} of states (--no-keep-states drops them)"
        yield f"all of it is listed in {result.address(MANIFEST)}"


def image_lines(result: ImagesResult, *, seconds: float) -> Iterator[str]:
    """What was written, where, and which pictures are broken.

    Args:
        result: What was published.
        seconds: What the command took.
    """
    if result.was_there:
        yield f"nothing to do: {result.destination} holds this result already"
    masks, pictures = counted(result.masks, "mask"), counted(result.pictures, "picture")
    yield f"{masks} on {pictures}: {result.destination}/{MASKS}"
    if result.has_overlays:
        yield f"pictures with the masks drawn in: {result.destination}/{OVERLAYS}"
    yield f"report to look at: {result.destination}/{REPORT}"
    for name in result.exports:
        yield f"the masks as {name}: {result.destination}/{EXPORTS}/{name}"
    if not result.was_there:
        rate = result.pictures / max(seconds, 1e-6)
        yield f"took {clock(seconds)}, {rate:.1f} pictures/s in all"
    if result.broken:
        yield f"{counted(result.broken, 'picture')} without masks because of a fault:"
    for one in result.first_broken[:_MAX_BROKEN]:
        yield f"  {one.name}: {one.error}"
    if result.broken > _MAX_BROKEN:
        more = result.broken - _MAX_BROKEN
        yield f"  and {more} more, listed in {result.destination}/{PICTURES}"


def _correction_lines(manifest: Manifest) -> Iterator[str]:
    """How much was tracked again, of a result that was corrected."""
    record = manifest.correction
    if record is None:
        return
    of = f"{record.frames} of {counted(manifest.frames, 'frame')}"
    who = f"{len(record.tracked)} of {counted(len(manifest.request.objects), 'object')}"
    yield f"tracked again: {of}, {who}; all else is as it was"
    if record.spreads_from is not None:
        yield (
            f"all objects from frame {record.spreads_from} on, as they share batches with those "
            "whose prompts changed (a run with --object-batch 1 keeps them apart)"
        )


def _finding_lines(result: ResultRef) -> Iterator[str]:
    if result.findings is None:
        return
    if not result.objects:
        yield "no detector found an object that stayed: look more often, or lower --min-score"
    elif not result.findings.total:
        yield "nothing odd was found in these masks"
    if not result.findings.total:
        return
    yield f"to look at: {counted(result.findings.total, 'finding')}"
    for line in result.findings.lines(_MAX_FINDINGS):
        yield f"  {line}"


def model_lines(cache_dir: Path) -> Iterator[str]:
    """A table of the known models."""
    rows = [("NAME", "HERE", "INPUT", "LICENCE", "ABOUT")]
    entries = list_models(cache_dir)
    for entry in entries:
        model = entry.model
        here = "yes" if entry.available else "no"
        if not entry.available and isinstance(model.weights, RemoteWeights):
            here = f"{model.weights.size / 1e6:.0f} MB"
        elif not entry.available:
            here = "no"
        about = model.about + (" (default)" if model.name == DEFAULT_MODEL else "")
        rows.append((model.name, here, f"{model.image_size} px", model.licence, about))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(cell.ljust(width) for cell, width in cells).rstrip()
    yield f"HERE: yes, or the size of the download to {cache_dir}; no: the hub's cache has it not"
    yield "any other: hf:ORG/NAME on the Hugging Face hub, or hf:FOLDER, such as"
    yield "  hf:facebook/sam2.1-hiera-tiny"
    yield from _wanted_lines(entries)


def _wanted_lines(entries: Sequence[ModelEntry]) -> Iterator[str]:
    """What is missing on this machine to use each family, and each model that is not for all."""
    missing = {family.name: missing_extra(family) for family in FAMILIES}
    for family in FAMILIES:
        state = f"wants {missing[family.name]}" if missing[family.name] else "ready"
        yield f"family {family.name}: {family.about}; {state}"
    for entry in entries:
        weights = entry.model.weights
        if isinstance(weights, HubWeights) and weights.is_gated and not entry.available:
            steps = [f"its licence accepted at https://huggingface.co/{weights.repo}"]
            if missing[entry.model.family] or not is_logged_in():
                steps.append("`hf auth login`")
            yield f"{entry.name} wants {' and '.join(steps)}"


def policy_lines() -> Iterator[str]:
    """The memory policies, and the options of each."""
    indent = " " * 4
    for entry in POLICIES:
        default = " (default)" if entry.name == TrackSettings().memory_policy else ""
        yield f"{entry.name}{default}: {entry.about}"
        options: type[PolicyOptions] = entry.load().Options
        for name, field in options.model_fields.items():
            about = " ".join((field.description or "").split())
            yield from textwrap.wrap(
                f"{name}={field.default}  {about}",
                100,
                initial_indent=indent,
                subsequent_indent=indent * 2,
            )


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns side by side; names to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join(cells).rstrip()


def video_lines(info: VideoInfo) -> Iterator[str]:
    """What there is to know of a video."""
    rate = "variable, on average " if info.variable_rate else ""
    yield f"{info.source}: {info.codec} in {info.container}"
    turned = f", turned by {info.rotation_deg} degrees" if info.rotation_deg else ""
    yield f"size      {info.width} x {info.height} pixels as displayed{turned}"
    yield f"frames    {info.num_frames}{_claim(info.header_num_frames, info.num_frames)}"
    yield f"rate      {rate}{float(info.avg_rate):.3f} frames/s ({info.avg_rate})"
    yield f"duration  {clock(info.duration_s)} ({info.duration_s:.3f} s)"
    yield f"content   {info.size_bytes} bytes, {info.digest}"
    if info.parts_line is not None:
        yield f"parts     {info.parts_line}"
    for remark in info.remarks:
        yield f"note      {remark}"
    if info.left_out is not None:
        yield f"left out  {info.left_out}"
    if info.is_nearly_black:
        yield f"dark      only {info.used_bits} of 16 bits are in use: track with --stretch"
    if info.damaged is not None:
        yield f"damaged   {info.damaged}"


def _claim(claimed: int | None, found: int) -> str:
    return "" if claimed in (None, found) else f" (the header claims {claimed})"
