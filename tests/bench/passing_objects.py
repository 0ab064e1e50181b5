"""What a frame costs while objects pass through the picture one after another, and never return.

    python tests/bench/passing_objects.py                              # 50 objects: some minutes
    python tests/bench/passing_objects.py --objects 10                 # a look
    python tests/bench/passing_objects.py --write tests/bench/RESULTS.md

Every `--gap` frames another disc or block with a colour of its own comes in at one side and leaves
at the other one; two or three are in the picture at any time. Each is prompted by its box on the
first frame that shows all of it. The video is tracked twice, without and with retirement. Time is
the process's CPU time on one thread, of tracking and of writing the rows. The state is the file of
all objects. Prints Markdown, and with `--write` puts it into that page, in the place of what was
there.

This measures costs, not quality. Whether an object is in the picture is not asked of the model but
known: `nano` takes many a newcomer for one that left, which then never retires. With `--by-model`
it is asked.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from policies import put_into  # a script beside this one

from samcore.config import TrackSettings
from samcore.machine.device import choose_compute
from samcore.masks.table import MaskWriter
from samcore.models.family import ImageFeatures, TrackingModel
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.tracking.memory.store import FrameMemory
from samcore.tracking.propagation import ObjectOutput
from samcore.tracking.tracker import VideoTracker

HEIGHT, WIDTH, RADIUS, SPEED = 96, 128, 11, 7
HEADING = (
    "| frames | objects so far | in the picture | ms a frame, all tracked | with retirement "
    "| state, kB, all tracked | with retirement |\n|---|--:|--:|--:|--:|--:|--:|"
)


@dataclass(frozen=True)
class Passer:
    """One object on its way through the picture."""

    number: int
    """Its id, from 1."""
    enters: int
    """The frame on which its middle is a radius outside."""

    def middle(self, frame_idx: int) -> tuple[int, int]:
        """Where it is, x and y."""
        way = -RADIUS + SPEED * (frame_idx - self.enters)
        lane = (20, 48, 76)[self.number % 3]
        return (way if self.number % 2 else WIDTH - way), lane

    @property
    def prompted(self) -> int:
        """The first frame that shows all of it."""
        return self.enters + -(-(2 * RADIUS + 1) // SPEED)

    def is_seen(self, frame_idx: int) -> bool:
        """Whether any of it is in the picture."""
        return -RADIUS < self.middle(frame_idx)[0] < WIDTH + RADIUS and frame_idx >= self.enters

    def paint(self, image: NDArray[np.uint8], frame_idx: int) -> None:
        """Draw it."""
        hue = np.array([[[self.number * 47 % 180, 230, 230]]], np.uint8)
        colour = [int(part) for part in cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0]]
        x, y = self.middle(frame_idx)
        if self.number % 4 < 2:
            cv2.circle(image, (x, y), RADIUS, colour, -1)
        else:
            cv2.rectangle(image, (x - 9, y - RADIUS), (x + 9, y + RADIUS), colour, -1)


class KnowingTracker(VideoTracker):
    """A tracker that is told when an object is not in the picture. That costs no time."""

    passers: dict[int, Passer]

    def _propagate(
        self, frame_idx: int, features: ImageFeatures, obj_ids: Iterable[int]
    ) -> dict[int, tuple[FrameMemory, ObjectOutput]]:
        steps = super()._propagate(frame_idx, features, obj_ids)
        for obj_id, (memory, output) in steps.items():
            if not self.passers[obj_id].is_seen(frame_idx):
                nothing = torch.full_like(output.logits_11hw, -1024.0)
                score = torch.full_like(output.score, -10.0)
                steps[obj_id] = (memory, replace(output, logits_11hw=nothing, score=score))
        return steps


@dataclass(frozen=True)
class Stretch:
    """What some frames cost."""

    ms: float
    """A frame, on average."""
    state_bytes: int
    """After the last one."""


def paint(passers: list[Passer], num_frames: int) -> list[NDArray[np.uint8]]:
    """All frames."""
    noise = np.random.default_rng(0).integers(60, 160, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    ground = cv2.GaussianBlur(noise, (0, 0), 5)
    frames = []
    for frame_idx in range(num_frames):
        frames.append(ground.copy())
        for passer in passers:
            if passer.is_seen(frame_idx):
                passer.paint(frames[-1], frame_idx)
    return frames


def measure(
    model: TrackingModel,
    frames: list[NDArray[np.uint8]],
    passers: list[Passer],
    settings: TrackSettings,
    *,
    stretch: int,
    by_model: bool,
) -> tuple[list[Stretch], int]:
    """Track all frames; the cost of each stretch of them, and how often an object returned."""
    kind = VideoTracker if by_model else KnowingTracker
    tracker = kind(model, height=HEIGHT, width=WIDTH, num_frames=len(frames), settings=settings)
    if isinstance(tracker, KnowingTracker):
        tracker.passers = {passer.number: passer for passer in passers}
    prompts = {passer.prompted: passer for passer in passers}
    found: list[Stretch] = []
    returned, gone = 0, set[int]()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder, "state")
        with MaskWriter(Path(folder, "masks"), height=HEIGHT, width=WIDTH) as writer:
            spent = 0.0
            for frame_idx, image in enumerate(frames):
                began = time.process_time()
                passer = prompts.get(frame_idx)
                if passer is not None:
                    x, y = passer.middle(frame_idx)
                    box = (x - RADIUS, y - RADIUS, x + RADIUS + 1, y + RADIUS + 1)
                    tracker.add_box(passer.number, frame_idx, tuple(map(float, box)))
                output = tracker.step(image)
                writer.write(output, frame_idx)
                spent += time.process_time() - began
                returned += len(gone & set(output.obj_ids))
                gone = {*output.retired, *output.given_up}
                if (frame_idx + 1) % stretch == 0:
                    tracker.state().save(state)
                    found.append(Stretch(spent * 1000 / stretch, state.stat().st_size))
                    spent = 0.0
                    print(f"frame {frame_idx}: {found[-1]}", file=sys.stderr, flush=True)
    return found, returned


def table(
    passers: list[Passer], stretch: int, plain: list[Stretch], retiring: list[Stretch]
) -> Iterator[str]:
    """The lines of the table."""
    yield HEADING
    for place, (without, with_it) in enumerate(zip(plain, retiring, strict=True)):
        frames = range(place * stretch, (place + 1) * stretch)
        begun = sum(passer.prompted < frames.stop for passer in passers)
        seen = np.mean([sum(passer.is_seen(t) for passer in passers) for t in frames])
        yield (
            f"| {frames.start} to {frames.stop - 1} | {begun} | {seen:.1f} | {without.ms:.0f} | "
            f"{with_it.ms:.0f} | {without.state_bytes / 1000:.0f} | "
            f"{with_it.state_bytes / 1000:.0f} |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=50)
    parser.add_argument("--gap", type=int, default=6, help="frames from one object to the next")
    parser.add_argument("--retire-after", type=int, default=10)
    parser.add_argument("--look-for-every", type=int, default=10)
    parser.add_argument("--archive-size", type=int, default=16)
    parser.add_argument("--stretch", type=int, default=50, help="frames of a row of the table")
    parser.add_argument("--by-model", action="store_true", help="ask the model who is there")
    parser.add_argument("--write", type=Path, help="the page to put the table into")
    args = parser.parse_args()
    torch.set_num_threads(1)
    spec = resolve_model("nano", cache_dir=Path.home() / ".cache" / "longtake")
    model = load_model(spec, choose_compute("cpu", "float32"))
    passers = [Passer(number, (number - 1) * args.gap) for number in range(1, args.objects + 1)]
    num_frames = passers[-1].enters // args.stretch * args.stretch + args.stretch
    frames = paint(passers, num_frames)
    retire = TrackSettings(
        retire_after=args.retire_after,
        look_for_every=args.look_for_every,
        archive_size=args.archive_size,
    )
    how = {"stretch": args.stretch, "by_model": args.by_model}
    plain, _ = measure(model, frames, passers, TrackSettings(), **how)
    retiring, returned = measure(model, frames, passers, retire, **how)
    lines = [
        f"{args.objects} objects, one every {args.gap} frames, `--retire-after "
        f"{args.retire_after} --look-for-every {args.look_for_every} --archive-size "
        f"{args.archive_size}`, `nano` at {spec.image_size} px on one CPU core; "
        f"returned though it was not there: {returned}\n",
        *table(passers, args.stretch, plain, retiring),
    ]
    text = "\n".join(lines)
    print(text)
    if args.write:
        put_into(args.write, text, "passing_objects.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
