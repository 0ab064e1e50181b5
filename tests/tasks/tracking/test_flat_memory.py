"""Memory does not grow with the video: peak RSS of a short run and a long one, side by side."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from samcore.machine.meters import MemoryMeter
from samcore.run.folder import RunFolder
from samcore.scenes import Scene, box_of
from samcore.video import VideoWriter
from tasks.check_seam import check_seam
from tasks.encode_prompts import encode_prompts
from tasks.plan_run import plan_run
from tasks.publish_part import publish_part
from tasks.request.segment_request import validate_request
from tasks.track_chunk import track_chunk

MIB = 2**20
WARM_UP, SHORT, LONG = 40, 100, 700
CHUNK_FRAMES, OVERLAP = 354, 8
SLACK = 2.5 * MIB
"""The long run was measured 0.2 to 0.7 MiB above the short one. Where the bank keeps every frame's
memory it is 5.0 above it; where a chunk's tracker keeps its masks 4.7, its image features 14."""


def _peak(video: str, box: list[float], stop: int, out: str) -> int:
    """Track the first `stop` frames in chunks; the most memory that the process held."""
    request = validate_request(
        source=video,
        destination=out,
        prompts={"objects": [{"id": 1, "prompts": [{"frame": 0, "box": box}]}]},
        model="nano",
        settings={"device": "cpu"},
        image_size=64,
        stop=stop,
        chunk_frames=CHUNK_FRAMES,
        overlap=OVERLAP,
        report=False,
    )
    with MemoryMeter() as meter:
        run = plan_run.fn(request)
        encode_prompts.fn(run)
        for chunk in RunFolder.from_ref(run).record().chunks:
            track_chunk.fn(run, chunk.index)
            publish_part.fn(run, chunk.index)
            if chunk.index:
                check_seam.fn(run, request, chunk.index)
    return meter.snapshot().peak_rss_bytes


def _print_peaks(video: str, box: str, stops: Sequence[int], out: str) -> None:
    """What the process of the test below does; the peaks as JSON."""
    peaks = [_peak(video, json.loads(box), stop, f"{out}/{n}") for n, stop in enumerate(stops)]
    print(json.dumps(peaks))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can set the kernel's peak back")
def test_memory_of_tracking_does_not_grow_with_the_video(tmp_path: Path) -> None:
    """A video of seven times as many frames, in two chunks, takes as much memory as a short one:
    nothing is kept for a frame that is done."""
    scene = Scene(1, num_frames=LONG, height=96, width=128, num_objects=1)
    video = tmp_path / "video.mp4"
    with VideoWriter(video, width=scene.width, height=scene.height, rate=Fraction(30)) as writer:
        for frame in scene:
            writer.write(frame.image_rgb_hwc_u8)
    box = json.dumps([float(edge) for edge in box_of(scene.masks_nhw(0)[0])])
    # One process for all, so that they share what libraries hold; and one heap, for how many
    # of them threads happen to make differs by more than is measured here.
    stops = [str(stop) for stop in (WARM_UP, SHORT, LONG)]
    ended = subprocess.run(
        [sys.executable, __file__, str(video), box, str(tmp_path / "out"), *stops],
        env={
            **os.environ,
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "LONGTAKE_CACHE": str(tmp_path / "cache"),
            "MALLOC_ARENA_MAX": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parents[3]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr

    _, short, long = json.loads(ended.stdout.splitlines()[-1])
    assert short > 100 * MIB
    assert long < short + SLACK, f"{short / MIB:.1f} and {long / MIB:.1f} MiB"


if __name__ == "__main__":
    _print_peaks(sys.argv[1], sys.argv[2], [int(stop) for stop in sys.argv[4:]], sys.argv[3])
