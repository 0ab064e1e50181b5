"""Masks of the prompts on a frame."""

from typing import Any

from fastapi import APIRouter

from flows.page.routes.pictures import FrameNumber
from flows.page.session import PageSession
from samcore.masks.rle import Rle


def coco(rle: Rle) -> dict[str, Any]:
    """A mask as the page takes it: COCO's run lengths."""
    return {"size": [rle.height, rle.width], "counts": rle.counts.decode("ascii")}


def router(session: PageSession) -> APIRouter:
    """Routes of masks."""
    routes = APIRouter()

    @routes.post("/encode/{frame}")
    def encode(frame: FrameNumber) -> dict[str, bool]:
        """Have a frame encoded, so that the next click on it costs the decoder alone."""
        session.clicks().encode(frame)
        return {"done": True}

    @routes.get("/masks/{frame}")
    def masks(frame: FrameNumber) -> dict[str, Any]:
        """The masks of all prompts on a frame, and the revision of the prompts that they are of."""
        revision = session.project.revision
        prompts = session.prompts_on(frame)
        found = session.clicks().masks(prompts) if prompts else []
        return {
            "revision": revision,
            "masks": [
                {
                    "id": one.obj_id,
                    "mask": coco(one.rle),
                    "area": one.rle.area,
                    "score": round(one.object_score, 3),
                    "iou": round(one.predicted_iou, 4),
                }
                for one in found
            ],
        }

    return routes
