"""Make what other videos can begin with, see `warm_start`: memories of objects in this one."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from samcore.config import TrackSettings
from samcore.models.family import TrackingModel
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker
from samcore.video import Frame, VideoSource


def remember(
    model: TrackingModel,
    video: VideoSource,
    looks: Mapping[int, Mapping[int, NDArray[np.bool_]]],
    settings: TrackSettings,
    on_progress: Callable[[int, int | None], None],
) -> TrackerState:
    """Encode what objects look like, for other videos to begin with.

    Args:
        model: That is to track the other videos.
        video: In which the objects are known.
        looks: Their masks, by frame and object.
        settings: Of the tracker that will begin with it.
        on_progress: Called with the frames so far and in all.

    Raises:
        VideoError: A frame cannot be decoded.
        ModelError: The model gives no numbers.
    """
    info = video.info
    tracker = VideoTracker(
        model,
        height=info.height,
        width=info.width,
        num_frames=info.num_frames,
        settings=settings,
    )
    for frame_idx, masks in looks.items():
        for obj_id, mask_hw in masks.items():
            tracker.add_mask(obj_id, frame_idx, mask_hw)

    def frames() -> Iterator[Frame]:
        for done, frame_idx in enumerate(sorted(looks)):
            on_progress(done, len(looks))
            yield video.frame(frame_idx)

    tracker.encode_prompts(frames())
    return tracker.state()
