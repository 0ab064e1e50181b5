"""Training of the `nano` model on synthetic scenes."""

from samcore.training.loop import Progress, Start, TrainResult, train

__all__ = ["Progress", "Start", "TrainResult", "train"]
