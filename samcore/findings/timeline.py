"""Lanes as a browser draws them: a byte a bin, whatever the video's length."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samcore.drawing import object_colour
from samcore.findings.finding import Findings, kinds
from samcore.findings.lanes import LaneReport, probability


def timeline(report: LaneReport, labels: Mapping[int, str | None]) -> dict[str, Any]:
    """All objects along the video, to be sent as JSON.

    Of each object: its id, label, colour, first frame, frames, frames on which it is present, and
    two lanes in base64, a byte a bin. `present` is 0 where the object has no frame, else 1 to 101:
    1 + percent of its frames on which it is present. `score` is 0 where it is not present, else 1
    to 101: 1 + percent of the least probability that it is in the frame. Both are None for an
    object that is one of too many to be drawn.

    Args:
        report: The lanes.
        labels: What objects are called, by id.
    """
    return {
        "start": report.start,
        "stop": report.stop,
        "bins": report.bins,
        "objects": [
            {
                "id": item.object_id,
                "label": labels.get(item.object_id),
                "colour": "#{:02x}{:02x}{:02x}".format(*object_colour(item.object_id)),
                "first": item.first_frame,
                "frames": item.frames,
                "shown": item.present,
                "present": None
                if item.lane is None
                else _present(item.lane.frames_b, item.lane.present_b),
                "score": None if item.lane is None else _score(item.lane.score_b),
            }
            for item in report.objects
        ],
    }


def finding_list(findings: Findings) -> dict[str, Any]:
    """What to look at, to be sent as JSON: how many of each kind, and the worst of each."""
    headings = kinds()
    return {
        "total": findings.total,
        "kinds": [
            {
                "kind": kind,
                "heading": headings[kind],
                "count": findings.counts[kind],
                "worst": [
                    {"frame": one.frame, "object": one.object_id, "text": one.text}
                    for one in findings.worst(kind)
                ],
            }
            for kind in headings
            if findings.counts.get(kind)
        ],
    }


def _present(frames_b: NDArray[np.int64], present_b: NDArray[np.int64]) -> str:
    share_b = np.divide(present_b, frames_b, out=np.zeros(len(frames_b)), where=frames_b > 0)
    return _encoded(np.where(frames_b > 0, 1 + np.round(100 * share_b), 0))


def _score(score_b: NDArray[np.float64]) -> str:
    chance_b = np.array([0.0 if np.isnan(one) else probability(one) for one in score_b])
    return _encoded(np.where(np.isnan(score_b), 0, 1 + np.round(100 * chance_b)))


def _encoded(values_b: NDArray[np.float64]) -> str:
    return base64.b64encode(values_b.astype(np.uint8).tobytes()).decode("ascii")
