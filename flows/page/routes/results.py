"""The run of the page: start, stop, how far it is; and the masks, lanes and findings of results."""

import base64
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict

from flows.page.routes.pictures import FrameNumber
from flows.page.run_desk import RunDesk, Which
from flows.page.session import PageSession
from flows.page.views import MOST_BINS
from samcore.drawing import object_colour
from samcore.errors import InputError
from samcore.masks.index_picture import index_picture

RUN = "run"
"""Topic of the news: `RunDesk.state`."""
_MOST_PIXELS = 4096
_Side = Annotated[int, Query(ge=1, le=_MOST_PIXELS)]


class _Do(BaseModel):
    model_config = ConfigDict(extra="forbid")

    do: Literal["start", "deploy", "stop"]


def router(session: PageSession) -> APIRouter:
    """Routes of runs and results."""
    routes = APIRouter()
    request = session.request.model_copy(
        update={"prompts": str(session.project.prompts_path), "automatic": None}
    )
    desk = RunDesk(request, folder=session.project.folder, tell=partial(session.news.tell, RUN))
    session.panels.callback(desk.close)

    @routes.get("/run")
    def state() -> dict[str, Any]:
        found = desk.state()
        session.news.tell(RUN, found)
        return found

    @routes.post("/run")
    def run(asked: Annotated[_Do, Body()]) -> dict[str, Any]:
        if asked.do == "stop":
            desk.stop()
        elif session.project.as_prompts() is None:
            raise InputError("nothing to track yet: click on an object, or drag a box around one")
        else:
            desk.start(deployed=asked.do == "deploy")
        return state()

    @routes.get("/redo")
    def redo() -> dict[str, Any]:
        """What a run would track again, with the prompts as they are."""
        return {"revision": session.project.revision, **desk.redo(session.prompts())}

    @routes.get("/result/{frame}")
    def masks(
        frame: FrameNumber, width: _Side, height: _Side, which: Which = "now"
    ) -> dict[str, Any]:
        """All masks of a frame in one picture, see `index_picture`; and whose they are."""
        view = desk.view(which)
        rows = [] if view is None else view.rows(frame)
        picture = index_picture(rows, width=width, height=height)
        return {
            "key": None if view is None else view.key,
            "frame": frame,
            "present": picture.obj_ids,
            "png": base64.b64encode(picture.png).decode("ascii"),
            "objects": [
                {
                    "id": row.object_id,
                    "colour": "#{:02x}{:02x}{:02x}".format(*object_colour(row.object_id)),
                    "score": round(row.confidence, 4),
                    "area": row.area,
                    "prompted": row.prompted,
                }
                for row in rows
            ],
        }

    @routes.get("/lanes")
    def lanes(
        bins: Annotated[int, Query(ge=1, le=MOST_BINS)] = 240, which: Which = "now"
    ) -> dict[str, Any]:
        """All objects along the video, and what to look at; nothing where there is no result."""
        return desk.lanes(bins, which) or {"objects": [], "findings": {"total": 0, "kinds": []}}

    return routes
