"""The kinds of synthetic videos by name; each is imported when it is used."""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass

from samcore.errors import InputError
from samcore.scenes.video import SyntheticVideo


@dataclass(frozen=True, slots=True)
class SceneKind:
    """A way to make synthetic videos."""

    name: str
    """As recipes and measures give it."""
    about: str
    """One line for people."""
    home: str
    """Module and function that makes a video from a seed and its measures."""
    trained_on: bool = True
    """Whether a recipe may train on it; False for a kind that is kept for measuring."""


_ALL = (
    SceneKind("easy", "shapes of clear colours that stay in the picture", "scene:easy"),
    SceneKind("medium", "shapes behind bars, with exits and returns", "scene:medium"),
    SceneKind("hard", "look-alike shapes in clutter", "scene:hard"),
    SceneKind("sprites", "soft, thin and hollow figures with patterns", "sprites:make_video"),
    SceneKind("photos", "photographs as cut-outs, texture and ground", "photos:make_video"),
    SceneKind("solids", "shaded bodies that turn and cast shadows", "solids:make_video"),
    SceneKind(
        "creatures", "animals that walk through hills", "creatures:make_video", trained_on=False
    ),
)

SCENE_KINDS = {kind.name: kind for kind in _ALL}
"""The kinds, by name."""


def check_kinds(names: Iterable[str]) -> tuple[SceneKind, ...]:
    """The kinds of these names, in their order.

    Raises:
        InputError: One is not known; the known ones are listed.
    """
    wanted = tuple(names)
    for name in wanted:
        if name not in SCENE_KINDS:
            known = ", ".join(SCENE_KINDS)
            raise InputError(f"unknown kind of scene: got {name!r}, known are {known}")
    return tuple(SCENE_KINDS[name] for name in wanted)


def make_video(
    kind: str, seed: int, *, num_frames: int, height: int, width: int, num_objects: int
) -> SyntheticVideo:
    """Draw the cast of a video of one kind; no frame is painted yet.

    Raises:
        InputError: The kind is not known, a measure is below its least value, or a package that
            the kind needs is not installed.
    """
    (chosen,) = check_kinds([kind])
    module, _, function = chosen.home.partition(":")
    maker = getattr(importlib.import_module(f"samcore.scenes.{module}"), function)
    video: SyntheticVideo = maker(
        seed, num_frames=num_frames, height=height, width=width, num_objects=num_objects
    )
    return video
