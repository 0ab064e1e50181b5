"""What detectors find on a frame, to be taken for objects by a click."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from flows.page.routes.masks import coco
from flows.page.routes.pictures import FrameNumber
from flows.page.session import PageSession
from samcore.detectors.detector import DETECTORS, fetch_detector, make_detector
from samcore.errors import InputError
from samcore.prompts.automatic import AutomaticPrompts

_MOST = 60


class _Look(BaseModel):
    model_config = ConfigDict(extra="forbid")

    detector: int = Field(ge=0)
    """Which one of the list."""
    text: str = Field(default="", max_length=200)
    """What to look for, for those that take text."""


def offered() -> list[tuple[str, str, bool]]:
    """Detectors that need no file: how people name each, a line about it, whether it takes text.

    Those that look at one picture alone: before a clicked frame nothing was seen.
    """
    found = []
    for entry in DETECTORS:
        if entry.by_number or entry.lookback or (entry.takes and not entry.choices):
            continue
        names = [f"{entry.name}:{choice}" for choice in entry.choices] or [entry.name]
        found += [(name, entry.about, entry.takes_text) for name in names]
    return found


def router(session: PageSession) -> APIRouter:
    """Routes of candidates."""
    routes = APIRouter()

    @routes.get("/detectors")
    def detectors() -> dict[str, Any]:
        return {
            "detectors": [
                {"id": number, "name": name, "about": about, "takesText": takes_text}
                for number, (name, about, takes_text) in enumerate(offered())
            ]
        }

    @routes.post("/candidates/{frame}")
    def candidates(frame: FrameNumber, look: Annotated[_Look, Body()]) -> dict[str, Any]:
        """What one of them finds on a frame, best first."""
        known = offered()
        if look.detector >= len(known):
            raise InputError(f"there is no detector {look.detector}: there are {len(known)}")
        name, _, takes_text = known[look.detector]
        words = look.text.strip() if takes_text else ""
        if takes_text and not words:
            raise InputError(f"{name} looks for what a text says: type what to look for")
        options = AutomaticPrompts(detector=name, text=(words,) if words else (), max_objects=_MOST)
        clicks = session.clicks()
        fetch_detector(options, model=session.model, cache_dir=session.settings.cache_dir)
        image = session.opening.having(frame, wait_s=0.0).frame(frame).image_rgb_hwc_u8
        from samcore.images.segmenter import ImageSegmenter  # late, like all of torch

        with clicks.model() as model:
            detector = make_detector(options, model, batch=1)
            (found,) = ImageSegmenter(model).detected([image], detector, options)
        return {
            "candidates": [
                {
                    "mask": coco(one.rle),
                    "score": round(one.score, 3),
                    "label": one.label or "",
                    "area": one.area,
                }
                for one in found.masks
            ]
        }

    return routes
