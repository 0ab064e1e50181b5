"""Do memory and disk grow with a stream? `longtake watch` on standard input, for some minutes.

    python tests/bench/soak.py                       # 5 minutes of 128 x 96 pixels
    python tests/bench/soak.py --minutes 60 --roll 5m --chunk 10s

Squares enter, move and leave all the time, and `motion` finds them, so that objects come and go
too. Each --every seconds it prints the command's memory, what its work in progress takes on the
disk, and how many results there are. Exits with 1 if the second half of the time has more than
--limit times the memory or work of the first one, where start and warm-up are left out.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import psutil

HEIGHT, WIDTH = 96, 128
WARM_UP = 0.25
"""Of the time, left out of the judgement."""


def feed(pipe: IO[bytes], stop: threading.Event) -> None:
    """Write raw frames, as fast as they are taken: a square for 120 frames, then another one."""
    rng = np.random.default_rng(0)
    ground = rng.integers(40, 80, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    with contextlib.suppress(OSError), pipe:
        t = 0
        while not stop.is_set():
            image = ground.copy()
            number, age = divmod(t, 120)
            if age < 90:
                x, y = age, (13 * number) % (HEIGHT - 24)
                image[y : y + 24, x : x + 24] = (255, 60 + 31 * number % 190, 30)
            pipe.write(image.tobytes())
            t += 1


def sample(process: psutil.Process, out: Path) -> tuple[float, float, int]:
    """The command's memory with its ffmpeg's in MB, its work on the disk in MB, and its results."""
    rss = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in (process, *process.children(recursive=True)):
            rss += one.memory_info().rss
    work = 0
    for path in (out / ".longtake").rglob("*"):
        with contextlib.suppress(OSError):
            work += path.stat().st_size if path.is_file() else 0
    return rss / 1e6, work / 1e6, len([*out.glob("*/manifest.json")])


def watch(out: Path, args: argparse.Namespace) -> list[tuple[float, float, int]]:
    """Run the command for the whole time; all samples."""
    command = [sys.executable, "-c", "from flows.cli import main; main()", "watch", "-"]
    command += ["-o", str(out), "--size", f"{WIDTH}x{HEIGHT}", "--rate", "30", "--model", "nano"]
    command += ["--image-size", str(args.image_size), "--detect", "motion", "--detect-every", "5"]
    command += ["--retire-after", "20"]
    # A small archive is soon full, as a large one would be after hours.
    command += ["--archive-size", "3", "--roll", args.roll, "--chunk", args.chunk]
    stop, samples = threading.Event(), []
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        feeder = threading.Thread(target=feed, args=(process.stdin, stop))
        feeder.start()
        began = time.monotonic()
        try:
            while time.monotonic() - began < args.minutes * 60 and process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(args.every)
                samples.append(sample(psutil.Process(process.pid), out))
                rss, work, results = samples[-1]
                spent = time.monotonic() - began
                print(f"{spent:7.0f} s  {rss:7.0f} MB  {work:7.2f} MB  {results:4d} results")
        finally:
            stop.set()
            process.send_signal(signal.SIGTERM)
            process.wait()
            feeder.join()
    return samples


def growth(values: Sequence[float]) -> float:
    """The most of the second half over the most of the first, after the warm-up."""
    rest = values[int(len(values) * WARM_UP) :]
    half = len(rest) // 2
    return max(rest[half:]) / max(*rest[:half], 1e-9)


def main() -> int:
    """Measure, and judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between samples")
    parser.add_argument("--roll", default="20s")
    parser.add_argument("--chunk", default="5s")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--limit", type=float, default=1.1)
    parser.add_argument("--out", type=Path, help="where results go; a new folder by default")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        samples = watch(args.out or Path(folder) / "out", args)
    if len(samples) < 8:
        print("too short to judge")
        return 1
    memory, work = growth([one[0] for one in samples]), growth([one[1] for one in samples])
    print(f"second half over first half: memory x {memory:.3f}, work on disk x {work:.3f}")
    return int(max(memory, work) > args.limit)


if __name__ == "__main__":
    sys.exit(main())
