"""Training of the `nano` model from nothing, on synthetic scenes."""

from samcore.training.loop import Progress, TrainResult, train

__all__ = ["Progress", "TrainResult", "train"]
