"""The tables of nano's model card: J on test seeds, by kind of scene and prompt.

    python tests/bench/nano_quality.py --scenes 8                       # the shipped weights
    python tests/bench/nano_quality.py --weights run/nano.safetensors   # those of a training run
    python tests/bench/nano_quality.py --record samcore/models/nano/quality.json
    python tests/bench/nano_quality.py --worlds --record samcore/models/nano/worlds.json
    python tests/bench/nano_quality.py --speed                          # ms on one core

Prints Markdown. With 8 scenes a kind it takes about a quarter of an hour on one core. What
`--record` writes is each scene's scores; tests/samcore/test_nano_record.py holds the shipped ones
to the shipped weights, to the card and to what nano is to reach.

Without `--worlds` it measures the scenes of clear shapes with every kind of prompt. With it, the
other kinds of scenes, prompted by boxes, and prompted frames by themselves. `creatures` was left
out of the training.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from samcore.machine.device import choose_compute
from samcore.models.known import NANO_DIR
from samcore.models.loader import load_model
from samcore.models.registry import ModelSpec, resolve_model
from samcore.models.sam2.adapter import Sam2Model
from samcore.scenes import SCENE_KINDS, box_of
from samcore.tracking.tracker import VideoTracker
from samcore.training.clips import TEST_SEEDS
from samcore.training.evaluation import EvalPrompt, Score, scenes, score_scenes

KINDS = ("easy 1", "easy 2", "easy 3", "medium 2", "hard 2")
"""Scenes of clear shapes, with the number of objects."""
WORLDS = tuple(
    f"{kind} {count}" for kind in SCENE_KINDS if kind not in ("easy", "medium", "hard")
    for count in (1, 2, 3)
)  # fmt: skip
"""Scenes of the other kinds."""
PROMPTS: tuple[EvalPrompt, ...] = ("box", "point", "mask")
FRAME_PROMPTS: tuple[EvalPrompt, ...] = ("box", "point", "points")
"""What frames are prompted with by themselves; a mask is shown as it is given."""
WORLDS_HEADING = (
    "| scenes, objects | J box | copy | present right | absent right "
    "| frame, box | frame, point | frame, 3 points |\n"
    "|---|---|---|---|---|---|---|---|"
)
HEADING = (
    "| scenes, objects | J box | J point | J mask | copy | present right | absent right |\n"
    "|---|---|---|---|---|---|---|"
)


class SceneScore(BaseModel):
    """What one scene gave with one kind of prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    """A name such as `easy 3`: kind of scene and number of objects, also those that never show."""
    seed: int
    prompt: EvalPrompt
    score: Score


class Record(BaseModel):
    """All that the table is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    """The model's, which follows from its weights, configuration and input size."""
    size: int
    """Width and height of the scenes."""
    frames: int
    scenes: tuple[SceneScore, ...]

    def pooled(self, keep: Callable[[SceneScore], bool]) -> Score:
        """The score of some of the scenes together."""
        return pool([scene.score for scene in self.scenes if keep(scene)])

    def row(self, kind: str, prompt: EvalPrompt) -> Score:
        """The score of all scenes of a kind with one kind of prompt."""
        return self.pooled(lambda scene: (scene.kind, scene.prompt) == (kind, prompt))

    def table(self) -> str:
        """The card's table."""
        lines = [HEADING]
        for kind in KINDS:
            box = self.row(kind, "box")
            js = " | ".join(f"{self.row(kind, prompt).j:.3f}" for prompt in PROMPTS)
            told = f"{_share(box.present_right)} | {_share(box.absent_right)}"
            lines.append(f"| {kind} | {js} | {box.copy_j:.3f} | {told} |")
        return "\n".join(lines)


class WorldsRecord(BaseModel):
    """All that the table of the other kinds of scenes is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tracked: Record
    """Prompted by boxes."""
    prompted: Record
    """Frames by themselves, one a scene, with every kind of prompt but masks."""

    def table(self) -> str:
        """The card's table."""
        lines = [WORLDS_HEADING]
        for kind in dict.fromkeys(scene.kind for scene in self.tracked.scenes):
            box = self.tracked.row(kind, "box")
            ious = " | ".join(
                f"{_prompted(self.prompted.row(kind, prompt)):.3f}" for prompt in FRAME_PROMPTS
            )
            told = f"{_share(box.present_right)} | {_share(box.absent_right)}"
            lines.append(f"| {kind} | {box.j:.3f} | {box.copy_j:.3f} | {told} | {ious} |")
        return "\n".join(lines)


def _prompted(score: Score) -> float:
    if score.prompted_iou is None:
        raise ValueError("the record has no scores of prompted frames: measure it again")
    return score.prompted_iou


def pool(scores: Sequence[Score]) -> Score:
    """The score of scenes as if they had been scored together: J by object, presence by frame."""
    num_objects = sum(score.num_objects for score in scores)
    num_present = sum(score.num_present for score in scores)
    num_absent = sum(score.num_absent for score in scores)
    num_prompted = sum(score.num_prompted for score in scores)
    absent = sum((s.absent_right or 0.0) * s.num_absent for s in scores)
    prompted = sum((s.prompted_iou or 0.0) * s.num_prompted for s in scores)
    return Score(
        j=sum(s.j * s.num_objects for s in scores) / max(num_objects, 1),
        copy_j=sum(s.copy_j * s.num_objects for s in scores) / max(num_objects, 1),
        present_right=sum(s.present_right * s.num_present for s in scores) / max(num_present, 1),
        absent_right=absent / num_absent if num_absent else None,
        num_objects=num_objects,
        num_present=num_present,
        num_absent=num_absent,
        prompted_iou=prompted / num_prompted if num_prompted else None,
        num_prompted=num_prompted,
    )


def score_one(
    model: Sam2Model, kind: str, seed: int, prompt: EvalPrompt, *, frames: int, size: int
) -> SceneScore:
    """Paint one scene, track it and compare."""
    made = scenes(kind, [seed], num_frames=frames, size=size)
    score = score_scenes(model, made, prompt=prompt)
    return SceneScore(kind=kind, seed=seed, prompt=prompt, score=score)


def measure(
    spec: ModelSpec,
    model: Sam2Model,
    *,
    kinds: Sequence[str],
    prompts: Sequence[EvalPrompt],
    num_scenes: int,
    frames: int,
) -> Record:
    """Score every kind of scene with every kind of prompt."""
    found = []
    for prompt in prompts:
        for kind in kinds:
            print(f"{prompt}: {kind}, {frames} frames ...", file=sys.stderr, flush=True)
            found += [
                score_one(model, kind, seed, prompt, frames=frames, size=spec.image_size)
                for seed in TEST_SEEDS[:num_scenes]
            ]
    return Record(
        fingerprint=spec.fingerprint, size=spec.image_size, frames=frames, scenes=tuple(found)
    )


def measure_worlds(
    spec: ModelSpec, model: Sam2Model, *, kinds: Sequence[str], num_scenes: int, frames: int
) -> WorldsRecord:
    """Score the other kinds of scenes; of single frames there are five times as many."""
    return WorldsRecord(
        tracked=measure(
            spec, model, kinds=kinds, prompts=("box",), num_scenes=num_scenes, frames=frames
        ),
        prompted=measure(
            spec, model, kinds=kinds, prompts=FRAME_PROMPTS, num_scenes=5 * num_scenes, frames=1
        ),
    )


def print_speed(model: Sam2Model, *, frames: int, size: int) -> None:
    """Print the CPU time of tracking a frame on one core, by the number of objects."""
    torch.set_num_threads(1)
    for kind in KINDS[:3]:
        (scene,) = scenes(kind, [TEST_SEEDS[0]], num_frames=frames, size=size)
        objects = len(scene.obj_ids)
        images = [frame.image_rgb_hwc_u8 for frame in scene]  # painted before time is taken
        tracker = VideoTracker(model, height=size, width=size, num_frames=frames)
        for obj_id, mask_hw in zip(scene.obj_ids, scene.masks_nhw(0), strict=True):
            tracker.add_box(obj_id, 0, box_of(mask_hw))
        began = time.process_time()
        for _ in tracker.track(images):
            pass
        spent_ms = (time.process_time() - began) * 1000 / frames
        print(f"{objects} objects: {spent_ms:.1f} ms a frame, {spent_ms / objects:.1f} an object")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=8, help="scenes of each kind")
    parser.add_argument("--frames", type=int, help="of a scene; default 200, of --worlds 120")
    parser.add_argument("--worlds", action="store_true", help="measure the other kinds of scenes")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--record", type=Path, help="write each scene's scores there as JSON")
    parser.add_argument("--speed", action="store_true", help="measure the time of a frame alone")
    args = parser.parse_args()
    spec = resolve_model(
        None if args.weights else "nano",
        checkpoint=args.weights,
        config=str(NANO_DIR / "config.yaml") if args.weights else None,
        # What is recorded is of the weights, whatever the engine of a version is.
        plain_engine=not args.speed,
        cache_dir=Path.home() / ".cache" / "longtake",
    )
    model = load_model(spec, choose_compute("auto", "auto"))
    if args.speed:
        print_speed(model, frames=args.frames or 200, size=spec.image_size)
        return 0
    frames = args.frames or (120 if args.worlds else 200)
    record: Record | WorldsRecord
    if args.worlds:
        record = measure_worlds(spec, model, kinds=WORLDS, num_scenes=args.scenes, frames=frames)
    else:
        record = measure(
            spec, model, kinds=KINDS, prompts=PROMPTS, num_scenes=args.scenes, frames=frames
        )
    if args.record:
        args.record.write_text(record.model_dump_json(indent=1) + "\n")
    print(f"{args.scenes} scenes of {frames} frames each:\n")
    print(record.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
