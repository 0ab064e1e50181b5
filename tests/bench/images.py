"""Pictures a second in batches beside one at a time, as a Markdown table.

    nice python tests/bench/images.py                                # minutes
    python tests/bench/images.py --device cuda --sizes 1024 --pictures 64 --write results.md

Each picture has one box: preprocessing, image encoder, mask decoder, enlarging and run lengths. All
batch sizes take turns in one process (1, 4, 8, 16, 1, ...), so that other work on the machine slows
all of them. Printed are medians of wall and CPU time a picture, the median of the ratios of a turn
in CPU time (wall time on a GPU), the largest peak of memory on a GPU, and the share of pixels that
differ from one picture at a time. Weights of `sam2.1-tiny` are random: only time counts.
"""

import argparse
import datetime
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from policies import put_into  # a script beside this one

from samcore.images.result import PictureMasks
from samcore.images.segmenter import ImageSegmenter
from samcore.machine.allocator import keep_freed_memory
from samcore.machine.device import choose_compute
from samcore.machine.rung import Rung
from samcore.models.family import TrackingModel
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.prompts.prompt import Prompt
from samcore.scenes import Scene

HEIGHT, WIDTH = 480, 640
NAMES = {"random-tiny": "SAM 2.1 tiny, random weights"}
HEADING = (
    "| model | px | batch | wall, ms a picture | CPU, ms a picture | pictures a second | "
    "beside one at a time | GPU peak, GB | other pixels |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
)


@dataclass
class Measured:
    """What one batch size took, a value for each turn; the first turn, which fills caches, is left
    out."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    masks: list[PictureMasks] = field(default_factory=list)


def paint(count: int) -> list[NDArray[np.uint8]]:
    """So many pictures."""
    scene = Scene(1, num_frames=count, height=HEIGHT, width=WIDTH)
    return [frame.image_rgb_hwc_u8 for frame in scene]


def measure(
    model: TrackingModel, images: Sequence[NDArray[np.uint8]], batches: Sequence[int], runs: int
) -> dict[int, Measured]:
    """Segment the pictures with each batch size in turn."""
    found = {batch: Measured() for batch in batches}
    prompts = [[Prompt(1, 0, box_xyxy_px=(WIDTH * 0.2, HEIGHT * 0.2, WIDTH * 0.7, HEIGHT * 0.8))]]
    for turn in range(runs + 1):
        for batch, measured in found.items():
            size = model.facts.image_size
            rung = Rung(encode_batch=batch, object_batch=64, image_size=size)
            segmenter = ImageSegmenter(model, rung=rung)
            if model.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(model.device)
            wall, cpu = time.perf_counter(), time.process_time()
            measured.masks = segmenter.segment(images, prompts * len(images))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if turn > 0:
                measured.wall_s.append(wall / len(images))
                measured.cpu_s.append(cpu / len(images))
            if model.device.type == "cuda":
                peak = torch.cuda.max_memory_allocated(model.device)
                measured.peak_bytes = max(measured.peak_bytes, peak)
    return found


def rows(name: str, model: TrackingModel, found: dict[int, Measured]) -> list[str]:
    """A row of the table for each batch size."""
    one = found[1]
    on_gpu = model.device.type == "cuda"
    lines = []
    for batch, measured in found.items():
        wall, cpu = statistics.median(measured.wall_s), statistics.median(measured.cpu_s)
        before, now = (one.wall_s, measured.wall_s) if on_gpu else (one.cpu_s, measured.cpu_s)
        ratio = statistics.median(old / new for old, new in zip(before, now, strict=True))
        peak = f"{measured.peak_bytes / 1e9:.1f}" if on_gpu else "-"
        other = np.mean(
            [
                np.mean(ours.masks[0].mask() != alone.masks[0].mask())
                for ours, alone in zip(measured.masks, one.masks, strict=True)
            ]
        )
        lines.append(
            f"| {name} | {model.facts.image_size} | {batch} | {wall * 1e3:.1f} | {cpu * 1e3:.1f} | "
            f"{1 / wall:.1f} | {ratio:.2f}x | {peak} | {other:.0e} |"
        )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["nano", "random-tiny"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256])
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on the CPU")
    parser.add_argument("--write", type=Path, help="the page to put the table into")
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    images = paint(args.pictures)
    lines: list[str] = []
    machine = ""
    for name in args.models:
        for size in args.sizes:
            with tempfile.TemporaryDirectory() as cache:
                spec = resolve_model(name, cache_dir=Path(cache), image_size=size)
                model = load_model(spec, choose_compute(args.device, "auto", spec))
            machine = model.compute.describe()
            found = measure(model, images, [1, *args.batches], args.runs)
            lines += rows(NAMES.get(name, f"`{name}`"), model, found)
            print(*lines[-len(found) :], sep="\n", file=sys.stderr, flush=True)
    today = datetime.datetime.now(tz=datetime.timezone.utc).date()
    said = (
        f"`python tests/bench/images.py {' '.join(sys.argv[1:])}`".replace(" `", "`")
        + f": {args.pictures} pictures of {WIDTH} x {HEIGHT}, a box each, {machine}, torch "
        f"{torch.__version__.partition('+')[0]}, {today}, medians of {args.runs}:\n"
    )
    text = "\n".join([said, HEADING, *lines])
    print(text)
    if args.write is not None:
        put_into(args.write, text, Path(__file__).name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
