"""CPU time of the engine's stages and of whole frames beside the plain engine, as a Markdown table.

    python tests/bench/engine.py                                     # minutes
    python tests/bench/engine.py --sizes 256 512 --objects 1 8 --write tests/bench/RESULTS.md

Both engines have one network and take turns in one process (new, plain, new, ...), so that other
work on the machine slows both. Printed are medians of the process's CPU time on one core, the
median of the ratios of a turn, page faults, and how far the results are apart: the largest
difference of features, with their deviation; of whole frames the share of pixels that are others,
of random weights, whose masks have more borders than real ones. A stage has full memory, a whole
frame that of the `--warm-up` frames before.
"""

import argparse
import datetime
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from policies import put_into  # a script beside this one

from samcore.machine.allocator import keep_freed_memory
from samcore.machine.device import choose_compute
from samcore.models.sam2.adapter import Sam2Model, build_model
from samcore.scenes import Scene
from samcore.speed.stages import Footage, Stages
from samcore.tracking.tracker import VideoTracker

CONFIG = "configs/sam2.1/sam2.1_hiera_t.yaml"
HEIGHT, WIDTH = 540, 960
HEADING = (
    "| stage | px | objects | plain, ms | now, ms | faster | faults a run, plain | now | apart |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
)
Stage = Callable[[], NDArray[np.generic]]


def row(name: str, now: Stage, plain: Stage, runs: int) -> str:
    """A row of the table."""
    seconds: list[list[float]] = []
    faults: list[list[int]] = []
    apart = ""
    for _ in range(runs + 1):
        results = []
        seconds.append([])
        faults.append([])
        for stage in (now, plain):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            started = time.process_time()
            results.append(stage())
            seconds[-1].append(time.process_time() - started)
            faults[-1].append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        apart = difference(*results)
    # The first turn fills caches.
    new, old = (statistics.median(column) * 1e3 for column in zip(*seconds[1:], strict=True))
    new_faults, old_faults = (
        round(statistics.median(column)) for column in zip(*faults[1:], strict=True)
    )
    ratio = statistics.median(old / new for new, old in seconds[1:])
    times = f"{old:.1f} | {new:.1f} | {ratio:.2f}x"
    return f"| {name} | {times} | {old_faults} | {new_faults} | {apart} |"


def difference(ours: NDArray[np.generic], theirs: NDArray[np.generic]) -> str:
    """How far two results are apart."""
    if ours.dtype == np.bool_:
        return f"{np.mean(ours != theirs):.0e} of the pixels"
    return f"{np.abs(ours - theirs).max():.0e} of {theirs.std():.1f}"


class Engine:
    """The stages of one model, on the same inputs for each that is made."""

    def __init__(self, model: Sam2Model) -> None:
        self.model = model
        self._stages = Stages(model, Footage.paint(height=HEIGHT, width=WIDTH, num_objects=2))

    def preprocess(self) -> NDArray[np.generic]:
        """From 8-bit pixels to the model's input."""
        return self._stages.preprocess()().numpy()

    def encode(self) -> NDArray[np.generic]:
        """The image encoder on one frame."""
        return self._stages.encode()()[0].tokens_n1c.numpy()

    def attention(self, num_objects: int) -> Stage:
        """A frame with full memory: 7 spatial memories and 16 pointers of each object."""
        attend = self._stages.attention(num_objects)
        return lambda: torch.cat(attend()).numpy()

    def whole_frames(self, num_objects: int, warm_up: int) -> Stage:
        """The next frame of a video, after some that fill the memory."""
        scene = Scene(1, num_frames=warm_up + 1, height=HEIGHT, width=WIDTH)
        images = [frame.image_rgb_hwc_u8 for frame in scene]
        tracker = VideoTracker(self.model, height=HEIGHT, width=WIDTH)
        for i in range(num_objects):
            left, top = 10.0 + 5 * i, 10.0 + 3 * i
            tracker.add_box(i + 1, 0, (left, top, left + WIDTH * 0.5, top + HEIGHT * 0.6))
        for image in images[:-1]:
            tracker.step(image)
        return lambda: tracker.step(images[-1]).masks_nhw


def engines(size: int, config: str) -> tuple[Engine, Engine]:
    """Longtake's own and the plain one."""
    compute = choose_compute("cpu", "float32")
    model = build_model(config, None, seed=0, image_size=size, fingerprint="bench", compute=compute)
    plain = Sam2Model(model._net, compute=compute, fingerprint="bench", plain=True)
    return Engine(model), Engine(plain)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=8)
    parser.add_argument(
        "--give-back", action="store_true", help="freed memory, unlike `longtake track`"
    )
    parser.add_argument("--write", type=Path, help="the page to put the table into")
    args = parser.parse_args()
    if not args.give_back:
        keep_freed_memory()
    torch.set_num_threads(1)
    today = datetime.datetime.now(tz=datetime.timezone.utc).date()
    lines = [
        f"`{Path(args.config).stem}`, random weights, frames of {WIDTH} x {HEIGHT}, one core, "
        f"float32, torch {torch.__version__.partition('+')[0]}, {today}, medians of {args.runs}:\n",
        HEADING,
    ]
    for size in args.sizes:
        now, plain = engines(size, args.config)
        stages = [
            (f"preprocessing | {size} | ", now.preprocess, plain.preprocess),
            (f"image encoder | {size} | ", now.encode, plain.encode),
        ]
        for n in args.objects:
            name = f"memory attention | {size} | {n}"
            stages.append((name, now.attention(n), plain.attention(n)))
        for n in args.objects:
            ways = (engine.whole_frames(n, args.warm_up) for engine in (now, plain))
            stages.append((f"whole frame | {size} | {n}", *ways))
        for name, ours, theirs in stages:
            lines.append(row(name, ours, theirs, args.runs))
            print(lines[-1], file=sys.stderr, flush=True)
    text = "\n".join(lines)
    print(text)
    if args.write is not None:
        put_into(args.write, text, Path(__file__).name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
