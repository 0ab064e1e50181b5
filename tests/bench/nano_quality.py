"""The table of nano's model card: J on test seeds, by kind of scene and prompt.

    python tests/bench/nano_quality.py --scenes 8                       # the shipped weights
    python tests/bench/nano_quality.py --weights run/nano.safetensors   # those of a training run

Prints Markdown. With 8 scenes a kind it takes about a quarter of an hour on one core.
"""

import argparse
import sys
from pathlib import Path

from samcore.device import choose_compute
from samcore.models.loader import load_model
from samcore.models.registry import NANO_DIR, resolve_model
from samcore.training.clips import TEST_SEEDS
from samcore.training.evaluation import EvalPrompt, Score, score_kinds

PROMPTS: tuple[EvalPrompt, ...] = ("box", "point", "mask")


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=8, help="scenes of each kind")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--weights", type=Path)
    args = parser.parse_args()
    spec = resolve_model(
        None if args.weights else "nano",
        checkpoint=args.weights,
        config=str(NANO_DIR / "config.yaml") if args.weights else None,
        cache_dir=Path.home() / ".cache" / "longtake",
    )
    model = load_model(spec, choose_compute("auto", "auto"))
    seeds = list(TEST_SEEDS[: args.scenes])
    scores: dict[str, dict[str, Score]] = {}
    for prompt in PROMPTS:
        print(f"{prompt} ...", file=sys.stderr, flush=True)
        scores[prompt] = score_kinds(
            model, seeds, num_frames=args.frames, size=spec.image_size, prompt=prompt
        )
    print(f"{args.scenes} scenes of {args.frames} frames each:\n")
    print("| scenes, objects | J box | J point | J mask | copy | present right | absent right |")
    print("|---|---|---|---|---|---|---|")
    for kind, box in scores["box"].items():
        js = " | ".join(f"{scores[prompt][kind].j:.3f}" for prompt in PROMPTS)
        told = f"{share(box.present_right)} | {share(box.absent_right)}"
        print(f"| {kind} | {js} | {box.copy_j:.3f} | {told} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
