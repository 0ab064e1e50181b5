"""The report's plots: the only door to plotly. Colours of text and lines are the page's own."""

import base64
import functools
import html
import importlib.resources
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly
import plotly.graph_objects as go
from numpy.typing import NDArray

from samcore.drawing import object_colour
from samcore.findings.finding import Finding, Findings, kinds
from samcore.findings.lanes import Lane, LaneReport, ObjectSummary, probability
from samcore.report.facts import ChunkFacts, MemorySample, ReportFacts

MAX_LINES = 12
"""Objects whose area is drawn as a line."""
MAX_POINTS = 400
"""Of a series; longer ones are drawn by the worst of each stretch."""

Figure = Any
"""A plotly figure; plotly has no types."""

_MAX_LABEL = 18
SURE = ((0.0, "#d55e00"), (0.5, "#f0c541"), (0.75, "#7cc4b4"), (1.0, "#0072b2"))
"""Colours of presence, from 0.5 to 1."""
LARGE = ((0.0, "#d8e6f3"), (1.0, "#08519c"))
"""Colours of an area, from none to the object's largest."""
_GREY = "rgba(128,128,128,0.35)"
_SYMBOLS = {
    "prompt": "star",
    "jump": "x",
    "spread": "diamond",
    "absence": "circle",
    "doubt": "triangle-up",
}
"""Of findings of objects; those of other packages' checks are squares."""
_MARK = {"size": 11, "color": "#1a1d21", "line": {"width": 1.5, "color": "#ffffff"}}
"""To be seen on every colour of a lane, by day and by night."""
_PARTS = (
    *("#56b4e9", "#e69f00", "#009e73", "#cc79a7"),
    *("#0072b2", "#d55e00", "#f0e442", "#999999"),
)
"""Of bars that have several; told apart also by those who do not see all colours."""
_MEMORY = {"RAM": "#0072b2", "GPU": "#d55e00"}


def gradient(scale: Sequence[tuple[float, str]]) -> str:
    """A colour scale in CSS, from left to right."""
    stops = ", ".join(f"{colour} {place:.0%}" for place, colour in scale)
    return f"linear-gradient(to right, {stops})"


def lanes_figure(facts: ReportFacts, report: LaneReport, findings: Findings) -> Figure:
    """One lane per object along the video.

    Three heat maps: grey where an object is absent, then how sure the tracker is of it, then how
    large it is; the page shows one of the last two. Findings are marks on the lanes.
    """
    drawn = [item for item in report.objects if item.lane is not None]
    lanes = [item.lane for item in drawn if item.lane is not None]
    x = [report.bin_start(place) for place in range(report.bins)]
    y = list(range(len(drawn)))
    edges = {"x": x, "y": y, "xgap": 0, "ygap": 3, "showscale": False}
    figure = go.Figure()
    figure.add_heatmap(
        z=[
            _numbers(np.where((lane.frames_b > 0) & (lane.present_b == 0), 0.0, np.nan), 0)
            for lane in lanes
        ],
        colorscale=[[0, _GREY], [1, _GREY]],
        hovertemplate="%{y}: absent, frame %{x}<extra></extra>",
        name="absent",
        **edges,
    )
    figure.add_heatmap(
        z=[_numbers(_sure(lane), 3) for lane in lanes],
        zmin=0.5,
        zmax=1,
        colorscale=SURE,
        customdata=[_details(lane) for lane in lanes],
        hovertemplate="frame %{x}: presence %{z:.2f} at least<br>present on %{customdata[0]} of "
        "%{customdata[1]} frames, %{customdata[2]} px<extra>%{y}</extra>",
        name="score",
        **edges,
    )
    figure.add_heatmap(
        z=[_numbers(_share_of_largest(lane), 3) for lane in lanes],
        zmin=0,
        zmax=1,
        colorscale=LARGE,
        customdata=[_details(lane) for lane in lanes],
        hovertemplate="frame %{x}: %{customdata[2]} px, %{z:.0%} of its largest<br>present on "
        "%{customdata[0]} of %{customdata[1]} frames<extra>%{y}</extra>",
        name="area",
        visible=False,
        **edges,
    )
    place = {item.object_id: row for row, item in enumerate(drawn)}
    for kind in sorted(kinds(), key=lambda kind: kind not in _SYMBOLS):
        found = [f for f in findings.worst(kind) if f.object_id in place]
        if not found and kind not in _SYMBOLS:
            continue
        figure.add_scatter(
            x=[item.frame for item in found],
            y=[place[item.object_id] for item in found if item.object_id is not None],
            mode="markers",
            marker={"symbol": _SYMBOLS.get(kind, "square"), **_MARK},
            cliponaxis=False,  # a mark on the first frame is a whole one
            text=[html.escape(item.text) for item in found],
            hovertemplate="frame %{x}: %{text}<extra></extra>",
            name=kinds()[kind],
            showlegend=bool(found),
        )
    figure.update_layout(
        height=max(160, 90 + len(drawn) * (34 if len(drawn) <= 12 else 20)),
        shapes=_cut_lines(findings.worst("cut")),
        showlegend=any(findings.worst(kind) for kind in _SYMBOLS),
        legend={"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0},
        # Room for marks on the first frame beside the names.
        xaxis={"range": [facts.start - (facts.stop - facts.start) / 50, facts.stop], "side": "top"},
        yaxis={
            "tickvals": y,
            "ticktext": [_swatch(item) + _name(item, facts.labels) for item in drawn],
            "range": [len(drawn) - 0.5, -0.5],
            "automargin": True,
            "showgrid": False,
            "zeroline": False,
        },
    )
    return _finish(figure)


def area_figure(facts: ReportFacts, report: LaneReport) -> Figure:
    """The area of the first objects, in percent of the picture; gaps where they are absent."""
    figure = go.Figure()
    x = [report.bin_start(place) for place in range(report.bins)]
    picture = facts.height * facts.width
    for item in report.objects[:MAX_LINES]:
        if item.lane is None:
            continue
        red, green, blue = object_colour(item.object_id)
        figure.add_scatter(
            x=x,
            y=_numbers(item.lane.area_b * 100 / picture, 4),
            mode="lines+markers" if _is_dotted(item.lane) else "lines",
            line={"color": f"rgb({red},{green},{blue})", "width": 2},
            marker={"size": 4},
            name=_name(item, facts.labels),
            hovertemplate="frame %{x}: %{y:.2f} %<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(
        height=280,
        showlegend=True,
        legend={"orientation": "h", "y": -0.2},
        xaxis={"range": [facts.start, facts.stop]},
        yaxis={"rangemode": "tozero", "ticksuffix": " %"},
    )
    return _finish(figure)


def seams_figure(facts: ReportFacts) -> Figure:
    """How far neighbouring chunks agree, at each seam."""
    seams = [seam for seam in facts.seams if seam.frames]
    worst = [min(part, key=lambda seam: seam.agreement) for part in _stretches(seams)]
    least = min((seam.agreement for seam in worst), default=1.0)
    figure = go.Figure(
        go.Scatter(
            x=[seam.start for seam in worst],
            y=[seam.agreement for seam in worst],
            mode="markers",
            marker={
                "size": 9,
                "color": ["#009e73" if seam.identical else "#d55e00" for seam in worst],
            },
            text=[
                f"chunks {seam.left_index} and {seam.right_index}"
                + (", identical to the last bit" if seam.identical else "")
                for seam in worst
            ],
            hovertemplate="frame %{x}: agreement %{y:.4f}<br>%{text}<extra></extra>",
        )
    )
    figure.update_layout(
        height=200,
        xaxis={"range": [facts.start, facts.stop]},
        yaxis={
            "range": [max(0.0, least - (1 - least) * 0.3 - 0.02), 1 + (1 - least) * 0.05 + 0.001]
        },
    )
    return _finish(figure)


def memory_figure(facts: ReportFacts) -> Figure:
    """Main and GPU memory along the video: each chunk's peak, and the log's samples."""
    figure = go.Figure()
    parts = list(_stretches(facts.chunks))
    x = [value for ends in _owned(parts, facts.stop) for value in ends]
    for name, read in (("RAM", _rss), ("GPU", _vram)):
        peaks = [max((read(chunk) or 0 for chunk in part), default=0) for part in parts]
        if any(peaks):
            figure.add_scatter(
                x=x,
                y=[round(peak / 1e9, 3) for peak in peaks for _ in range(2)],
                mode="lines",
                line={"color": _MEMORY[name], "width": 2},
                name=f"{name}, peak of the chunk",
                hovertemplate="frame %{x}: %{y:.2f} GB<extra>%{fullData.name}</extra>",
            )
        samples = [s for s in facts.memory if _used(s, name) is not None]
        if samples:
            most = [max(part, key=lambda s: _used(s, name) or 0) for part in _stretches(samples)]
            figure.add_scatter(
                x=[sample.frame for sample in most],
                y=[round((_used(sample, name) or 0) / 1e9, 3) for sample in most],
                mode="lines",
                line={"color": _MEMORY[name], "width": 1, "dash": "dot"},
                name=f"{name} in use",
                hovertemplate="frame %{x}: %{y:.2f} GB<extra>%{fullData.name}</extra>",
            )
    figure.update_layout(
        height=260,
        showlegend=True,
        legend={"orientation": "h", "y": -0.2},
        xaxis={"range": [facts.start, facts.stop]},
        yaxis={"rangemode": "tozero", "ticksuffix": " GB"},
    )
    return _finish(figure)


def speed_figure(facts: ReportFacts) -> Figure:
    """Frames a second of each chunk."""
    parts = list(_stretches(facts.chunks))
    slowest = [min(part, key=lambda chunk: chunk.frames_per_second) for part in parts]
    figure = go.Figure(
        go.Bar(
            x=[part[0].start for part in parts],
            width=[stop - start for start, stop in _owned(parts, facts.stop)],
            offset=0,
            y=[round(chunk.frames_per_second, 2) for chunk in slowest],
            marker={
                "color": ["#d55e00" if _is_degraded(part) else "#56b4e9" for part in parts],
                "line": {"width": 1, "color": "rgba(128,128,128,0.6)"},
            },
            text=[f"chunk {chunk.index}" for chunk in slowest],
            textposition="none",
            hovertemplate="%{text}, from frame %{x}: %{y:.1f} frames/s<extra></extra>",
        )
    )
    figure.update_layout(
        height=220,
        xaxis={"range": [facts.start, facts.stop]},
        yaxis={"rangemode": "tozero", "title": {"text": "frames/s"}},
    )
    return _finish(figure)


def stages_figure(seconds: Mapping[str, float]) -> Figure:
    """Where the time went."""
    names = sorted(seconds, key=lambda name: seconds[name])
    return bars_figure(names, {"": [seconds[name] for name in names]}, unit="s")


def bars_figure(
    names: Sequence[str],
    parts: Mapping[str, Sequence[float | None]],
    *,
    unit: str,
    digits: int = 1,
) -> Figure:
    """Bars from left to right, the first one lowest; each of one part, or of several in a row.

    Args:
        names: Of the bars.
        parts: By their names, the length of each part in each bar; None is not there.
        unit: Of the lengths.
        digits: Behind the point, in what a part says when it is pointed at.
    """
    figure = go.Figure()
    for place, (part, lengths) in enumerate(parts.items()):
        figure.add_bar(
            x=[None if length is None else round(length, 3) for length in lengths],
            y=[html.escape(name) for name in names],
            orientation="h",
            marker={"color": _PARTS[place % len(_PARTS)]},
            name=html.escape(part),
            hovertemplate=f"%{{y}}: %{{x:.{digits}f}} {unit}<extra>%{{fullData.name}}</extra>",
        )
    figure.update_layout(
        barmode="stack",
        height=90 + 28 * len(names) + (40 if len(parts) > 1 else 0),
        showlegend=len(parts) > 1,
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "traceorder": "normal"},
        xaxis={"ticksuffix": f" {unit}", "rangemode": "tozero"},
        yaxis={"automargin": True, "type": "category"},
    )
    return _finish(figure).update_layout(bargap=0.25)


@functools.cache
def javascript() -> str:
    """plotly.js, deflated, as base64: 4.8 MB become 2 MB of letters, and browsers can inflate."""
    source = importlib.resources.files(plotly) / "package_data" / "plotly.min.js"
    return base64.b64encode(zlib.compress(source.read_bytes(), 9)).decode()


def _finish(figure: Figure) -> Figure:
    # Without a template: plotly's own are several KB, and light or dark is the page's to say.
    figure.update_layout(
        template={},
        showlegend=figure.layout.showlegend or False,
        margin={"l": 8, "r": 8, "t": 26, "b": 30},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        bargap=0,
    )
    return figure


def _stretches(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """The items in order, in at most `MAX_POINTS` parts of equal size."""
    size = -(-len(items) // MAX_POINTS) or 1
    return (items[place : place + size] for place in range(0, len(items), size))


def _owned(parts: Sequence[Sequence[ChunkFacts]], stop: int) -> list[tuple[int, int]]:
    """Frames [start, stop) of each part up to the next one's start, so that they do not overlap."""
    starts = [part[0].start for part in parts]
    return list(zip(starts, (*starts[1:], stop), strict=False))  # no parts, no ranges


def _numbers(values: NDArray[np.float64], digits: int) -> list[float | None]:
    """As JSON has them: null for what is not there, and no more digits than can be seen."""
    return [None if np.isnan(value) else round(float(value), digits) for value in values]


def _sure(lane: Lane) -> NDArray[np.float64]:
    return np.array([np.nan if np.isnan(score) else probability(score) for score in lane.score_b])


def _share_of_largest(lane: Lane) -> NDArray[np.float64]:
    if not (lane.present_b > 0).any():
        return lane.area_b
    share: NDArray[np.float64] = lane.area_b / np.nanmax(lane.area_b)
    return share


def _details(lane: Lane) -> list[list[int]]:
    area = np.nan_to_num(lane.area_b)
    columns = zip(lane.present_b.tolist(), lane.frames_b.tolist(), area.tolist(), strict=True)
    return [[present, frames, round(pixels)] for present, frames, pixels in columns]


def _is_dotted(lane: Lane) -> bool:
    """Whether the object is present in single bins, which a line does not show."""
    here = np.concatenate([[False], lane.present_b > 0, [False]])
    return bool((here[1:-1] & ~here[:-2] & ~here[2:]).any())


def _name(item: ObjectSummary, labels: Mapping[int, str | None]) -> str:
    """An object's name; escaped, since plotly takes tags in its texts."""
    label = labels.get(item.object_id) or ""
    if len(label) > _MAX_LABEL:
        label = label[: _MAX_LABEL - 1] + "…"
    return f"{item.object_id} {html.escape(label)}".strip()


def _swatch(item: ObjectSummary) -> str:
    red, green, blue = object_colour(item.object_id)
    return f'<span style="color:rgb({red},{green},{blue})">■</span> '


def _cut_lines(cuts: Iterable[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "type": "line",
            "x0": cut.frame,
            "x1": cut.frame,
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "line": {"width": 1, "dash": "dash", "color": "rgba(128,128,128,0.9)"},
        }
        for cut in cuts
    ]


def _rss(chunk: ChunkFacts) -> int | None:
    return chunk.peak_rss_bytes


def _vram(chunk: ChunkFacts) -> int | None:
    return chunk.peak_vram_bytes


def _used(sample: MemorySample, name: str) -> int | None:
    return sample.rss_bytes if name == "RAM" else sample.vram_bytes


def _is_degraded(chunks: Iterable[ChunkFacts]) -> bool:
    return any(chunk.degradations for chunk in chunks)
