"""What arrives: videos for `segment-video`, pictures for `segment-images`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flows.images.plan import PICTURE_SUFFIXES
from flows.images.request import validate_images
from tasks.request.segment_request import validate_request

_Request = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ArrivalKind:
    """One kind of what arrives in buckets, by the flow that is run for it."""

    flow: str
    """Its name."""
    what: str
    """What arrives, in the singular."""
    suffixes: tuple[str, ...]
    """What counts as such if nothing else is said."""
    source: Callable[[str, str | None], _Request]
    """What a request says of an object, by its address and the bucket's name for its version."""
    checked: Callable[[_Request], _Request | None]
    """The request as the run gets it; None if nothing says what to look for. Raises InputError if
    it cannot be carried out."""


def _checked_video(request: _Request) -> _Request | None:
    if request.get("prompts") is not None:
        request.pop("automatic", None)  # as `choose_prompts` does
    elif request.get("automatic") is None:
        return None
    validate_request(**request)
    return request


def _checked_picture(request: _Request) -> _Request | None:
    if all(request.get(name) is None for name in ("prompts", "detector", "everything")):
        return None
    validate_images(**request)
    return request


KINDS = (
    ArrivalKind(
        flow="segment-video",
        what="video",
        # Fewer than a person may name: parts of live streams arrive as .ts, every few seconds.
        suffixes=(".mp4", ".mov", ".mkv", ".webm", ".avi"),
        source=lambda address, version: {"source": address, "source_version": version},
        checked=_checked_video,
    ),
    ArrivalKind(
        flow="segment-images",
        what="picture",
        suffixes=PICTURE_SUFFIXES,
        # The version that is there when the run begins; a later one gets a run of its own.
        source=lambda address, _: {"pictures": [address]},
        checked=_checked_picture,
    ),
)


def kind_of(deployment: str) -> ArrivalKind:
    """What a deployment, FLOW/DEPLOYMENT, is given: that of its flow, or videos."""
    flow = deployment.partition("/")[0]
    return next((kind for kind in KINDS if kind.flow == flow), KINDS[0])
