"""The result as artifacts, which Prefect's UI shows beside the run: two tables and a picture.

Numbers and one small picture; never a mask, and no more for a long video than for a short one.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from samcore.beside import Beside
from samcore.chunks.seams import SeamReport
from samcore.findings.finding import Findings
from samcore.findings.lanes import LaneReport, probability, read_lanes
from samcore.masks.ledger import ResultObject
from samcore.masks.table import MaskReader
from samcore.progress import counted
from samcore.report.pictures import Picture, draw_picture
from samcore.result.cost import cost_line
from samcore.result.manifest import MANIFEST, MASKS, OVERLAY, REPORT, SEAMS, Manifest
from samcore.result.published import FindingList, SeamList
from samcore.result.store import Link, ResultStore
from samcore.run.folder import RunFolder
from tasks.progress.artifact import artifact_key
from tasks.results.open import open_result_store
from tasks.run.refs import RunRef
from tasks.sources.opened import open_run_source

_log = logging.getLogger(__name__)
MAX_ROWS = 100
"""Rows of a table: the objects that begin first by number, the seams that agree least."""
MAX_PICTURE_BYTES = 8_000
"""Prefect's database holds each artifact three times: with its history and with its event."""
_SIDES = (240, 200, 160, 120)
_MAX_LABEL = 40
_MAX_FINDINGS = 5
_MAX_LINE = 200


Drawn = Future[Picture | None] | None
"""The picture of a result, once it is drawn; None if it is still to be drawn."""


@contextlib.contextmanager
def drawing_picture(run: RunRef) -> Iterator[Drawn]:
    """Draw the picture of a published result while the block runs; it is there after the block.

    Of a result in a bucket it is drawn later, from the files that are fetched for the rest.
    """
    if run.in_bucket:
        yield None
        return
    drawn: Future[Picture | None] = Future()

    def draw(_: Callable[[], None]) -> None:
        try:
            drawn.set_result(_picture(run, *_listed(run)))
        except Exception as error:
            drawn.set_exception(error)

    with Beside(draw):
        yield drawn


def post_artifacts(run: RunRef, drawn: Drawn) -> None:
    """Show a published result, with its picture, in Prefect's UI.

    Whatever goes wrong here is logged and no more: the result is published, and must not be lost
    for a server that is away.
    """
    try:
        _post(run, drawn)
    except Exception as error:
        _log.warning("the result is not shown in Prefect's UI: %s", " ".join(str(error).split()))


def _listed(run: RunRef) -> tuple[ResultStore, Manifest]:
    store = open_result_store(run)
    manifest = store.listed(run.key)
    if manifest is None:
        raise ValueError(f"there is no whole result in {store.location}")
    return store, manifest


def _post(run: RunRef, drawn: Drawn) -> None:
    store, manifest = _listed(run)
    masks = store.fetch(MASKS)
    seams = SeamList.model_validate_json(store.fetch(SEAMS).read_bytes()).seams
    record, video = manifest.request, manifest.video
    findings = Findings(1)
    lanes = read_lanes(
        masks,
        findings,
        start=record.start,
        stop=record.stop,
        rate=float(video.avg_rate),
        size_hw=(video.height, video.width),
        tracked=record.tracked,
    )
    key = artifact_key(run.key)
    num_objects = len(lanes.objects)
    create_table_artifact(
        table=object_rows(lanes, manifest, store.objects(manifest)),
        key=f"{key}-objects",
        description=f"{counted(num_objects, 'object')} of {run.video}"
        + (f", the first {MAX_ROWS}" if num_objects > MAX_ROWS else ""),
    )
    compared = [seam for seam in seams if seam.frames]
    if compared:
        create_table_artifact(
            table=seam_rows(compared),
            key=f"{key}-seams",
            description=f"How far chunks agree at {counted(len(compared), 'seam')}"
            + (f", the worst {MAX_ROWS}" if len(compared) > MAX_ROWS else ""),
        )
    listed = {file.name for file in manifest.files}
    links = {
        name: store.link(name)
        for name in (REPORT, OVERLAY, MANIFEST)
        if name in {*listed, MANIFEST}
    }
    picture = _picture(run, store, manifest) if drawn is None else drawn.result()
    create_markdown_artifact(
        markdown=result_page(manifest, picture, links=links, location=store.location),
        key=f"{key}-result",
        description=f"The result of {run.video}",
    )


def object_rows(
    lanes: LaneReport, manifest: Manifest, objects: Sequence[ResultObject] | None = None
) -> list[dict[str, object]]:
    """One row an object; `objects` have their labels, else those that were asked for do."""
    named = manifest.request.objects if objects is None else objects
    labels = {item.id: item.label or "" for item in named}
    picture = manifest.video.height * manifest.video.width
    return [
        {
            "object": item.object_id,
            "label": plain(labels.get(item.object_id, "")),
            "begins": item.first_frame,
            "present": f"{item.present} of {item.frames} frames",
            "mean area": f"{item.mean_area * 100 / picture:.2f} %",
            "presence": round(probability(item.mean_score), 3) if item.present else None,
            "predicted IoU": round(item.mean_iou, 3) if item.present else None,
            "long absences": item.absences,
            "may be another": item.jumps,
        }
        for item in lanes.objects[:MAX_ROWS]
    ]


def seam_rows(seams: list[SeamReport]) -> list[dict[str, object]]:
    """One row a seam; the worst ones, in order."""
    worst = sorted(seams, key=lambda seam: (seam.agreement, seam.start))[:MAX_ROWS]
    return [
        {
            "chunks": f"{seam.left_index} and {seam.right_index}",
            "frames": f"{seam.start} to {seam.stop - 1}",
            "agreement": round(seam.agreement, 4),
            "identical": "yes" if seam.identical else "no",
        }
        for seam in sorted(worst, key=lambda seam: seam.start)
    ]


def result_page(
    manifest: Manifest, picture: Picture | None, *, links: Mapping[str, Link], location: str
) -> str:
    """Markdown: what came out, where it is, and how it looks."""
    objects = counted(manifest.num_objects, "object")
    frames = counted(manifest.frames, "frame")
    lines = [f"**{objects} on {frames}**, published in `{location}`"]
    if manifest.seam_agreement is not None:
        exact = ", identical to the last bit" if manifest.seams_identical else ""
        lines.append(f"Agreement at seams: {manifest.seam_agreement:.4f} at least{exact}")
    if manifest.cost is not None:
        lines.append(f"Cost: {cost_line(manifest.cost)}")
    if manifest.findings is not None:
        lines.append(_finding_list(manifest.findings))
    if links:
        lines.append(opening(links))
    if REPORT in links:
        lines.append(f"`longtake show {location}` opens the report, too")
    if picture is not None:
        lines.append(f"Frame {picture.frame}:\n\n![frame {picture.frame}]({picture.data_uri})")
    return "\n\n".join(lines)


def opening(links: Mapping[str, Link]) -> str:
    """Markdown: what can be opened, by names."""
    opens = ", ".join(f"[{name}]({link.url})" for name, link in links.items())
    days = min((link.lasts_s or 0 for link in links.values()), default=0) // 86_400
    until = f" (these links work for {days} days, for everyone who has them)" if days else ""
    return f"Open {opens}{until}"


def _telling_frame(manifest: Manifest) -> int:
    """The frame to show: that of the first finding, else the one in the middle."""
    if manifest.findings is not None and manifest.findings.worst:
        return manifest.findings.worst[0].frame
    middle = (manifest.request.start + manifest.request.stop) // 2
    tracked = manifest.request.tracked
    return middle if tracked is None else tracked.nearest(middle)[0]


def _finding_list(findings: FindingList) -> str:
    if not findings.total:
        return "Nothing odd was found in the masks."
    # A finding's text may quote the decoder, and with it the video's name.
    items = (f"- {plain(line, _MAX_LINE)}" for line in findings.lines(_MAX_FINDINGS))
    return "\n".join([f"**{counted(findings.total, 'finding')} to look at**", "", *items])


def _picture(run: RunRef, store: ResultStore, manifest: Manifest) -> Picture | None:
    """The frame to show with its masks and prompts, as large as fits."""
    folder, frame_idx = RunFolder.from_ref(run), _telling_frame(manifest)
    image = open_run_source(folder).frame(frame_idx).image_rgb_hwc_u8
    prompts = [prompt for prompt in folder.prompts() if prompt.frame_idx == frame_idx]
    with MaskReader(store.fetch(MASKS)) as reader:
        found = reader.masks(frame_idx)
    for side in _SIDES:
        picture = draw_picture(frame_idx, image, found, prompts=prompts, long_side=side)
        if len(picture.jpeg) <= MAX_PICTURE_BYTES:
            return picture
    return None


def plain(text: str, most: int = _MAX_LABEL) -> str:
    """A text without what the UI would take for markup, of at most so many letters."""
    kept = "".join(letter if letter.isprintable() else " " for letter in text)
    for mark in "[]()<>`*_|!\\":
        kept = kept.replace(mark, " ")
    return " ".join(kept.split())[:most]
