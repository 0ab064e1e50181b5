"""Seconds a frame of Longtake, the sam2 package and transformers, side by side in one run.

    python tests/bench/peers.py                                        # all of it: hours on a CPU
    python tests/bench/peers.py --sizes 256 --objects 1 --frames 20    # a look
    python tests/bench/peers.py --out peers.json --write tests/bench/RESULTS.md
    python tests/bench/peers.py --ours bfloat16                        # on a CPU with units for it

All have the same random weights (transformers' by `samcore/models/transformers/convert.py`), the
same frames, prompts and threads. They take turns frame by frame (ours, theirs, theirs, ours, ...),
so that a machine that drifts slows all of them. Time is the process's CPU time, which other work on
the machine hardly changes; on a GPU it is wall time. Only frames with full memory count, from the
18th on. Growth is what the process's memory (on a GPU the GPU's) gains in the steps of each, a
frame; on a CPU that is rough, since what one frees another one takes, and many frames are needed.
The others' frames are prepared beforehand and not counted, neither in time nor in growth; Longtake
prepares its own within its time. Masks on the host are what a user of each gets. Prints Markdown.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import sam2.sam2_video_predictor
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from policies import put_into  # a script beside this one
from sam2.build_sam import build_sam2_video_predictor
from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from samcore.machine.device import choose_compute
from samcore.machine.out_of_memory import free_caches
from samcore.models.sam2.adapter import Sam2Model, build_model
from samcore.models.transformers.convert import to_transformers
from samcore.scenes import Scene
from samcore.tracking.tracker import VideoTracker

CONFIG = "configs/sam2.1/sam2.1_hiera_t.yaml"
WARM_UP = 17
"""Frames until the memory is full."""
HEIGHT, WIDTH = 360, 640
HEADING = (
    "| px | objects | by | ms a frame, median | least | beside Longtake | growth, KiB a frame |\n"
    "|--:|--:|---|--:|--:|--:|--:|"
)
Frames = Sequence[NDArray[np.uint8]]


def boxes(num_objects: int) -> list[tuple[float, float, float, float]]:
    """A box of each object."""
    return [
        (10.0 + 5 * i, 10.0 + 3 * i, WIDTH * 0.5 + 5 * i, HEIGHT * 0.6 + 3 * i)
        for i in range(num_objects)
    ]


@dataclass
class Measured:
    """What the frames of one peer came to."""

    seconds: list[float] = field(default_factory=list)
    """Of each frame."""
    growth_bytes: list[float] = field(default_factory=list)
    """In each frame."""


def in_steps(context: Callable[[], AbstractContextManager[Any]], work: Iterator[Any]) -> Iterator:
    """The same items, each made within a context that the caller's code does not see."""
    while True:
        with context():
            try:
                item = next(work)
            except StopIteration:
                return
        yield item


class Peers:
    """The three with one set of weights, at one size of the input."""

    def __init__(self, size: int, device: str, ours: str = "auto") -> None:
        self.compute = choose_compute(device, "auto")
        self.model: Sam2Model = build_model(
            *(CONFIG, None),
            seed=0,
            image_size=size,
            fingerprint="bench",
            compute=choose_compute(device, ours),
        )
        weights = self.model._net.state_dict()
        self._predictor = build_sam2_video_predictor(
            CONFIG,
            None,
            device=str(self.compute.device),
            hydra_overrides_extra=[f"++model.image_size={size}"],
        )
        self._predictor.load_state_dict(weights)
        # Without the CUDA extension it warns at every frame and does nothing.
        self._predictor.fill_hole_area = 0
        net = Sam2VideoModel(_their_config(size)).eval().requires_grad_(False)
        net.load_state_dict(to_transformers(weights), strict=True)
        self._net = net.to(self.compute.device)
        self.runs: dict[str, Callable[[Frames, int], Iterable[object]]] = {
            "Longtake": self._longtake,
            "sam2": self._sam2,
            "transformers": self._transformers,
        }

    def _longtake(self, frames: Frames, num_objects: int) -> Iterable[object]:
        tracker = VideoTracker(self.model, height=HEIGHT, width=WIDTH, num_frames=len(frames))
        for obj_id, box in enumerate(boxes(num_objects)):
            tracker.add_box(obj_id, 0, box)
        return tracker.track(frames)

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        with torch.inference_mode(), self.compute.autocast():
            yield

    def _prepared(self, frames: Frames) -> torch.Tensor:
        return torch.cat([self.model.preprocess(frame[None]) for frame in frames])

    def _sam2(self, frames: Frames, num_objects: int) -> Iterator[object]:
        return in_steps(self._running, self._by_sam2(frames, num_objects))

    def _by_sam2(self, frames: Frames, num_objects: int) -> Iterator[object]:
        images = self._prepared(frames)
        with mock.patch.multiple(
            sam2.sam2_video_predictor,
            load_video_frames=lambda **_: (images, HEIGHT, WIDTH),
            tqdm=lambda frames, **_: frames,  # no bar
        ):
            state = self._predictor.init_state("frames")
            for obj_id, box in enumerate(boxes(num_objects)):
                self._predictor.add_new_points_or_box(state, 0, obj_id, box=box)
            for _, _, masks in self._predictor.propagate_in_video(state):
                yield (masks > 0).cpu()

    def _transformers(self, frames: Frames, num_objects: int) -> Iterator[object]:
        return in_steps(self._running, self._by_transformers(frames, num_objects))

    def _by_transformers(self, frames: Frames, num_objects: int) -> Iterator[object]:
        session = Sam2VideoInferenceSession(
            video=self._prepared(frames),
            video_height=HEIGHT,
            video_width=WIDTH,
            inference_device=self.compute.device,
            dtype=torch.float32,
        )
        scale = torch.tensor([WIDTH, HEIGHT]) / self.model.image_size
        for obj_id, (x1, y1, x2, y2) in enumerate(boxes(num_objects)):
            corners = torch.tensor([[x1, y1], [x2, y2]]) / scale
            inputs = {
                "point_coords": corners[None, None].to(self.compute.device),
                "point_labels": torch.tensor(
                    [[[2, 3]]], dtype=torch.int32, device=self.compute.device
                ),
            }
            session.add_point_inputs(session.obj_id_to_idx(obj_id), 0, inputs)
        session.obj_with_new_inputs = list(range(num_objects))
        self._net(session, frame_idx=0)
        for output in self._net.propagate_in_video_iterator(session):
            masks = F.interpolate(output.pred_masks.float(), (HEIGHT, WIDTH), mode="bilinear")
            yield (masks > 0).cpu()


def _their_config(size: int) -> Sam2VideoConfig:
    side = size // 16
    return Sam2VideoConfig(
        vision_config=Sam2VisionConfig(
            backbone_config=Sam2HieraDetConfig(image_size=[size, size]),
            backbone_feature_sizes=[[4 * side] * 2, [2 * side] * 2, [side] * 2],
        ),
        prompt_encoder_config={"image_size": size},
        image_size=size,
        memory_attention_rope_feat_sizes=[side, side],
    )


def measure(peers: Peers, frames: Frames, num_objects: int) -> dict[str, Measured]:
    """Run all peers side by side, a frame each by turns."""
    cuda = peers.compute.device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    process = psutil.Process()

    def now() -> tuple[float, int]:
        if cuda:
            torch.cuda.synchronize()
            return clock(), torch.cuda.memory_allocated()
        return clock(), process.memory_info().rss

    free_caches()
    found = {name: Measured() for name in peers.runs}
    at_work = {name: iter(run(frames, num_objects)) for name, run in peers.runs.items()}
    for frame_idx in range(len(frames)):
        for name, outputs in at_work.items():
            began = now()
            next(outputs)
            ended = now()
            if frame_idx >= WARM_UP:
                found[name].seconds.append(ended[0] - began[0])
                found[name].growth_bytes.append(ended[1] - began[1])
        at_work = dict(reversed(at_work.items()))
    return found


def rows(size: int, num_objects: int, found: dict[str, Measured]) -> list[str]:
    """The table's, of one size and number of objects."""
    ours = found["Longtake"].seconds
    lines = []
    for name, measured in found.items():
        ratio = statistics.median(b / a for a, b in zip(ours, measured.seconds, strict=True))
        # The mean: memory is taken from the system in large pieces, now and then.
        growth = statistics.mean(measured.growth_bytes) / 1024
        lines.append(
            f"| {size} | {num_objects} | {name} | {statistics.median(measured.seconds) * 1e3:.1f} "
            f"| {min(measured.seconds) * 1e3:.1f} | {ratio:.2f}x | {growth:.0f} |"
        )
    return lines


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--frames", type=int, default=WARM_UP + 13, help=f"above {WARM_UP}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--ours", default="auto", help="the dtype of Longtake, if another one")
    parser.add_argument("--out", type=Path, help="a JSON file for all numbers")
    parser.add_argument("--write", type=Path, help="the page to put the table into")
    args = parser.parse_args()
    if args.frames <= WARM_UP:
        parser.error(f"--frames must be above {WARM_UP}: memory is full from there on")
    torch.set_num_threads(args.threads)
    scene = Scene(1, num_frames=args.frames, height=HEIGHT, width=WIDTH)
    frames = [scene.frame(i).image_rgb_hwc_u8 for i in range(args.frames)]
    compute = choose_compute(args.device, "auto")
    apart = "" if args.ours == "auto" else f" (Longtake in {args.ours})"
    what = (
        f"{CONFIG}, random weights, {compute.describe()}{apart}, frames {WARM_UP + 1} to "
        f"{args.frames}, by turns:\n"
    )
    lines, numbers = [what, HEADING], []
    for size in args.sizes:
        peers = Peers(size, args.device, args.ours)
        for num_objects in args.objects:
            print(f"{size} px, {num_objects} ...", file=sys.stderr, flush=True)
            found = measure(peers, frames, num_objects)
            lines += rows(size, num_objects, found)
            numbers += [
                {
                    "size": size,
                    "objects": num_objects,
                    "by": name,
                    "seconds": measured.seconds,
                    "growth_bytes": measured.growth_bytes,
                }
                for name, measured in found.items()
            ]
            if args.out:  # at once: the rest may take hours
                report: dict[str, Any] = {"compute": compute.describe(), "measured": numbers}
                args.out.write_text(json.dumps(report, indent=2) + "\n")
            if args.write:
                put_into(args.write, "\n".join(lines), "peers.py")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
