"""One video on two workers beside one, by shards and by matched chunks; and 64 workers on paper.

    python tests/bench/machines.py                      two cores, some ten minutes, quiet machine
    python tests/bench/machines.py --tiny               a try: it measures nothing but itself
    python tests/bench/machines.py --json machines.json --write tests/bench/RESULTS.md

Each run is the command `longtake track`, with one thread a worker. The time of the tracking alone
is that of the command without what the same way takes beside its chunks with one worker: imports,
Prefect, the start of workers. `--write` puts the tables into a page.

The simulation takes what a frame costs from the same runs, or from `--frame-s` and `--object-s` for
another machine, and adds up where the time of an hour of video would go.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from policies import put_into  # a script beside this one

from samcore.scenes import Scene, box_of
from samcore.video import VideoWriter

OBJECTS, RATE = 4, 24


@dataclass(frozen=True)
class Measured:
    """One run."""

    way: str
    workers: int
    command_s: float
    """Of the whole command, start of workers included."""
    work_s: float
    """Sum of all chunks' seconds."""
    tracked: int
    """Frames that all units tracked, each object share counted."""
    encode_s: float
    track_s: float
    agreement: float | None


def make_video(folder: Path, *, frames: int, size: int) -> Scene:
    """Write the video, its prompts and what a perfect detector sees."""
    scene = Scene(5, num_frames=frames, height=size, width=size, num_objects=OBJECTS)
    boxes = []
    with VideoWriter(folder / "v.mp4", width=size, height=size, rate=Fraction(RATE)) as writer:
        for frame in scene:
            writer.write(frame.image_rgb_hwc_u8)
            masks = scene.masks_nhw(frame.frame_idx)
            boxes += [(frame.frame_idx, list(box_of(mask))) for mask in masks if mask.any()]
    listed = [{"frame": frame, "box": box} for frame, box in boxes]
    (folder / "seen.json").write_text(json.dumps({"detections": listed}))
    first = [box for frame, box in boxes if frame == 0]
    objects = [
        {"id": place + 1, "prompts": [{"frame": 0, "box": box}]} for place, box in enumerate(first)
    ]
    (folder / "prompts.json").write_text(json.dumps({"objects": objects}))
    return scene


def run(folder: Path, way: str, workers: int, args: argparse.Namespace) -> Measured:
    """Run the command once; what it took."""
    place = folder / f"{way}-{workers}".replace(" ", "-")
    options = {
        "one worker": ["--prompts", "prompts.json"],
        "shards": ["--prompts", "prompts.json", "--shards", "2"],
        "match": ["--detect", "file:seen.json", "--handoff", "match"],
    }[way]
    if way != "one worker":
        options += ["--runner", f"processes:{workers}"]
    command = [
        *(sys.executable, "-m", "flows.cli", "track", "v.mp4", "-o", str(place), "--no-report"),
        *("--model", args.model, "--image-size", str(args.image_size), "--device", "cpu"),
        *("--chunk-frames", str(args.chunk_frames), *options),
    ]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    started = time.monotonic()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    command_s = time.monotonic() - started
    manifest = json.loads((place / "manifest.json").read_text())
    chunks: list[dict[str, Any]] = manifest["chunks"]
    stages = [chunk["stages"] or {} for chunk in chunks]
    return Measured(
        way=way,
        workers=workers,
        command_s=command_s,
        work_s=sum(chunk["seconds"] for chunk in chunks),
        tracked=sum(c["stop"] - c["start"] for c in chunks) * (2 if way == "shards" else 1),
        encode_s=sum(stage.get("encode", 0.0) for stage in stages),
        track_s=sum(stage.get("track", 0.0) for stage in stages),
        agreement=manifest["seam_agreement"],
    )


def table(runs: list[Measured], frames: int) -> list[str]:
    """What two workers gain."""
    lines = [
        "| way | workers | command | tracking alone | two workers gain | sum of the chunks "
        "| frames tracked for each of the video | agreement |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    alone = {one.way: one for one in runs if one.workers == 1}
    for one in runs:
        first = alone[one.way]
        tracking_s = one.command_s - (first.command_s - first.work_s)
        gain = "" if one is first else f"{first.work_s / tracking_s:.2f}x"
        agreement = "" if one.agreement is None else f"{one.agreement:.3f}"
        lines.append(
            f"| {one.way} | {one.workers} | {one.command_s:.1f} s | {tracking_s:.1f} s | {gain} "
            f"| {one.work_s:.1f} s | {one.tracked / frames:.2f} | {agreement} |"
        )
    return lines


@dataclass(frozen=True)
class Costs:
    """What things take on one worker, in seconds."""

    frame: float
    """To decode and encode a frame."""
    object: float
    """To track one object through a frame."""
    start: float
    """To start a worker: imports, the model."""
    seam: float
    """To join and write a chunk, in the run's own process."""


@dataclass(frozen=True)
class Share:
    """Where the time of a run goes, in seconds of wall time on the critical path."""

    way: str
    workers: int
    objects: int
    start: float
    encode: float
    track: float
    overlap: float
    waiting: float
    """For the last workers, where others have nothing left."""
    join: float

    @property
    def total(self) -> float:
        return self.start + self.encode + self.track + self.overlap + self.waiting + self.join


def simulate(
    costs: Costs, *, frames: int, objects: int, workers: int, chunk_frames: int, overlap: int
) -> list[Share]:
    """Add up, for one worker, matched chunks and shards.

    Chunks have equal length but for the last one; a worker takes the next one when it is free, so
    the last round is not full. Chunks are put together one after another beside the tracking, so
    only what is left after the last one counts, but never less than their sum takes in all.
    """
    step = chunk_frames - overlap
    chunks = 1 + max(0, math.ceil((frames - chunk_frames) / step))
    each = costs.frame + objects * costs.object
    rounds = math.ceil(chunks / workers)
    own = frames / workers
    extra = (chunks - 1) * overlap / workers
    tracked_s = rounds * chunk_frames * each
    whole_s = (own + extra) * each
    joins_s = chunks * costs.seam
    left_s = max(costs.seam, joins_s - tracked_s)
    share = math.ceil(objects / workers)
    busy = min(objects, workers)
    return [
        Share("one worker", 1, objects, costs.start, frames * costs.frame,
              frames * objects * costs.object, 0.0, 0.0, costs.seam),
        Share("match", workers, objects, costs.start, own * costs.frame,
              own * objects * costs.object, extra * each, max(0.0, tracked_s - whole_s), left_s),
        Share("shards", busy, objects, costs.start, frames * costs.frame,
              frames * objects / workers * costs.object, 0.0,
              frames * (share - objects / workers) * costs.object, chunks * costs.seam),
    ]  # fmt: skip


def paper(costs: Costs, args: argparse.Namespace) -> list[str]:
    """An hour of video on many workers."""
    frames = 3600 * RATE
    lines = [
        "| way | objects | workers at work | wall | faster | start | encode | track | overlap "
        "| waits for the last | join |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for objects in (2, 20, 200):
        shares = simulate(
            costs,
            frames=frames,
            objects=objects,
            workers=args.workers,
            chunk_frames=args.paper_chunk,
            overlap=24,
        )
        for one in shares:
            parts = (one.start, one.encode, one.track, one.overlap, one.waiting, one.join)
            lines.append(
                f"| {one.way} | {objects} | {one.workers} | {one.total:,.0f} s "
                f"| {shares[0].total / one.total:.1f}x | "
                + " | ".join(f"{part:,.0f}" for part in parts)
                + " |"
            )
    return lines


def report(runs: list[Measured], costs: Costs, args: argparse.Namespace) -> str:
    """Both tables, with what they are of."""
    return "\n".join(
        [
            f"{args.frames} frames of {args.size} px, {OBJECTS} objects, `{args.model}` at "
            f"{args.image_size} px, one thread a worker, chunks of {args.chunk_frames} frames:",
            "",
            *table(runs, args.frames),
            "",
            f"On paper: an hour of video ({RATE} frames/s) on {args.workers} workers, chunks of "
            f"{args.paper_chunk} frames with 24 shared, at {costs.frame * 1000:.1f} ms a frame and "
            f"{costs.object * 1000:.1f} ms an object and frame, {costs.start:.0f} s to start a "
            f"worker, {costs.seam * 1000:.0f} ms to join a chunk:",
            "",
            *paper(costs, args),
        ]
    )


def costs_of(runs: list[Measured], args: argparse.Namespace) -> Costs:
    """What this machine took, or what is asked for."""
    base = next(one for one in runs if one.way == "one worker")
    frame = (base.work_s - base.track_s) / base.tracked
    per_object = base.track_s / base.tracked / OBJECTS
    start = max(0.0, base.command_s - base.work_s)
    return Costs(
        frame=args.frame_s or frame,
        object=args.object_s or per_object,
        start=start,
        seam=args.seam_s,
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=960)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--chunk-frames", type=int, default=240)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--workers", type=int, default=64, help="on paper")
    parser.add_argument("--paper-chunk", type=int, default=240, help="frames of a chunk on paper")
    parser.add_argument("--frame-s", type=float, help="seconds a frame, for the paper")
    parser.add_argument("--object-s", type=float, help="seconds an object and frame")
    parser.add_argument("--seam-s", type=float, default=0.3, help="seconds to join a chunk")
    parser.add_argument("--tiny", action="store_true", help="a try, of half a minute")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument("--write", type=Path, help="the page to put the tables into")
    args = parser.parse_args(arguments)
    if args.tiny:
        args.frames, args.size, args.image_size, args.chunk_frames = 48, 64, 64, 20
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_video(folder, frames=args.frames, size=args.size)
        runs = []
        for way, workers in (
            ("one worker", 1), ("shards", 1), ("shards", 2), ("match", 1), ("match", 2),
        ):  # fmt: skip
            runs.append(run(folder, way, workers, args))
            print(f"{way}, {workers}: {runs[-1].command_s:.1f} s", file=sys.stderr, flush=True)
    costs = costs_of(runs, args)
    text = report(runs, costs, args)
    print(text)
    if args.json:
        found = {"runs": [asdict(one) for one in runs], "costs": asdict(costs)}
        args.json.write_text(json.dumps(found, indent=2) + "\n")
    if args.write:
        put_into(args.write, text, "machines.py")


if __name__ == "__main__":
    main()
