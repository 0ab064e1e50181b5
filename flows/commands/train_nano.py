"""`longtake train-nano`: the recipe of the embedded model, from nothing to weights."""

from collections.abc import Iterator
from pathlib import Path

from flows.commands.console import Terminal
from samcore.models.known import NANO_DIR
from samcore.progress import Progress, clock
from samcore.training import Progress as TrainingProgress
from samcore.training import Start, train


def run_training(
    folder: Path, config: Path | None, start: Start | None, device: str, terminal: Terminal
) -> Iterator[str]:
    """Train, or go on training, and say what came out.

    Args:
        folder: For weights, checkpoint, log and curve; made if need be.
        config: What to train on; None is the recipe of the shipped weights.
        start: The weights to begin with, where the folder has no checkpoint; None is from nothing.
        device: As for tracking.
        terminal: Where progress shows.

    Yields:
        Lines for a person.

    Raises:
        SegmentationError: The configuration, the device or the folder cannot be used.
    """

    before: list[TrainingProgress] = []

    def show(progress: TrainingProgress) -> None:
        step, steps = progress.step, progress.steps
        note = f"{progress.phase}: loss {progress.loss:.3f}, IoU {progress.iou:.3f}"
        if before:
            # By the pace of this sitting: earlier ones may have been on another machine.
            pace = (progress.seconds - before[0].seconds) / (step - before[0].step)
            note += f", about {clock(pace * (steps - step))} left"
        else:
            before.append(progress)
        text = f"training: step {step} of {steps}, {note}"
        terminal.show(Progress("training", step, steps, "steps", note=note, text=text))

    with terminal.live():
        result = train(
            config or NANO_DIR / "training.yaml",
            folder,
            device=device,
            start=start,
            on_progress=show,
        )
    yield f"{result.step} of {result.steps} steps in {clock(result.seconds)}: {result.weights}"
    yield f"the curve: {folder / 'curve.png'}"
    yield f"to track with it: --checkpoint {result.weights} --config {NANO_DIR / 'config.yaml'}"
