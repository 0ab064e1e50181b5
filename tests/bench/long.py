"""An hour of video: does memory stay flat, and the rate steady?

    python tests/bench/long.py                            # an hour of 30 frames a second, nano
    python tests/bench/long.py --minutes 0.1 --out /tmp/long      # a look
    python tests/bench/long.py --minutes 60 --size 64 --objects 2 --out long

The scene is painted frame by frame and never held, tracked, and its masks written as a run writes
them. A reading is taken every `--every` frames: memory of the process (and of the GPU), seconds of
CPU time that tracking and writing took; painting is not counted. Writes OUT.json and OUT.png, and
prints one line. Memory is flat if the last quarter's median is within `--limit` of the second
quarter's; the rate is steady if theirs is within `--rate-limit`. Exits with 1 if it is not.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from samcore.machine.device import choose_compute
from samcore.masks.table import MaskWriter
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.scenes import Scene, box_of
from samcore.tracking.tracker import VideoTracker

HEIGHT, WIDTH, RATE = 96, 128, 30
INK, FAINT = (60, 60, 60), (225, 225, 225)
RSS_COLOUR, RATE_COLOUR = (160, 80, 30), (40, 130, 60)


class Painted:
    """Frames of a scene, one at a time; knows the CPU time that painting took."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.seconds = 0.0

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for frame_idx in range(self._scene.num_frames):
            began = time.process_time()
            image = self._scene.frame(frame_idx).image_rgb_hwc_u8
            self.seconds += time.process_time() - began
            yield image


def track(
    minutes: float, *, model_name: str, size: int | None, objects: int, device: str, every: int
) -> list[dict[str, float]]:
    """Track a scene of some length; a reading every some frames."""
    spec = resolve_model(model_name, image_size=size, cache_dir=Path.home() / ".cache" / "longtake")
    compute = choose_compute(device, "auto")
    model = load_model(spec, compute)
    num_frames = round(minutes * 60 * RATE)
    scene = Scene(1, num_frames=num_frames, height=HEIGHT, width=WIDTH, num_objects=objects)
    tracker = VideoTracker(model, height=HEIGHT, width=WIDTH, num_frames=num_frames)
    for obj_id, mask in zip(scene.obj_ids, scene.masks_nhw(0), strict=True):
        if mask.any():
            x1, y1, x2, y2 = box_of(mask)
            tracker.add_box(obj_id, 0, (float(x1), float(y1), float(x2), float(y2)))
    process = psutil.Process()
    frames = Painted(scene)
    readings: list[dict[str, float]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        MaskWriter(Path(folder, "masks.parquet"), height=HEIGHT, width=WIDTH) as masks,
    ):
        began = time.process_time()
        for output in tracker.track(iter(frames)):
            masks.write(output, output.frame_idx)
            if (output.frame_idx + 1) % every == 0:
                spent = time.process_time() - began - frames.seconds
                readings.append(
                    {
                        "frame": output.frame_idx + 1,
                        "rss_bytes": process.memory_info().rss,
                        "fps": every / spent,
                    }
                )
                if compute.device.type == "cuda":
                    readings[-1]["vram_bytes"] = torch.cuda.memory_allocated(compute.device)
                began, frames.seconds = time.process_time(), 0.0
    return readings


def quarters(readings: Sequence[dict[str, float]], name: str) -> tuple[float, float]:
    """Medians of the second quarter and of the last one: the first holds the start."""
    values = [reading[name] for reading in readings]
    part = max(1, len(values) // 4)
    return statistics.median(values[part : 2 * part] or values), statistics.median(values[-part:])


def plot(readings: Sequence[dict[str, float]], path: Path, title: str) -> None:
    """Memory and rate over the minutes of the video, each from 0, one above the other."""
    image = np.full((560, 900, 3), 255, np.uint8)
    _put(image, title, (60, 30), INK)
    minutes = [reading["frame"] / RATE / 60 for reading in readings]
    rss = [reading["rss_bytes"] / 2**20 for reading in readings]
    rates = [reading["fps"] for reading in readings]
    _curve(image, (60, 60, 860, 270), minutes, rss, "MiB of main memory", RSS_COLOUR)
    _curve(image, (60, 310, 860, 520), minutes, rates, "frames a second of CPU time", RATE_COLOUR)
    cv2.imwrite(str(path), image)


def _curve(
    image: NDArray[np.uint8],
    area: tuple[int, int, int, int],
    xs: Sequence[float],
    ys: Sequence[float],
    label: str,
    colour: tuple[int, int, int],
) -> None:
    left, top, right, bottom = area
    most = max(ys) * 1.15
    cv2.rectangle(image, (left, top), (right, bottom), FAINT, 1)
    points = [
        (left + (right - left) * x / max(xs), bottom - (bottom - top) * y / most)
        for x, y in zip(xs, ys, strict=True)
    ]
    cv2.polylines(image, [np.array(points, np.int32)], False, colour, 2, cv2.LINE_AA)
    _put(image, f"{label}: {ys[0]:.0f} first, {ys[-1]:.0f} last", (left + 10, bottom - 12), colour)
    _put(image, f"{max(xs):.3g} min", (right - 60, bottom + 18), INK)
    _put(image, f"{most:.0f}", (8, top + 12), INK)
    _put(image, "0", (8, bottom), INK)


def _put(
    image: NDArray[np.uint8], text: str, at: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--size", type=int, help="side of the model's input in pixels")
    parser.add_argument("--objects", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--every", type=int, default=300, help="frames between two readings")
    parser.add_argument("--limit", type=float, default=1.03, help="largest growth that passes")
    parser.add_argument("--rate-limit", type=float, default=1.25)
    parser.add_argument("--out", type=Path, default=Path("long"), help="name of the two files")
    args = parser.parse_args()
    if args.minutes * 60 * RATE < 4 * args.every:
        args.every = max(1, int(args.minutes * 60 * RATE / 8))
    torch.set_num_threads(1)
    readings = track(
        args.minutes,
        model_name=args.model,
        size=args.size,
        objects=args.objects,
        device=args.device,
        every=args.every,
    )
    before, after = quarters(readings, "rss_bytes")
    early, late = quarters(readings, "fps")
    growth, slower = after / before, early / late
    args.out.parent.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "command": sys.argv[1:],
        "minutes": args.minutes,
        "model": args.model,
        "objects": args.objects,
        "growth": growth,
        "slower": slower,
        "readings": readings,
    }
    name = args.out.name.removesuffix(".json")
    args.out.with_name(f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    said = (
        f"{args.minutes:g} minutes, {args.model}, {args.objects} objects: "
        f"{before / 2**20:.0f} and {after / 2**20:.0f} MiB, {early:.1f} and {late:.1f} frames a "
        "second of CPU time, in the second and the last quarter"
    )
    plot(readings, args.out.with_name(f"{name}.png"), said)
    print(said)
    return int(growth > args.limit or slower > args.rate_limit)


if __name__ == "__main__":
    sys.exit(main())
