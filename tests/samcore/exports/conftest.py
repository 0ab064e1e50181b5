"""A small result with all that is awkward: gaps, overlaps, edges, a late start, odd labels."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from samcore.chunks.plan import Chunk
from samcore.config import TrackSettings
from samcore.disk.files import FileRecord
from samcore.exports import write_export
from samcore.exports.source import ExportSource
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.table import MaskWriter
from samcore.models.registry import ModelSpec
from samcore.result.manifest import Manifest
from samcore.result.published import Peaks, Timings
from samcore.result.records import ObjectRecord, RunRecord
from samcore.video import VideoInfo

HEIGHT, WIDTH, NUM_FRAMES, START, STOP = 33, 47, 20, 2, 14
LABELS = {1: "car", 7: 'chien & "chat"'}
IDS = (1, 7, 12, 40)

Masks = dict[int, dict[int, NDArray[np.bool_]]]
"""H x W masks by frame and object; only those that are not empty."""


@dataclass(frozen=True)
class Case:
    """What was written, to be found again."""

    masklets: ExportSource
    masks: Masks
    exclusive: Masks
    """As formats have them where a pixel belongs to one object."""
    scores: Mapping[tuple[int, int], float]
    """Object score by frame and object."""

    def write(self, name: str, folder: Path, **options: object) -> Path:
        """Export, and give the folder."""
        write_export(self.masklets, name, folder / name, **options)
        return folder / name


def draw(frame: int) -> dict[int, NDArray[np.bool_]]:
    """Object 1 crosses 12 and is away on two frames; 7 begins late; 12 fills the picture once; 40
    is never seen."""
    masks = {object_id: np.zeros((HEIGHT, WIDTH), bool) for object_id in IDS if frame >= START}
    if frame not in (5, 6):
        masks[1][10:20, 2 * frame : 2 * frame + 9] = True
        masks[1][12, 2 * frame + 3] = False
    masks[12][8:16, 14:30] = True
    if frame == 9:
        masks[12][:] = True
    if frame < 8:
        del masks[7]
    else:
        masks[7] |= np.random.default_rng(frame).random((HEIGHT, WIDTH)) < 0.2
    return masks


def make_case(
    folder: Path,
    *,
    draw=draw,
    ids=IDS,
    labels=LABELS,
    start=START,
    stop=STOP,
    pts=lambda frame: 512 * frame,
) -> Case:
    """Write a table of what `draw` gives for each frame, at the times that `pts` gives."""
    info = VideoInfo(
        source="/videos/a dog & me.mp4",
        kind="video",
        width=WIDTH,
        height=HEIGHT,
        num_frames=max(NUM_FRAMES, stop),
        time_base=Fraction(1, 15360),
        avg_rate=Fraction(30),
        start_pts=0,
        duration_s=NUM_FRAMES / 30,
        codec="h264",
        container="mov",
        header_num_frames=NUM_FRAMES,
        header_duration_s=NUM_FRAMES / 30,
        rotation_deg=0,
        variable_rate=False,
        size_bytes=1,
        digest="sha256:" + "0" * 64,
        damaged=None,
    )
    masks: Masks = {}
    exclusive: Masks = {}
    scores: dict[tuple[int, int], float] = {}
    table = folder / "masks.parquet"
    with MaskWriter(table, height=HEIGHT, width=WIDTH, rows_per_group=7) as writer:
        for frame in range(start, stop):
            drawn = draw(frame)
            here = tuple(sorted(drawn))
            # 1 and 12 take turns in front; on frame 10 they are equal, and the lower id wins.
            score = {i: {1: frame - 10.0, 12: 10.0 - frame}.get(i, 3.0) for i in here}
            masks[frame] = {i: drawn[i] for i in here if drawn[i].any()}
            taken = np.zeros((HEIGHT, WIDTH), bool)
            exclusive[frame] = {}
            for i in sorted(masks[frame], key=lambda i: (-score[i], i)):
                left = masks[frame][i] & ~taken
                taken |= left
                if left.any():
                    exclusive[frame][i] = left
            scores |= {(frame, i): score[i] for i in here}
            n = len(here)
            if n:
                writer.write(
                    FrameMasks(
                        frame,
                        here,
                        np.stack([drawn[i] for i in here]),
                        np.array([score[i] for i in here], np.float32),
                        np.full(n, 0.75, np.float32),
                        np.zeros(n, bool),
                    ),
                    pts=pts(frame),
                )
    masklets = ExportSource(table, info, start, stop, tuple(ids), dict(labels))
    return Case(masklets, masks, exclusive, scores)


@pytest.fixture(scope="session", name="make_case")
def _make_case() -> Callable[..., Case]:
    """Write a table of what a function gives for each frame."""
    return make_case


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The awkward result."""
    return make_case(tmp_path_factory.mktemp("case"))


@pytest.fixture
def many(tmp_path: Path) -> Callable[..., Case]:
    """Make a result of some objects, a pixel each, on three frames."""

    def make(ids: tuple[int, ...], labels: Mapping[int, str] | None = None) -> Case:
        def draw_pixels(frame: int) -> dict[int, NDArray[np.bool_]]:
            masks = {}
            for place, object_id in enumerate(ids):
                masks[object_id] = np.zeros((HEIGHT, WIDTH), bool)
                masks[object_id].flat[(place + frame) % (HEIGHT * WIDTH)] = True
            return masks

        return make_case(tmp_path, draw=draw_pixels, ids=ids, labels=labels or {}, start=0, stop=3)

    return make


@pytest.fixture
def published(case: Case, tmp_path: Path) -> Path:
    """The same as a folder with a manifest."""
    masklets = case.masklets
    folder = tmp_path / "out"
    folder.mkdir()
    data = masklets.table.read_bytes()
    (folder / "masks.parquet").write_bytes(data)
    objects = tuple(ObjectRecord(id=i, label=LABELS.get(i), prompted_frames=(2,)) for i in IDS)
    request = RunRecord(
        source="x.mp4",
        source_digest=masklets.video.digest,
        objects=objects,
        prompts_digest="p",
        model=ModelSpec(
            name="m", config="c", checkpoint=None, seed=0, image_size=64, fingerprint="sha256:0"
        ),
        settings=TrackSettings(device="cpu", dtype="float32"),
        start=START,
        stop=STOP,
        chunks=(Chunk(0, START, STOP),),
        handoff="memory",
    )
    sha256 = hashlib.sha256(data).hexdigest()
    manifest = Manifest(
        key="k" * 32,
        request=request,
        video=masklets.video,
        frames=STOP - START,
        files=(FileRecord(name="masks.parquet", size=len(data), sha256=sha256),),
        seam_agreement=None,
        seams_identical=None,
        chunks=(),
        timings=Timings(prompt_pass=0.0, tracking=0.0),
        peaks=Peaks(rss_bytes=1, vram_bytes=None),
        versions={},
        finished_at="2026-11-21T12:00:00+00:00",
    ).model_dump(mode="json")
    parts = (manifest, manifest["request"], manifest["request"]["settings"], manifest["files"][0])
    for part in parts:
        part["added by a later version"] = True
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def whole(case: Case) -> ExportSource:
    """Its masklets as tracked to the video's end."""
    return replace(case.masklets, stop=NUM_FRAMES)
