"""Kill a run again and again, by SIGKILL, SIGTERM and Ctrl-C, and compare it with a calm one.

    python tests/bench/kills.py VIDEO --prompts FILE --kills 50 -o DIR [-- --model nano ...]

What stands after `--` goes to `longtake track`. The result of both runs has to be the same to the
last byte, and no finished chunk may be tracked again. Prints a line for each end.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video")
    parser.add_argument("--prompts", required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("options", nargs="*")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    command = [
        *(sys.executable, "-m", "flows.cli", "track", args.video, "--prompts", args.prompts),
        *args.options,
    ]
    calm, killed = args.output / "calm", args.output / "killed"
    started = time.monotonic()
    subprocess.run([*command, "-o", str(calm)], check=True, stderr=subprocess.DEVNULL)
    whole_s = time.monotonic() - started

    kills = 0
    done: dict[Path, tuple[int, int]] = {}
    while kills < args.kills:
        number = chance.choice(SIGNALS)
        process = subprocess.Popen(
            [*command, "-o", str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0.2, 1.0) * whole_s)
        process.send_signal(number)
        code = process.wait()
        kills += code != 0
        for path in killed.glob(".longtake/runs/*/chunks/*/done.json"):
            stat = path.stat()
            if done.setdefault(path, (stat.st_ino, stat.st_mtime_ns))[1] != stat.st_mtime_ns:
                sys.exit(f"{path} was written twice")
        print(f"{kills}: {number.name}, exit code {code}, {len(done)} chunks done", flush=True)
        if code == 0:
            _compare(calm, killed)
            shutil.rmtree(killed)
            done.clear()
    subprocess.run([*command, "-o", str(killed)], check=True, stderr=subprocess.DEVNULL)
    _compare(calm, killed)
    print(f"{kills} kills, the same bytes")


def _compare(calm: Path, killed: Path) -> None:
    for name in ("masks.parquet", "seams.json"):
        if (calm / name).read_bytes() != (killed / name).read_bytes():
            sys.exit(f"{killed / name} is not what {calm / name} is")


if __name__ == "__main__":
    main()
