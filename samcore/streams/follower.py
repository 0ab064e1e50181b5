"""The tracker of a stream, which is given one frame at a time."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import numpy as np
from numpy.typing import NDArray

from samcore.machine.meters import StageClock
from samcore.masks.frame_masks import FrameMasks
from samcore.streams.plan import WatchPlan
from samcore.tracking.detections_ahead import DetectionsAhead
from samcore.tracking.identity_tracker import IdentityTracker
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker
from samcore.video import Frame


class Follower:
    """Makes a stream's tracker, and shows it frames, with what detectors see in them."""

    def __init__(self, plan: WatchPlan) -> None:
        """No frame came yet."""
        self._plan = plan
        self._clock = StageClock()
        self._tracker: VideoTracker | None = None
        self._ahead: DetectionsAhead | None = None

    def begin(self, image_rgb_hwc_u8: NDArray[np.uint8]) -> VideoTracker:
        """A tracker that begins with the stream's first frame, on which the prompts are.

        Raises:
            InputError: A prompt does not fit the picture.
        """
        plan = self._plan
        height, width, _ = image_rgb_hwc_u8.shape
        kind: Callable[..., VideoTracker] = VideoTracker
        if plan.detection is not None:
            kind = partial(IdentityTracker, association=plan.detection.association)
        tracker = kind(
            plan.model, height=height, width=width, settings=plan.settings, clock=self._clock
        )
        for prompt in plan.prompts(width, height):
            tracker.add_prompt(prompt)
        return self._take(tracker)

    def go_on(self, state: TrackerState) -> VideoTracker:
        """A tracker that goes on from a state.

        Raises:
            StateError: It was made with something else.
        """
        kind = VideoTracker if state.identities is None else IdentityTracker
        plan = self._plan
        return self._take(
            kind.from_state(plan.model, state, settings=plan.settings, clock=self._clock)
        )

    def track(self, frame: Frame) -> Iterator[FrameMasks]:
        """Track the next frame, and give the masks that are final then."""
        tracker = self._tracker
        if tracker is None:
            raise RuntimeError("there is no tracker yet")
        if isinstance(tracker, IdentityTracker) and self._ahead is not None:
            found = partial(self._ahead.of, features_of=tracker.features_of)
            return tracker.track(self._ahead.frames([frame]), found)
        return tracker.track([frame])

    def _take(self, tracker: VideoTracker) -> VideoTracker:
        self._tracker = tracker
        detection = self._plan.detection
        if detection is not None:
            self._ahead = DetectionsAhead(
                detection.asked,
                self._plan.model,
                # What came before is gone: a detector that would see it begins anew.
                read=lambda _start, _stop: nullcontext(()),
                batch=1,
                clock=self._clock,
            )
        return tracker
