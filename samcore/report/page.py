"""Puts the page together and writes it: one file, which asks no other machine for anything."""

import contextlib
import functools
import hashlib
import importlib.resources
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2

from samcore.beside import Beside
from samcore.disk.atomic import atomic
from samcore.drawing import object_colour
from samcore.findings.finding import Finding, kinds
from samcore.findings.lanes import MAX_LANES, ObjectSummary, probability
from samcore.prompts.prompt import Prompt
from samcore.report import plots
from samcore.report.facts import ChunkFacts, ReportFacts
from samcore.report.gather import ReportContent, gathering
from samcore.video import VideoSource
from samcore.video.viewers import Show

MAX_ROWS = 100
"""Rows of each table; the worst ones, and the page says how many there are."""

MAX_RETIREMENTS = 4
"""Of an object that are written out."""


@contextlib.contextmanager
def view_report(facts: ReportFacts, table: Path, video: VideoSource, out: Path) -> Iterator[Show]:
    """Make the report of a run; the file is there when all of it is, and not before.

    Reads the masks' numbers once and the video once. Memory and the page's size are bounded
    whatever the video's length: at most 80 pictures, 200 lanes of 240 bins, 400 points a series.

    Args:
        facts: What is known of the run.
        table: Its masks.
        video: The video that was tracked.
        out: The HTML file.

    Returns:
        A viewer of all frames that were tracked; the file is there when its block has ended.

    Raises:
        VideoError: A frame cannot be read.
        StorageError: The masks cannot be read, or the file cannot be written.
    """
    gathered: list[ReportContent] = []
    # Deflating leaves other threads alone with Python, and takes longer than some seconds of video.
    with Beside(_deflate), gathering(facts, table, video, gathered.append) as show:
        yield show
    _write(facts, gathered[0], out)


def _deflate(_: Callable[[], None]) -> None:
    plots.javascript()


def _write(facts: ReportFacts, gathered: ReportContent, out: Path) -> None:
    page = render_report(facts, gathered)
    with atomic(out) as file:
        file.write(page.encode())


def render_report(facts: ReportFacts, gathered: ReportContent) -> str:
    """The page as text."""
    figures = _figures(facts, gathered)
    return render_page(
        "report.html.j2",
        figures,
        facts=facts,
        frames=facts.stop - facts.start if facts.tracked is None else len(facts.tracked),
        objects=[_object_row(item, facts) for item in gathered.lanes.objects[:MAX_ROWS]],
        num_objects=len(gathered.lanes.objects),
        scales={"score": plots.gradient(plots.SURE), "area": plots.gradient(plots.LARGE)},
        max_lanes=MAX_LANES,
        max_lines=plots.MAX_LINES,
        findings=_finding_groups(facts, gathered),
        num_findings=gathered.findings.total,
        pictures=_pictures(facts, gathered),
        seams=_seams(facts),
        troubles=_troubles((*facts.chunks, *facts.backward)),
        peaks=_peaks((*facts.chunks, *facts.backward)),
        tracking_rate=_rate((*facts.chunks, *facts.backward)),
        max_rows=MAX_ROWS,
        figure_names=list(figures),
    )


def render_page(template: str, figures: Mapping[str, Any], **values: object) -> str:
    """A page with plots as text, which asks no other machine for anything.

    Args:
        template: A file of this folder.
        figures: plotly's figures by the name of their place, which is `plot-` and that name.
        values: What the template names besides.
    """
    drawn = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    text = json.dumps(drawn, separators=(",", ":"))
    # The one script that may run; a label that tried to be another would have to know this.
    nonce = hashlib.sha256(text.encode()).hexdigest()[:32]
    return load_template(template).render(
        # In JSON within a script nothing but `<` can end it.
        figures=text.replace("<", "\\u003c"),
        plotly=plots.javascript(),
        nonce=nonce,
        **values,
    )


def clock(seconds: float) -> str:
    """A time in the video: 1:02:03.4 or 2:03.4."""
    minutes, tenths = divmod(int(seconds * 10), 600)
    hours = f"{minutes // 60}:{minutes % 60:02d}" if minutes >= 60 else f"{minutes}"
    return f"{hours}:{tenths / 10:04.1f}"


def _figures(facts: ReportFacts, gathered: ReportContent) -> dict[str, Any]:
    figures = {}
    if gathered.lanes.objects:
        figures["lanes"] = plots.lanes_figure(facts, gathered.lanes, gathered.findings)
        figures["area"] = plots.area_figure(facts, gathered.lanes)
    if any(seam.frames for seam in facts.seams):
        figures["seams"] = plots.seams_figure(facts)
    figures["memory"] = plots.memory_figure(facts)
    figures["speed"] = plots.speed_figure(facts)
    if stages := _stages(facts):
        figures["stages"] = plots.stages_figure(stages)
    return figures


def _stages(facts: ReportFacts) -> dict[str, float]:
    """Seconds by stage over all chunks, and those of steps beside the chunks."""
    total: defaultdict[str, float] = defaultdict(float)
    for chunk in (*facts.chunks, *facts.backward):
        for name, seconds in (chunk.stages or {"tracking": chunk.seconds}).items():
            total[name] += seconds
    for name, seconds in facts.seconds.items():
        total[name] += seconds
    return {name: seconds for name, seconds in total.items() if seconds > 0}


def _object_row(item: ObjectSummary, facts: ReportFacts) -> dict[str, Any]:
    red, green, blue = object_colour(item.object_id)
    return {
        "id": item.object_id,
        "label": facts.labels.get(item.object_id) or "",
        "colour": f"rgb({red},{green},{blue})",
        "first": item.first_frame,
        "present": item.present,
        "frames": item.frames,
        "share": item.present / item.frames,
        "area": item.mean_area * 100 / (facts.height * facts.width),
        "presence": probability(item.mean_score) if item.present else None,
        "iou": item.mean_iou if item.present else None,
        "absences": item.absences,
        "jumps": item.jumps,
        "retirements": _retirements(facts.retirements.get(item.object_id, ())),
    }


def _retirements(said: tuple[str, ...]) -> str:
    """The first ones, and how many more there are."""
    more = len(said) - MAX_RETIREMENTS
    return "; ".join(said[:MAX_RETIREMENTS]) + (f"; and {more} more" if more > 0 else "")


def _finding_groups(facts: ReportFacts, gathered: ReportContent) -> list[dict[str, Any]]:
    groups = []
    for kind, title in kinds().items():
        worst = gathered.findings.worst(kind)
        if worst:
            groups.append(
                {
                    "kind": kind,
                    "title": title,
                    "count": gathered.findings.counts[kind],
                    "items": [_finding_row(facts, gathered, item) for item in worst],
                }
            )
    return groups


def _name(object_id: int, facts: ReportFacts) -> str:
    label = facts.labels.get(object_id)
    return f"object {object_id}" + (f" ({label})" if label else "")


def _finding_row(facts: ReportFacts, gathered: ReportContent, item: Finding) -> dict[str, Any]:
    return {
        "frame": item.frame,
        "clock": clock(gathered.times_s[item.frame]),
        "who": "" if item.object_id is None else _name(item.object_id, facts),
        "text": item.text,
    }


def _pictures(facts: ReportFacts, gathered: ReportContent) -> list[dict[str, Any]]:
    notes: dict[int, list[str]] = {}
    for kind in kinds():
        for item in gathered.findings.worst(kind):
            row = _finding_row(facts, gathered, item)
            said = f"{row['who']}: {item.text}" if row["who"] else item.text
            notes.setdefault(item.frame, []).append(said)
    begins: dict[int, list[str]] = {}
    for known in gathered.lanes.objects[:MAX_ROWS]:
        begins.setdefault(known.first_frame, []).append(_name(known.object_id, facts))
    shown = {picture.frame for picture in gathered.pictures}
    given: dict[int, list[str]] = {}
    for prompt in facts.prompts:
        if prompt.frame_idx in shown:
            said = f"{_what_was_given(prompt)} for {_name(prompt.obj_id, facts)}"
            given.setdefault(prompt.frame_idx, []).append(said)
    return [
        {
            "frame": picture.frame,
            "clock": clock(gathered.times_s[picture.frame]),
            "width": picture.width,
            "height": picture.height,
            "uri": picture.data_uri,
            "notes": notes.get(picture.frame, []),
            "begins": begins.get(picture.frame, []),
            "given": given.get(picture.frame, []),
        }
        for picture in gathered.pictures
    ]


def _what_was_given(prompt: Prompt) -> str:
    clicks = len(prompt.points_xy_px)
    parts = [
        "a mask" if prompt.mask_hw is not None else "",
        "a box" if prompt.box_xyxy_px is not None else "",
        f"{clicks} click{'' if clicks == 1 else 's'}" if clicks else "",
    ]
    return " and ".join(part for part in parts if part)


def _seams(facts: ReportFacts) -> dict[str, Any] | None:
    seams = [seam for seam in facts.seams if seam.frames]
    if not seams:
        return None
    worst = min(seams, key=lambda seam: seam.agreement)
    return {
        "count": len(seams),
        "identical": sum(seam.identical for seam in seams),
        "least": worst.agreement,
        "frame": worst.start,
    }


def _troubles(chunks: tuple[ChunkFacts, ...]) -> dict[str, Any]:
    """Chunks that needed another try or gave something up."""
    found = [chunk for chunk in chunks if chunk.attempts > 1 or chunk.degradations]
    return {
        "count": len(found),
        "rows": found[:MAX_ROWS],
    }


def _peaks(chunks: tuple[ChunkFacts, ...]) -> dict[str, float | None]:
    vram = max((chunk.peak_vram_bytes or 0 for chunk in chunks), default=0)
    return {
        "ram": max((chunk.peak_rss_bytes for chunk in chunks), default=0) / 1e9,
        "gpu": vram / 1e9 if vram else None,
    }


def _rate(chunks: tuple[ChunkFacts, ...]) -> float:
    seconds = sum(chunk.seconds for chunk in chunks)
    frames = sum(chunk.frames_per_second * chunk.seconds for chunk in chunks)
    return frames / seconds if seconds else 0.0


@functools.cache
def load_template(name: str) -> jinja2.Template:
    """A template of this room; what is put into it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text_of),
        autoescape=True,  # labels and names are other people's
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _text_of(name: str) -> str:
    return importlib.resources.files(__package__ or "").joinpath(name).read_text("utf-8")
