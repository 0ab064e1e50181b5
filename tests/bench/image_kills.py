"""Kill a run over generated pictures, some of them broken, again and again by SIGKILL.

    python tests/bench/image_kills.py --pictures 500 --broken 20 --kills 5 -o DIR

The result has to be that of a run that nobody disturbed: each picture once, the broken ones listed,
the same bytes of masks; and no finished shard may be done again. Prints a line for each end.
"""

import argparse
import csv
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from samcore.picture_runs.records import PICTURES
from samcore.picture_runs.table import read_pictures
from samcore.result.manifest import MANIFEST, MASKS

SIDE = 64
DONE = ".longtake/runs/*/chunks/*/done.json"


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--broken", type=int, default=20)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--shard-pictures", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    folder = args.output / "pictures"
    broken = make_pictures(folder, args.pictures, args.broken, seed=args.seed)
    command = [
        *(sys.executable, "-m", "flows.cli", "image", str(folder), "--everything"),
        *("--everything-option", "points_per_side=4", "--everything-option", "min_stability=0.5"),
        *("--model", "nano", "--image-size", str(SIDE), "--device", "cpu"),
        *("--shard-pictures", str(args.shard_pictures)),
    ]
    calm, killed = args.output / "calm", args.output / "killed"
    started = time.monotonic()
    run([*command, "-o", str(calm)])
    whole_s = time.monotonic() - started
    print(f"undisturbed: {whole_s:.0f} s, {args.pictures / whole_s:.1f} pictures/s", flush=True)
    check(calm, args.pictures, broken)

    shards = -(-args.pictures // args.shard_pictures)
    done: dict[Path, int] = {}
    for kill in range(1, args.kills + 1):
        # The last one while the result is published, the others anywhere in a shard.
        more = chance.randint(0, max(1, shards // args.kills - 1))
        target = shards if kill == args.kills else min(len(done) + more, shards - 1)
        process = subprocess.Popen(
            [*command, "-o", str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while len(list(killed.glob(DONE))) < target and process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.05 if target == shards else 3 * whole_s / shards))
        process.send_signal(signal.SIGKILL)
        code = process.wait()
        if code != -signal.SIGKILL:
            sys.exit(f"it had ended with {code} before kill {kill}: take more pictures")
        for path in killed.glob(DONE):
            if done.setdefault(path, path.stat().st_mtime_ns) != path.stat().st_mtime_ns:
                sys.exit(f"{path} was written twice")
        is_whole = (killed / MANIFEST).exists()
        print(f"{kill}: SIGKILL, {len(done)} shards done, published: {is_whole}", flush=True)
    run([*command, "-o", str(killed)])
    check(killed, args.pictures, broken)
    if (calm / MASKS).read_bytes() != (killed / MASKS).read_bytes():
        sys.exit("the masks are not those of the run that nobody disturbed")
    again = subprocess.run([*command, "-o", str(killed)], capture_output=True, text=True)
    if "nothing to do" not in again.stdout:
        sys.exit(f"a run after the end did something: {again.stdout}")
    print(
        f"{args.kills} kills: each of {args.pictures} pictures once, {len(broken)} listed, "
        "the same bytes"
    )


def make_pictures(folder: Path, count: int, num_broken: int, *, seed: int) -> set[str]:
    """Make pictures of coloured shapes; the names of those that are broken."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    broken = {int(place) for place in rng.choice(count, num_broken, replace=False)}
    names = set()
    for place in range(count):
        image = np.full((SIDE, SIDE, 3), rng.integers(0, 80, 3), np.uint8)
        for _ in range(3):
            centre = tuple(int(value) for value in rng.integers(8, SIDE - 8, 2))
            colour = tuple(int(value) for value in rng.integers(90, 255, 3))
            cv2.circle(image, centre, int(rng.integers(5, 14)), colour, -1)
        suffix = (".jpg", ".png", ".webp")[place % 3]
        data = cv2.imencode(suffix, image)[1].tobytes()
        if place in broken:
            data = (b"", data[: len(data) // 3], b"no picture")[place % 3]
            names.add(f"{place:04d}{suffix}")
        (folder / f"{place:04d}{suffix}").write_bytes(data)
    return names


def run(command: list[str]) -> None:
    """Run a command that is to end with pictures that are broken."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 3:
        sys.exit(f"exit code {done.returncode}, wanted 3: {done.stdout}{done.stderr}")


def check(result: Path, count: int, broken: set[str]) -> None:
    """See that each picture is there once, and that the broken ones are listed."""
    with (result / PICTURES).open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [row["name"] for row in rows]
    if len(names) != count or len(set(names)) != count:
        sys.exit(
            f"wanted {count} pictures once each, got {len(names)}, {len(set(names))} different"
        )
    listed = {row["name"] for row in rows if row["error"]}
    if listed != broken:
        sys.exit(f"wanted {sorted(broken)} listed, got {sorted(listed)}")
    found = {at: rows for at, rows in read_pictures(result / MASKS)}
    masks = [(row.picture, row.object_id) for rows in found.values() for row in rows]
    if len(masks) != len(set(masks)) or len(masks) != sum(int(row["masks"]) for row in rows):
        sys.exit("a mask is there twice, or is missing")


if __name__ == "__main__":
    main()
