"""Does memory grow with the video? Peak RSS of tracking videos of several lengths, side by side.

    python tests/bench/flat_memory.py                  # 200 and 2,000 frames
    python tests/bench/flat_memory.py --frames 200 20000 --objects 3

Each length runs in a process of its own: decode, track (`nano`, or --model NAME), write
the masks. Prints both peaks and their ratio, and exits with 1 above --limit.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import psutil

from samcore.machine.device import choose_compute
from samcore.machine.meters import MemoryMeter
from samcore.masks.table import MaskWriter
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.scenes import Scene, box_of
from samcore.tracking.tracker import VideoTracker
from samcore.video import VideoWriter, open_video

HEIGHT, WIDTH = 192, 256


def make_video(path: Path, *, num_frames: int, num_objects: int) -> dict[int, list[float]]:
    """Write a scene as a video; the first frame's boxes, by object."""
    scene = Scene(1, num_frames=num_frames, height=HEIGHT, width=WIDTH, num_objects=num_objects)
    with VideoWriter(path, width=WIDTH, height=HEIGHT, rate=Fraction(30)) as writer:
        for frame in scene:
            writer.write(frame.image_rgb_hwc_u8)
    first = scene.frame(0).masks_nhw
    return {
        obj_id: [float(edge) for edge in box_of(mask)]
        for obj_id, mask in zip(scene.obj_ids, first, strict=True)
        if mask.any()
    }


def track(video_path: Path, boxes: dict[int, list[float]], model_name: str, out: Path) -> None:
    """Track one video and print the process's peak memory as JSON."""
    spec = resolve_model(model_name, cache_dir=out.parent)
    model = load_model(spec, choose_compute("auto", "auto"))
    video = open_video(video_path)
    info = video.info
    tracker = VideoTracker(model, height=info.height, width=info.width, num_frames=info.num_frames)
    for obj_id, (x1, y1, x2, y2) in boxes.items():
        tracker.add_box(obj_id, 0, (x1, y1, x2, y2))
    with (
        MemoryMeter() as meter,
        video.read() as frames,
        MaskWriter(out, height=info.height, width=info.width) as masks,
    ):
        for output in tracker.track(frames):
            masks.write(output, video.pts(output.frame_idx))
    reading = meter.snapshot()
    print(json.dumps({"rss": reading.peak_rss_bytes, "vram": reading.peak_vram_bytes}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--limit", type=float, default=1.05, help="largest ratio that passes")
    parser.add_argument(
        "--child", nargs=3, metavar=("VIDEO", "BOXES", "OUT"), help=argparse.SUPPRESS
    )
    args = parser.parse_args()
    if args.child:
        video, boxes, out = args.child
        parsed = {int(obj_id): box for obj_id, box in json.loads(boxes).items()}
        track(Path(video), parsed, args.model, Path(out))
        return 0
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for num_frames in args.frames:
            video = Path(folder, f"{num_frames}.mp4")
            boxes = make_video(video, num_frames=num_frames, num_objects=args.objects)
            command = [sys.executable, __file__, "--model", args.model, "--child"]
            command += [str(video), json.dumps(boxes), str(video.with_suffix(".parquet"))]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            peak = json.loads(printed.splitlines()[-1])
            peaks.append(peak["rss"])
            vram = "" if peak["vram"] is None else f", VRAM {peak['vram'] / 2**20:.0f} MiB"
            print(
                f"{num_frames:>7} frames: peak RSS {peak['rss'] / 2**20:.0f} MiB{vram}", flush=True
            )
    ratio = max(peaks) / peaks[0]
    cores = psutil.cpu_count(logical=True)
    print(f"ratio {ratio:.3f}, limit {args.limit} ({args.objects} objects, {cores} cores)")
    return int(ratio > args.limit)


if __name__ == "__main__":
    sys.exit(main())
