"""The parts of the check. Each one prints what it finds as JSON lines while it goes on."""

import json
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from runs import (  # a module beside this one
    NANO,
    WARM_UP,
    Seen,
    Work,
    by_longtake,
    by_sam2,
    continued,
    nano,
    new_predictor,
    new_tracker,
    propagate_theirs,
    seconds_a_frame,
)

from samcore.config import TrackSettings
from samcore.machine.device import choose_compute
from samcore.machine.meters import MemoryMeter
from samcore.machine.out_of_memory import free_caches
from samcore.machine.rung import Rung
from samcore.models.registry import ModelSpec
from samcore.models.sam2.adapter import Sam2Model
from samcore.run.oom_ladder import OomLadder
from samcore.tracking.tracker import VideoTracker

NEEDS_CUDA = "needs a CUDA device"
Found = dict[str, Any]
"""What a part has found so far; a later one replaces the entries of the same name."""


class Failure(Exception):
    """What was measured is not what it has to be."""


def compare(ours: Seen, theirs: Seen) -> Found:
    """How far two runs are apart."""
    a, b = torch.stack(ours.logits), torch.stack(theirs.logits)
    ious = []
    for left, right in zip(ours.masks, theirs.masks, strict=True):
        union = np.count_nonzero(left | right, axis=(1, 2))
        both = np.count_nonzero(left & right, axis=(1, 2))
        ious += [float(i / u) if u else 1.0 for i, u in zip(both, union, strict=True)]
    return {
        "rms": (a - b).square().mean().sqrt().item(),
        "max": (a - b).abs().max().item(),
        "spread": b.std().item(),
        "mean_iou": statistics.fmean(ious),
    }


def parity(work: Work) -> Iterator[Found]:
    """Ours is no farther from the package than the package in this precision is from itself in
    float32, and in float32 as near as rounding allows.

    `nano` has trained weights, so its masks mean something; the model asked for may be random.
    """
    natural = work.compute
    single = choose_compute(work.device, "float32")
    frames, boxes = work.scene(4 if work.tiny else 24, 2)
    models: dict[str, tuple[str, Callable[..., Sam2Model]]] = {
        "nano": (NANO, lambda compute: nano(compute, size=64 if work.tiny else 128))
    }
    if not work.tiny:
        models["asked"] = (work.config, work.model)
    yield {"dtype": str(natural.dtype).removeprefix("torch.")}
    failures = []
    for name, (config, make) in models.items():
        found: Found = {}
        model = make(single)
        predictor = new_predictor(model, config)
        exact = by_sam2(predictor, model, frames, boxes)
        found["float32"] = compare(by_longtake(model, frames, boxes), exact)
        if found["float32"]["rms"] > 1e-3 * found["float32"]["spread"]:
            failures.append(f"{name}: float32 logits are apart by more than rounding")
        if natural != single:
            model = make(natural)
            rough = by_sam2(predictor, model, frames, boxes)
            found["narrow"] = compare(by_longtake(model, frames, boxes), rough)
            found["narrow_sam2_beside_its_float32"] = noise = compare(rough, exact)
            if found["narrow"]["rms"] > 2 * noise["rms"]:
                failures.append(f"{name}: farther from the package than its precision explains")
            if name == "nano" and found["narrow"]["mean_iou"] < min(0.97, noise["mean_iou"]):
                failures.append(f"{name}: masks differ, mean IoU {found['narrow']['mean_iou']:.3f}")
        yield {name: found}
    if natural == single:
        yield {"skipped": {"narrow precision": "this device computes in float32"}}
    if failures:
        yield {"failures": failures}
        raise Failure


def out_of_memory(work: Work) -> Iterator[Found]:
    """A run that has too little memory for its batches goes down the ladder, and its masks stay."""
    objects = 2 if work.tiny else 8
    frames, boxes = work.scene(12 if work.tiny else 24, objects)
    model = work.model()
    asked = Rung(encode_batch=4 if work.tiny else 8, object_batch=objects, image_size=work.size)
    least = asked.model_copy(update={"encode_batch": 1, "object_batch": 1})
    whole = _with_memory(work, lambda: _track_at(model, asked, frames, boxes))
    small = _with_memory(work, lambda: _track_at(model, least, frames, boxes))
    yield {"bytes_as_asked": whole[1], "bytes_at_least": small[1]}
    limit = LessMemory(work, model, whole[1], small[1])
    yield {"limit_bytes": limit.limit_bytes}
    with limit:
        masks, steps, rung = _down_the_ladder(work, model, asked, frames, boxes, limit)
    ious = _ious(masks, whole[0])
    yield {
        "steps": steps,
        "rung": rung.model_dump(),
        "mean_iou": statistics.fmean(ious),
        "least_iou": min(ious),
    }
    if not work.is_cuda:
        yield {"skipped": {"a limit on the GPU's memory": f"{NEEDS_CUDA}; failures were feigned"}}
    failures = []
    if not any(" -> " in step for step in steps):
        failures.append("nothing was given up: the limit was not felt")
    if len(masks) != len(frames):
        failures.append(f"{len(masks)} of {len(frames)} frames")
    if (work.tiny or work.checkpoint) and statistics.fmean(ious) < 0.97:
        failures.append(f"masks changed: mean IoU {statistics.fmean(ious):.3f}")
    if failures:
        yield {"failures": failures}
        raise Failure


def _ious(ours: list[NDArray[np.bool_]], theirs: list[NDArray[np.bool_]]) -> list[float]:
    found = []
    for left, right in zip(ours, theirs, strict=False):
        union, both = np.count_nonzero(left | right), np.count_nonzero(left & right)
        found.append(both / union if union else 1.0)
    return found


def _settings(rung: Rung) -> TrackSettings:
    return TrackSettings(encode_batch=rung.encode_batch, object_batch=rung.object_batch)


def _track_at(model: Sam2Model, rung: Rung, frames: Any, boxes: Any) -> list[NDArray[np.bool_]]:
    tracker = new_tracker(
        *(model, frames[0].shape[:2], boxes, len(frames)), settings=_settings(rung)
    )
    return [output.masks_nhw for output in tracker.track(frames)]


def _with_memory(work: Work, run: Callable[[], Any]) -> tuple[Any, int | None]:
    """What a run gives, and the most that torch held of the GPU meanwhile."""
    if not work.is_cuda:
        return run(), None
    free_caches()
    torch.cuda.reset_peak_memory_stats(work.compute.device)
    given = run()
    return given, torch.cuda.max_memory_reserved(work.compute.device)


class LessMemory:
    """From `press` on, a limit between what the smallest batches and those asked for need.

    On a device without such a limit the encoder refuses batches of more than one frame.
    """

    def __init__(self, work: Work, model: Sam2Model, most: int | None, least: int | None) -> None:
        self._device, self._model = work.compute.device, model
        self.limit_bytes = None if most is None or least is None else least + (most - least) // 3
        self._pressed = False

    def __enter__(self) -> None:
        pass

    def press(self) -> None:
        """Set the limit."""
        if self._pressed:
            return
        self._pressed = True
        if self.limit_bytes is not None:
            free_caches()
            total = torch.cuda.get_device_properties(self._device).total_memory
            torch.cuda.set_per_process_memory_fraction(self.limit_bytes / total, self._device)
            return
        encode = self._model.encode_images

        def refuse(images: torch.Tensor) -> Any:
            if len(images) > 1:
                raise torch.OutOfMemoryError("out of memory, feigned")
            return encode(images)

        self._model.encode_images = refuse  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        if self._pressed and self.limit_bytes is not None:
            torch.cuda.set_per_process_memory_fraction(1.0, self._device)
        elif self._pressed:
            del self._model.encode_images


def _down_the_ladder(
    work: Work, model: Sam2Model, asked: Rung, frames: Any, boxes: Any, limit: LessMemory
) -> tuple[list[NDArray[np.bool_]], list[str], Rung]:
    """Track as a run does: after a failure go on from the last good frame with less at once.

    Memory becomes scarce after the first batch of frames.
    """
    spec = ModelSpec(
        name="gpu-check",
        config=work.config,
        checkpoint=None,
        seed=0,
        image_size=work.size,
        fingerprint="gpu-check",
    )
    ladder = OomLadder(
        asked,
        spec,
        num_objects=asked.object_batch,
        device=str(work.compute.device),
        allow_quality_loss=False,
    )
    masks: list[NDArray[np.bool_]] = []
    states: list[Any] = []

    def pictures(start: int) -> Iterator[NDArray[np.uint8]]:
        for frame_idx in range(start, len(frames)):
            if frame_idx == asked.encode_batch:
                limit.press()
            yield frames[frame_idx]

    def go_on() -> None:
        settings, on_cpu = _settings(ladder.rung), ladder.rung.bank_on_cpu
        if states:
            tracker = VideoTracker.from_state(
                model, states.pop(), settings=settings, bank_on_cpu=on_cpu
            )
        else:
            masks.clear()
            tracker = new_tracker(
                *(model, frames[0].shape[:2], boxes, len(frames)),
                settings=settings,
                bank_on_cpu=on_cpu,
            )
        try:
            masks.extend(out.masks_nhw for out in tracker.track(pictures(tracker.next_frame)))
        finally:
            if tracker.next_frame:
                states.append(tracker.state())

    with (
        tempfile.TemporaryDirectory() as folder,
        ladder.attempting(Path(folder, "attempt.json"), frame_idx=0),
    ):
        ladder.run_until_it_fits(go_on, frame_idx=lambda: len(masks))
        return masks, ladder.steps, ladder.rung


def chunks(work: Work) -> Iterator[Found]:
    """Three chunks, each from the state that the one before has saved, give the same bits."""
    frames, boxes = work.scene(12 if work.tiny else 44, 2)
    model = work.model()
    whole = by_longtake(model, frames, boxes).masks
    cuts = (5, 9) if work.tiny else (13, 30)
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder, "state")
        tracker = new_tracker(model, frames[0].shape[:2], boxes, len(frames))
        masks = [output.masks_nhw for output in tracker.track(frames[: cuts[0]])]
        tracker.state().save(state)
        for stop in (*cuts[1:], len(frames)):
            masks += continued(model, state, frames, stop)
    apart = [i for i, pair in enumerate(zip(masks, whole, strict=True)) if not _same(*pair)]
    covered = sum(int(mask.sum()) for mask in whole)
    yield {"frames": len(frames), "cuts": list(cuts), "mask_pixels": covered, "differ": apart}
    if apart:
        yield {"failures": [f"{len(apart)} frames differ, from frame {apart[0]} on"]}
        raise Failure


def _same(left: NDArray[np.bool_], right: NDArray[np.bool_]) -> bool:
    return np.array_equal(left, right)


def flat_memory(work: Work) -> Iterator[Found]:
    """The peak of many frames is that of few."""
    few, many = (20, 60) if work.tiny else (40, 400)
    pictures, boxes = work.scene(8 if work.tiny else 24, 2)
    size = work.size if work.tiny else 512
    model = work.model(size=size)
    yield {"image_size": size, "frames": [few, many]}
    readings = []
    # The first run is not compared: it fills the allocators' caches.
    for count in (few, few, many):
        tracker = new_tracker(model, pictures[0].shape[:2], boxes, count)
        free_caches()
        with MemoryMeter() as meter:
            for _ in tracker.track(pictures[i % len(pictures)] for i in range(count)):
                pass
            readings.append(meter.snapshot())
    _, short, long = readings
    yield {"peak_rss_bytes": [short.peak_rss_bytes, long.peak_rss_bytes]}
    failures = []
    if work.is_cuda and short.peak_vram_bytes and long.peak_vram_bytes:
        yield {
            "peak_vram_bytes": [short.peak_vram_bytes, long.peak_vram_bytes],
            "reserved_vram_bytes": [short.reserved_vram_bytes, long.reserved_vram_bytes],
        }
        if long.peak_vram_bytes > 1.01 * short.peak_vram_bytes:
            failures.append("the GPU's memory grows with the video")
    else:
        yield {"skipped": {"memory of the GPU": NEEDS_CUDA}}
    if long.peak_rss_bytes > 1.05 * short.peak_rss_bytes + 2**23:
        failures.append("main memory grows with the video")
    if failures:
        yield {"failures": failures}
        raise Failure


def compiled(work: Work) -> Iterator[Found]:
    """`--compile`: nearly the masks of the plain model, no compilation but the first ones, and the
    same bits where another process goes on."""
    plain, model = work.model(), work.model(compiled=True)
    compilations = model._compiled.compiler.compilations if model._compiled else {}
    count = WARM_UP + (4 if work.tiny else 20)
    yield {"backend": work.backend, "compute": work.compute.describe()}
    if not work.is_cuda:
        yield {"skipped": {"what Inductor makes": f"{NEEDS_CUDA}; it was only traced"}}
    failures = []
    for objects in (2,) if work.tiny else (1, 16):
        frames, boxes = work.scene(count, objects)
        began = time.perf_counter()
        ours = by_longtake(model, frames, boxes)
        first_s, before = time.perf_counter() - began, dict(compilations)
        found = compare(ours, by_longtake(plain, frames, boxes))
        spent = [
            seconds_a_frame(
                new_tracker(one, frames[0].shape[:2], boxes, count).track(frames),
                work.synchronise,
                WARM_UP,
            )
            for one in (model, plain)
        ]
        found |= {"fps": 1 / spent[0], "plain_fps": 1 / spent[1], "first_run_s": first_s}
        yield {f"objects_{objects}": found, "compilations": dict(compilations)}
        if compilations != before:
            failures.append(f"{objects} objects: compiled again: {before} -> {compilations}")
        if (work.tiny or work.checkpoint) and found["mean_iou"] < 0.97:
            failures.append(f"{objects} objects: masks differ, mean IoU {found['mean_iou']:.3f}")
    failures += [f"the {part} was not compiled" for part, n in compilations.items() if n == 0]
    cut = WARM_UP + 2
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder, "state")
        tracker = new_tracker(model, frames[0].shape[:2], boxes, count)
        for _ in tracker.track(frames[:cut]):
            pass
        tracker.state().save(state)
        # As a process that has compiled nothing yet.
        rest = list(continued(work.model(compiled=True), state, frames, count))
    apart = [
        i for i, pair in enumerate(zip(rest, ours.masks[cut:], strict=True)) if not _same(*pair)
    ]
    yield {"differ": [cut + i for i in apart]}
    if apart:
        failures.append(f"{len(apart)} frames differ where another process goes on")
    if failures:
        yield {"failures": failures}
        raise Failure


def fps(work: Work) -> Iterator[Found]:
    """Beside the package's predictor as it is built by default."""
    yield from _fps(work, optimized=False)


def fps_compiled(work: Work) -> Iterator[Found]:
    """Compiled, beside the package's predictor with `vos_optimized`, which compiles for minutes."""
    if not work.is_cuda:
        yield {"skipped": {"sam2 with vos_optimized": NEEDS_CUDA}}
        return
    yield from _fps(work, optimized=True)


def _fps(work: Work, *, optimized: bool) -> Iterator[Found]:
    model = work.model(compiled=optimized)
    predictor = new_predictor(model, NANO if work.tiny else work.config, optimized=optimized)
    count = WARM_UP + (3 if work.tiny else 16)
    # By number of objects.
    runs = {1: 1, 2: 1} if work.tiny else {1: 3, 16: 2}

    yield {
        "image_size": work.size,
        "compute": work.compute.describe(),
        "counted": "frames with full memory; sam2's frames are prepared beforehand, ours are not",
    }
    for objects, times in runs.items():
        frames, boxes = work.scene(count, objects)

        def theirs(frames: Any = frames, boxes: Any = boxes) -> float:
            outputs = propagate_theirs(predictor, model, frames, boxes)
            return seconds_a_frame(outputs, work.synchronise, WARM_UP)

        def ours(frames: Any = frames, boxes: Any = boxes) -> float:
            tracker = new_tracker(model, frames[0].shape[:2], boxes, len(frames))
            return seconds_a_frame(tracker.track(frames), work.synchronise, WARM_UP)

        if not work.tiny:
            ours(), theirs()  # what is loaded or compiled at first use is not counted
        pairs = []
        for _ in range(times):
            pairs.append((ours(), theirs()))
            mine, other = zip(*pairs, strict=True)
            yield {
                f"objects_{objects}": {
                    "longtake_fps": 1 / statistics.median(mine),
                    "sam2_fps": 1 / statistics.median(other),
                    "ratio": statistics.median(b / a for a, b in pairs),
                    "longtake_s": mine,
                    "sam2_s": other,
                }
            }


PARTS: dict[str, Callable[[Work], Iterator[Found]]] = {
    part.__name__: part
    for part in (parity, out_of_memory, chunks, flat_memory, compiled, fps, fps_compiled)
}


def run(name: str, work: Work) -> int:
    """Run one part; 0 if all is as it has to be."""
    try:
        for found in PARTS[name](work):
            tell(found)
    except Failure:
        return 1
    except Exception as error:
        tell({"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()[-4000:]})
        return 1
    return 0


def tell(found: Found) -> None:
    """Give the parent what there is now: it may have to kill this process later."""
    print(json.dumps({"gpu_check": found}), flush=True)
