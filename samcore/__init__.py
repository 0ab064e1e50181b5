"""Longtake's engine: bounded, exact video object tracking with SAM 2, as a library.

```python
from samcore import VideoTracker, choose_compute, load_model, open_video, resolve_model
```

The names below are imported when they are first used: torch takes seconds to import, and a command
that only prints its help should not wait for it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samcore.config import TrackSettings as TrackSettings
    from samcore.errors import SegmentationError as SegmentationError
    from samcore.images.everything import EverythingOptions as EverythingOptions
    from samcore.images.picture import read_picture as read_picture
    from samcore.images.prompt import PicturePrompt as PicturePrompt
    from samcore.images.segmenter import ImageSegmenter as ImageSegmenter
    from samcore.machine.device import choose_compute as choose_compute
    from samcore.masks.frame_masks import FrameMasks as FrameMasks
    from samcore.masks.table import MaskReader as MaskReader
    from samcore.masks.table import MaskWriter as MaskWriter
    from samcore.models.loader import load_model as load_model
    from samcore.models.registry import resolve_model as resolve_model
    from samcore.prompts.prompt import Prompt as Prompt
    from samcore.result import Result as Result
    from samcore.tracking.backward import BackwardTracker as BackwardTracker
    from samcore.tracking.state import TrackerState as TrackerState
    from samcore.tracking.tracker import VideoTracker as VideoTracker
    from samcore.video import BackwardVideo as BackwardVideo
    from samcore.video import open_video as open_video

_HOMES = {
    "BackwardTracker": "samcore.tracking.backward",
    "BackwardVideo": "samcore.video",
    "EverythingOptions": "samcore.images.everything",
    "FrameMasks": "samcore.masks.frame_masks",
    "ImageSegmenter": "samcore.images.segmenter",
    "MaskReader": "samcore.masks.table",
    "MaskWriter": "samcore.masks.table",
    "PicturePrompt": "samcore.images.prompt",
    "Prompt": "samcore.prompts.prompt",
    "Result": "samcore.result",
    "SegmentationError": "samcore.errors",
    "TrackSettings": "samcore.config",
    "TrackerState": "samcore.tracking.state",
    "VideoTracker": "samcore.tracking.tracker",
    "choose_compute": "samcore.machine.device",
    "load_model": "samcore.models.loader",
    "open_video": "samcore.video",
    "read_picture": "samcore.images.picture",
    "resolve_model": "samcore.models.registry",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
