"""The video of the demo, which is made up: its truth is known."""

from fractions import Fraction
from pathlib import Path

from samcore.disk.files import make_folder
from samcore.scenes import Scene
from samcore.video import VideoWriter

MODEL = "nano"
VIDEO = "scene.mp4"
_SEED = 71
"""One shape leaves the picture for a second, across a seam, and comes back."""
_FRAMES, _HEIGHT, _WIDTH = 96, 240, 320
_RATE = Fraction(24)


def demo_scene() -> Scene:
    """What the video shows."""
    return Scene(
        _SEED, difficulty="medium", num_frames=_FRAMES, height=_HEIGHT, width=_WIDTH, num_objects=2
    )


def write_video(scene: Scene, path: Path) -> None:
    """Write a scene as a video, whole or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    make_folder(path.parent)
    with VideoWriter(path, width=scene.width, height=scene.height, rate=_RATE) as writer:
        for frame in scene:
            writer.write(frame.image_rgb_hwc_u8)
