"""Time and memory of every export format: 20 objects over 1,000 and 10,000 frames.

    python tests/bench/exports.py [--frames 1000 10000] [--formats coco-video cvat-xml]

The masks are ellipses in pictures of 640 x 360 pixels that wander and overlap; on one frame of
eight an object is away. Each format is written in a process of its own; its peak of resident memory
is the kernel's count, and ffmpeg's processes are counted beside it.
"""

import argparse
import contextlib
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import psutil

from samcore.exports import FORMATS, write_export
from samcore.exports.folder import files_in
from samcore.exports.source import ExportSource
from samcore.machine.meters import MemoryMeter
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.table import MaskWriter
from samcore.video import VideoInfo, open_video
from samcore.video.decoder import find_ffmpeg

HEIGHT, WIDTH, OBJECTS, RATE = 360, 640, 20, 30


def draw(frame: int) -> np.ndarray:
    """The masks of a frame, N x H x W."""
    masks_nhw = np.zeros((OBJECTS, HEIGHT, WIDTH), np.uint8)
    for place, mask_hw in enumerate(masks_nhw):
        if (frame // 40 + place) % 8 == 0:
            continue
        turn = frame / 90 + place
        x = int(WIDTH * (0.5 + 0.4 * math.sin(turn * (1 + place / 40))))
        y = int(HEIGHT * (0.5 + 0.4 * math.cos(turn * 1.3)))
        size = (30 + 2 * place, 20 + place)
        cv2.ellipse(mask_hw, (x, y), size, 40 * turn, 0, 360, 1, -1)
    return masks_nhw.view(bool)


def make_masklets(folder: Path, frames: int, *, with_video: bool) -> ExportSource:
    """A table, and a video if it is asked for."""
    path = folder / "video.mp4"
    if with_video:
        command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i"]
        command += [f"testsrc2=size={WIDTH}x{HEIGHT}:rate={RATE}", "-frames:v", str(frames)]
        command += ["-preset", "ultrafast", "-g", "60", str(path)]
        subprocess.run(command, check=True)
        info = open_video(path, index_path=folder / "index.parquet").info
    else:
        info = VideoInfo(
            source=str(path), kind="video", width=WIDTH, height=HEIGHT, num_frames=frames,
            time_base=Fraction(1, 15360), avg_rate=Fraction(RATE), start_pts=0,
            duration_s=frames / RATE, codec="h264", container="mov", header_num_frames=frames,
            header_duration_s=frames / RATE, rotation_deg=0, variable_rate=False, size_bytes=1,
            digest="sha256:" + "0" * 64, damaged=None,
        )  # fmt: skip
    ids = tuple(range(1, OBJECTS + 1))
    table = folder / "masks.parquet"
    with MaskWriter(table, height=HEIGHT, width=WIDTH) as writer:
        for frame in range(frames):
            scores = np.sin(np.arange(OBJECTS) + frame / 50).astype(np.float32) + 2
            ious = np.full(OBJECTS, 0.9, np.float32)
            prompted = np.zeros(OBJECTS, bool)
            writer.write(FrameMasks(frame, ids, draw(frame), scores, ious, prompted), frame * 512)
    labels = {i: ("car", "person", "dog")[i % 3] for i in ids}
    return ExportSource(table, info, 0, frames, ids, labels)


def measure(folder: Path, name: str) -> dict[str, float]:
    """Write one format, in this process."""
    info = VideoInfo.model_validate_json((folder / "info.json").read_text())
    ids = tuple(range(1, OBJECTS + 1))
    labels = {i: ("car", "person", "dog")[i % 3] for i in ids}
    masklets = ExportSource(folder / "masks.parquet", info, 0, info.num_frames, ids, labels)
    video = None
    if FORMATS.get(name).sees_frames:
        video = open_video(info.source, index_path=folder / "index.parquet")
    began = time.perf_counter()
    with (
        MemoryMeter() as meter,
        EncoderMeter() as encoder,
        tempfile.TemporaryDirectory(dir=folder) as out,
    ):
        write_export(masklets, name, Path(out) / name, video=video)
        seconds = time.perf_counter() - began
        own = meter.snapshot().peak_rss_bytes
        folder = Path(out) / name
        size = sum((folder / file).stat().st_size for file in files_in(folder))
    return {
        "seconds": seconds,
        "size_mb": size / 1e6,
        "own_mib": own / 2**20,
        "encoder_mib": encoder.peak_bytes / 2**20,
    }


class EncoderMeter:
    """The most memory that child processes hold, looked at five times a second."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "EncoderMeter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.2):
            with contextlib.suppress(psutil.Error):
                held = [child.memory_info().rss for child in psutil.Process().children()]
                self.peak_bytes = max(self.peak_bytes, sum(held))


def main() -> None:
    """Print a line for each format and length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--formats", nargs="+", default=list(FORMATS.names), choices=FORMATS.names)
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "NAME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(Path(options.measure[0]), options.measure[1])))
        return
    print(f"{'format':<14}{'frames':>8}{'seconds':>9}{'MB':>8}{'peak MiB':>10}{'ffmpeg':>9}")
    for frames in options.frames:
        with tempfile.TemporaryDirectory(prefix="longtake-exports-") as made:
            folder = Path(made)
            with_video = any(FORMATS.get(name).sees_frames for name in options.formats)
            masklets = make_masklets(folder, frames, with_video=with_video)
            (folder / "info.json").write_text(masklets.video.model_dump_json())
            for name in options.formats:
                command = [sys.executable, __file__, "--measure", made, name]
                answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found = json.loads(answer)
                print(
                    f"{name:<14}{frames:>8}{found['seconds']:>9.1f}{found['size_mb']:>8.1f}"
                    f"{found['own_mib']:>10.0f}{found['encoder_mib']:>9.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
