"""Synthetic videos with exact masks: for the demo, for tests, and to train the `nano` model."""

from samcore.scenes.recipes import Difficulty
from samcore.scenes.scene import Scene, SceneFrame, box_of

__all__ = ["Difficulty", "Scene", "SceneFrame", "box_of"]
