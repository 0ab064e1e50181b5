"""Frames as pictures, and where keyframes are."""

from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Path, Query, Response

from flows.page.session import PageSession
from samcore.interactive.pictures import WIDTHS

FrameNumber = Annotated[int, Path(ge=0, le=2**31)]


def router(session: PageSession) -> APIRouter:
    """Routes of pictures."""
    routes = APIRouter()

    @routes.get("/frames/{frame}")
    def picture(
        frame: FrameNumber, width: Annotated[int, Query(ge=1, le=WIDTHS[-1])] = 1280
    ) -> Response:
        found = session.pictures.picture(frame, width=width)
        headers = {"x-frame": str(found.frame_idx), "x-time": f"{found.time_s:.6f}"}
        return Response(found.data, media_type="image/jpeg", headers=headers)

    @routes.get("/keyframes/{frame}")
    def keyframe(frame: FrameNumber, to: Literal["next", "previous"]) -> dict[str, int | None]:
        """The nearest keyframe of the video behind or before a frame, as far as it is indexed."""
        index = session.opening.having(0, wait_s=0.0).index
        keys = np.flatnonzero(index.key_n)
        if to == "next":
            place = int(np.searchsorted(keys, frame, side="right"))
            found = int(keys[place]) if place < len(keys) else None
        else:
            place = int(np.searchsorted(keys, frame, side="left"))
            found = int(keys[place - 1]) if place else None
        return {"frame": found}

    return routes
