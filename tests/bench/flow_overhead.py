"""What the whole flow costs beyond a bare loop with the library over the same frames.

    python tests/bench/flow_overhead.py                                 # 600 and 1,800 frames
    python tests/bench/flow_overhead.py --frames 10 20 --chunk-frames 10 --overlap 2 --runs 1
    python tests/bench/flow_overhead.py --out flow.json --write tests/bench/RESULTS.md

The flow is `longtake track` as a command, with Prefect's server, chunks and report. A first run,
which is not counted, starts the server, and that stays for the next ones. The loop is a process
that loads the same model, decodes the same video, tracks it on as many threads and writes the
masks. They take turns.
Each line is a median of wall times, as a person waits for them, and of CPU times, which other work
on the machine hardly changes (they lack what the server takes). Two lengths tell what is fixed from
what grows:

    fixed   the difference at the shorter length, less its share of what grows
    share   what each further frame costs more than in the loop, chunks and overlaps included

Prints Markdown, and with `--write` puts it into that page, in the place of what was there.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from policies import put_into  # a script beside this one

from samcore.machine.device import choose_compute
from samcore.machine.threads import fit_threads
from samcore.masks.table import MaskWriter
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.scenes import Scene, box_of
from samcore.tracking.tracker import VideoTracker
from samcore.video import VideoWriter, open_video

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 360, 640
HEADING = (
    "| frames | flow, s | loop, s | difference, s | flow, CPU s | loop, CPU s |\n"
    "|--:|--:|--:|--:|--:|--:|"
)


@dataclass
class Times:
    """Of the runs of one length; seconds."""

    flow: list[float] = field(default_factory=list)
    loop: list[float] = field(default_factory=list)
    flow_cpu: list[float] = field(default_factory=list)
    loop_cpu: list[float] = field(default_factory=list)

    def difference(self) -> float:
        """Median over the pairs."""
        return statistics.median(a - b for a, b in zip(self.flow, self.loop, strict=True))

    def row(self, num_frames: int) -> str:
        """The table's."""
        flow, loop, flow_cpu, loop_cpu = (
            statistics.median(runs) for runs in (self.flow, self.loop, self.flow_cpu, self.loop_cpu)
        )
        return (
            f"| {num_frames} | {flow:.1f} | {loop:.1f} | {self.difference():.1f} | "
            f"{flow_cpu:.1f} | {loop_cpu:.1f} |"
        )


def make_video(folder: Path, num_frames: int, num_objects: int) -> tuple[Path, Path]:
    """A scene as a video, and the prompts of what its first frame shows."""
    scene = Scene(1, num_frames=num_frames, height=HEIGHT, width=WIDTH, num_objects=num_objects)
    video, prompts = folder / f"{num_frames}.mp4", folder / f"{num_frames}.json"
    with VideoWriter(video, width=WIDTH, height=HEIGHT, rate=Fraction(30)) as writer:
        for frame in scene:
            writer.write(frame.image_rgb_hwc_u8)
    objects = [
        {"id": obj_id, "prompts": [{"frame": 0, "box": [float(edge) for edge in box_of(mask)]}]}
        for obj_id, mask in zip(scene.obj_ids, scene.masks_nhw(0), strict=True)
        if mask.any()
    ]
    prompts.write_text(json.dumps({"objects": objects}))
    return video, prompts


def loop(video_path: Path, prompts: Path, model_name: str, device: str, out: Path) -> None:
    """What a program with the library does."""
    spec = resolve_model(model_name, cache_dir=out.parent)
    model = load_model(spec, choose_compute(device, "auto"))
    video = open_video(video_path)
    info = video.info
    fit_threads(model.facts.image_size)  # as the flow does
    tracker = VideoTracker(model, height=info.height, width=info.width, num_frames=info.num_frames)
    for asked in json.loads(prompts.read_text())["objects"]:
        x1, y1, x2, y2 = asked["prompts"][0]["box"]
        tracker.add_box(asked["id"], 0, (x1, y1, x2, y2))
    with video.read() as frames, MaskWriter(out, height=info.height, width=info.width) as masks:
        for output in tracker.track(frames):
            masks.write(output, video.pts(output.frame_idx))


def timed(command: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command and what it waits for.

    Raises:
        SystemExit: It failed; what it said is told.
    """

    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    cpu_before, began = cpu(), time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    wall, spent = time.monotonic() - began, cpu() - cpu_before
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return wall, spent


def fixed_and_share(times: dict[int, Times]) -> tuple[float, float | None]:
    """Seconds beyond the loop whatever the length; what a further frame costs more, as a part."""
    short, long = min(times), max(times)
    if short == long:
        return times[short].difference(), None
    more = (times[long].difference() - times[short].difference()) / (long - short)
    loops = {n: statistics.median(of.loop) for n, of in times.items()}
    frame = (loops[long] - loops[short]) / (long - short)
    return times[short].difference() - more * short, more / frame


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[600, 1800])
    parser.add_argument("--chunk-frames", type=int, default=600)
    parser.add_argument("--overlap", type=int, help="frames; the default is the command's")
    parser.add_argument("--objects", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="a JSON file for all numbers")
    parser.add_argument("--write", type=Path, help="the page to put the table into")
    parser.add_argument("--child", nargs=3, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        video, prompts, out = args.child
        loop(video, prompts, args.model, args.device, out)
        return 0
    times = {num_frames: Times() for num_frames in args.frames}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = {n: make_video(folder, n, args.objects) for n in times}

        def flow(num_frames: int, number: int) -> tuple[float, float]:
            video, prompts = made[num_frames]
            command = [sys.executable, "-m", "flows.cli", "track", str(video)]
            command += ["--prompts", str(prompts), "--model", args.model, "--device", args.device]
            command += ["--chunk-frames", str(args.chunk_frames)]
            command += [] if args.overlap is None else ["--overlap", str(args.overlap)]
            return timed([*command, "-o", str(folder / f"out-{num_frames}-{number}")])

        def bare(num_frames: int) -> tuple[float, float]:
            command = [sys.executable, __file__, "--model", args.model, "--device", args.device]
            files = (*made[num_frames], folder / "masks.parquet")
            return timed([*command, "--child", *map(str, files)])

        print("a first run, not counted ...", file=sys.stderr, flush=True)
        flow(min(times), -1)
        for number in range(args.runs):
            for num_frames, found in times.items():
                print(f"run {number}, {num_frames} frames ...", file=sys.stderr, flush=True)
                for (wall, spent), walls, cpus in (
                    (flow(num_frames, number), found.flow, found.flow_cpu),
                    (bare(num_frames), found.loop, found.loop_cpu),
                ):
                    walls.append(wall)
                    cpus.append(spent)
    fixed, share = fixed_and_share(times)
    lines = [
        f"`{args.model}`, {args.objects} objects, {WIDTH}x{HEIGHT}, chunks of "
        f"{args.chunk_frames} frames, {choose_compute(args.device, 'auto').describe()}, "
        f"{args.runs} alternating run(s):\n",
        HEADING,
        *(of.row(n) for n, of in sorted(times.items())),
        f"\nFixed: {fixed:.1f} s beyond the loop."
        + ("" if share is None else f" Each further frame: {100 * share:+.1f} %."),
    ]
    text = "\n".join(lines)
    print(text)
    if args.out:
        report = {
            "command": sys.argv[1:],
            "fixed_seconds": fixed,
            "share": share,
            "seconds": {str(n): vars(of) for n, of in times.items()},
        }
        args.out.write_text(json.dumps(report, indent=2) + "\n")
    if args.write:
        put_into(args.write, text, "flow_overhead.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
