"""Fields that requests for pictures and for streams share with those for videos."""

import copy
from typing import Any

from tasks.request.segment_request import SegmentRequest


def as_for_videos(name: str) -> Any:
    """A field that is what it is for videos: its text, default and bounds."""
    return copy.copy(SegmentRequest.model_fields[name])
