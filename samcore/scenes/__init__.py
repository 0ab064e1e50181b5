"""Synthetic videos with exact masks: for the demo, for tests, and to train the `nano` model."""

from samcore.scenes.kinds import SCENE_KINDS, make_video
from samcore.scenes.recipes import Difficulty
from samcore.scenes.scene import Scene
from samcore.scenes.video import SceneFrame, SyntheticVideo, box_of

__all__ = [
    "SCENE_KINDS",
    "Difficulty",
    "Scene",
    "SceneFrame",
    "SyntheticVideo",
    "box_of",
    "make_video",
]
