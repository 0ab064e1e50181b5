"""A video of small frames to hold prompts against, and what the tests of prompts share."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from samcore.errors import InputError
from samcore.prompts.file import PromptFile, parse_prompts
from samcore.prompts.resolve import resolve_prompts


@dataclass
class Video:
    """100 frames of 64 x 48 pixels at 10 frames per second."""

    width: int = 64
    height: int = 48
    num_frames: int = 100


def frame_at(seconds):
    if seconds >= 10:
        raise InputError(f"{seconds:g} s is past the end of the video at 10 s")
    return int(seconds * 10)


def resolve(source, tmp_path, *, start=0, stop=100, allow_any_path=False):
    spec = source if isinstance(source, PromptFile) else parse_prompts(source)
    return resolve_prompts(
        spec,
        video=Video(),
        frame_at=frame_at,
        base_dir=tmp_path,
        start=start,
        stop=stop,
        allow_any_path=allow_any_path,
    )


BOX = {"frame": 0, "box": [10, 5, 30, 40]}


def one_object(*prompts, **fields):
    return {"objects": [{"id": 3, "prompts": list(prompts), **fields}]}


def disc():
    """A mask of the video's size."""
    mask_hw = np.zeros((48, 64), np.uint8)
    cv2.circle(mask_hw, (30, 20), 12, 1, -1)
    return mask_hw


def refused(action, *words):
    """The action is refused in one line that holds all the words."""
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    for word in words:
        assert word in message, message
    return message
