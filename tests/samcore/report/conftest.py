"""A made-up run with known oddities."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from samcore.chunks.seams import ObjectAgreement, SeamReport
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.table import MaskWriter
from samcore.report.facts import ChunkFacts, MemorySample, ReportFacts
from samcore.video import VideoWriter, open_video

HEIGHT, WIDTH, FRAMES, RATE = 96, 128, 120, 10
CUT, JUMP, GONE, BACK, DOUBT = 70, 40, 50, 80, 100
"""Where object 2 jumps, object 1 is gone and comes back, and object 3 is in doubt."""


def square(left, top, size):
    """A mask."""
    mask_hw = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask_hw[top : top + size, left : left + size] = True
    return mask_hw


def masks_of(frame_idx):
    """Three objects: one that leaves, one that jumps, one that is in doubt."""
    first = square(10 + frame_idx // 4, 10, 20)
    if GONE <= frame_idx < BACK:
        first[:] = False
    second = square(10, 60, 16) if frame_idx < JUMP else square(90, 20, 16)
    return np.stack([first, second, square(60, 70, 18)])


def write_table(path, *, frames=range(FRAMES), masks=masks_of, obj_ids=(1, 2, 3)):
    """A mask table; object 3 has low scores from `DOUBT` on, for five frames."""
    with MaskWriter(path, height=HEIGHT, width=WIDTH) as writer:
        for frame_idx in frames:
            masks_nhw = masks(frame_idx)
            scores = np.where(masks_nhw.any(axis=(1, 2)), 6.0, -6.0).astype(np.float32)
            if DOUBT <= frame_idx < DOUBT + 5 and len(scores) > 2:
                scores[2] = 0.2
            writer.write(
                FrameMasks(
                    frame_idx,
                    obj_ids,
                    masks_nhw,
                    scores,
                    np.full(len(scores), 0.9, np.float32),
                    np.full(len(scores), frame_idx == 0),
                ),
                frame_idx,
            )
    return path


@pytest.fixture(scope="session")
def video_path(tmp_path_factory) -> Path:
    """A video with one cut."""
    path = tmp_path_factory.mktemp("report") / "video.mp4"
    rng = np.random.default_rng(0)
    scenes = [rng.integers(0, 120, (12, 16, 3)), rng.integers(130, 255, (12, 16, 3))]
    with VideoWriter(path, width=WIDTH, height=HEIGHT, rate=Fraction(RATE)) as writer:
        for frame_idx in range(FRAMES):
            tiles = scenes[frame_idx >= CUT].astype(np.uint8)
            image = tiles.repeat(8, axis=0).repeat(8, axis=1)
            image[:, frame_idx : frame_idx + 4] = 90
            writer.write(image)
    return path


@pytest.fixture(scope="session")
def video(video_path):
    """The same, opened."""
    return open_video(video_path)


@pytest.fixture(scope="session")
def table(tmp_path_factory) -> Path:
    """The made-up masks."""
    return write_table(tmp_path_factory.mktemp("table") / "masks.parquet")


def chunk(index, start, stop, **changes):
    """One chunk's facts."""
    values = {
        "seconds": 3.0,
        "frames_per_second": (stop - start) / 3,
        "peak_rss_bytes": 900_000_000 + index,
        "peak_vram_bytes": 2_000_000_000,
        "attempts": 1,
        "degradations": (),
        "quality_loss": False,
        "stages": {"decode": 0.5, "track": 2.5},
    }
    return ChunkFacts(index=index, start=start, stop=stop, **{**values, **changes})


def seam(index, start, agreement):
    """One seam's report."""
    agrees = ObjectAgreement(
        object_id=1,
        frames=4,
        mean_iou=agreement,
        min_iou=agreement,
        worst_frame=start,
        left_only=0,
        right_only=0,
    )
    return SeamReport(
        left_index=index,
        right_index=index + 1,
        start=start,
        stop=start + 4,
        frames=4,
        identical=agreement == 1,
        agreement=agreement,
        objects=(agrees,),
        left_only=(),
        right_only=(),
    )


@pytest.fixture
def facts():
    """What is known of the made-up run; keywords change it."""

    def make(**changes):
        values = {
            "title": "video.mp4",
            "start": 0,
            "stop": FRAMES,
            "rate": float(RATE),
            "height": HEIGHT,
            "width": WIDTH,
            "labels": {1: "ball", 2: None, 3: None},
            "chunks": (
                chunk(0, 0, 44),
                chunk(1, 40, 84, attempts=3, degradations=("frame 50: encoder batch 4 to 2",)),
                chunk(2, 80, 120),
            ),
            "seams": (seam(0, 40, 1.0), seam(1, 80, 0.97)),
            "memory": tuple(MemorySample(i, 800_000_000 + i, None) for i in range(0, 120, 7)),
            "about": (("model", "nano"),),
            "seconds": {"prompt pass": 0.4},
        }
        return ReportFacts(**{**values, **changes})

    return make
