"""Is this machine's GPU right, bounded and fast? One command of at most 8 minutes, one JSON file.

    python tests/gpu_check --out gpu.json                       # all parts, on the first GPU
    python tests/gpu_check --out gpu.json --parts parity fps    # some of them
    python tests/gpu_check --out gpu.json --device cpu --tiny   # a try without a GPU: seconds

It runs from a copy of the tree, and needs torch, torchvision, numpy, OpenCV, safetensors, pydantic,
psutil and the sam2 package with its own needs. Frames come from `samcore.scenes`.

Each part runs in a process of its own under its own time limit, so that a hang or a crash of one
leaves the others. The file is written after each part. A part that was stopped keeps what it had
measured until then. The exit code is 1 if a part failed, crashed or ran out of time.

`parity`         masks and logits beside the sam2 package's own predictor
`out_of_memory`  a limit on the GPU's memory, which the ladder of smaller batches survives
`chunks`         a video in chunks gives the masks of the video in one piece, bit for bit
`flat_memory`    peak memory of many frames beside that of few
`compiled`       `--compile` beside the plain model: masks, frames a second, compilations, chunks
`fps`            frames a second beside the sam2 package, eager
`fps_compiled`   frames a second, both compiled: the sam2 package with `vos_optimized`
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import signal
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]  # a copy of the tree, not installed

LIMITS_S = {
    "parity": 60,
    "out_of_memory": 40,
    "chunks": 30,
    "flat_memory": 45,
    "compiled": 110,
    "fps": 60,
    "fps_compiled": 130,
}
"""Seconds of each part; together under 8 minutes."""
PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "sam2")
FORMAT = 1
# Whether there is a GPU is asked in a way after which a process may still fork.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
_TAIL = 2000


def run_part(name: str, work: Any, limit_s: float) -> dict[str, Any]:
    """Run one part as a process, and say how it ended and what it measured.

    The process is a fork, which saves importing torch once a part; this one never uses the GPU.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = multiprocessing.get_context("fork").Process(
            target=_be_part, args=(name, work, out.fileno(), err.fileno())
        )
        process.start()
        process.join(limit_s)
        ended = "out of time" if process.is_alive() else "failed"
        if process.exitcode == 0:
            ended = "passed"
        # With what it started: torch.compile keeps processes of its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.kill()
        process.join()
        out.seek(0)
        err.seek(0)
        results, said = _read(out.read()), err.read()
    if ended == "failed" and "error" not in results and "failures" not in results:
        ended = "crashed"
    part = {"status": ended, "seconds": round(time.monotonic() - began, 1), "limit_s": limit_s}
    if ended == "crashed":
        part["exit_code"] = process.exitcode
    if ended in ("crashed", "out of time"):
        part["stderr"] = said[-_TAIL:]
    return part | results


def _be_part(name: str, work: Any, out: int, err: int) -> None:
    os.setsid()
    os.dup2(out, 1)
    os.dup2(err, 2)
    import parts

    sys.exit(parts.run(name, work))


def _read(lines: str) -> dict[str, Any]:
    """What a part printed: a JSON object a line; the libraries print lines of other kinds."""
    results: dict[str, Any] = {}
    for line in lines.splitlines():
        if line.startswith('{"gpu_check"'):
            try:
                results |= json.loads(line)["gpu_check"]
            except ValueError:
                continue  # the last line of a process that was killed while it wrote
    return results


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _write(path: Path, report: dict[str, Any]) -> None:
    """Whole or not at all."""
    beside = path.with_name(f"{path.name}.part")
    beside.write_text(json.dumps(report, indent=2) + "\n")
    beside.replace(path)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="gpu_check",
        description=(__doc__ or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--device", default="cuda:0", help="cuda, cuda:1 or cpu")
    parser.add_argument("--tiny", action="store_true", help="a small model and few frames")
    parser.add_argument(
        "--config",
        default="configs/sam2.1/sam2.1_hiera_t.yaml",
        help="a configuration of the sam2 package; its weights are random without --checkpoint",
    )
    parser.add_argument("--checkpoint", type=Path, help="weights for --config")
    parser.add_argument("--parts", nargs="+", choices=LIMITS_S, default=list(LIMITS_S))
    parser.add_argument(
        "--limit-scale", type=float, default=1.0, help="multiplies the parts' time limits"
    )
    args = parser.parse_args()
    report: dict[str, Any] = {
        "format": FORMAT,
        "command": sys.argv[1:],
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": _versions(),
        "device": args.device,
        "tiny": args.tiny,
        "passed": False,
        "complete": False,
        "parts": {},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    _write(args.out, report)
    try:
        from runs import Work  # a module beside this one
    except ImportError as error:
        _write(args.out, report | {"error": f"{type(error).__name__}: {error}"})
        sys.exit(f"cannot start: {error}")
    work = Work(args.device, args.tiny, args.config, args.checkpoint)
    for name in args.parts:
        print(f"{name} ...", flush=True)
        part = run_part(name, work, LIMITS_S[name] * args.limit_scale)
        report["parts"][name] = part
        done = [found["status"] for found in report["parts"].values()]
        report["complete"] = len(done) == len(args.parts)
        report["passed"] = report["complete"] and set(done) == {"passed"}
        _write(args.out, report)
        told = part.get("error") or "; ".join(part.get("failures", ())) or ""
        print(f"{name}: {part['status']} in {part['seconds']} s {told}".rstrip(), flush=True)
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
