"""Edits of objects and prompts."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from flows.page.session import PageSession, shown_project
from samcore.interactive.edits import Edit


class _Made(BaseModel):
    """Made of the state with this revision."""

    model_config = ConfigDict(extra="forbid")

    revision: int = Field(ge=0)


class _EditMade(_Made):
    edit: Edit


def router(session: PageSession) -> APIRouter:
    """Routes of prompts. What they change, all windows hear by the news."""
    routes = APIRouter()
    project = session.project

    @routes.post("/edit")
    def edit(made: Annotated[_EditMade, Body()]) -> dict[str, Any]:
        obj_id = project.edit(made.edit, revision=made.revision, check=session.check)
        return {"project": shown_project(project), "object": obj_id}

    @routes.post("/undo")
    def undo(made: Annotated[_Made, Body()]) -> dict[str, Any]:
        project.undo(revision=made.revision)
        return {"project": shown_project(project)}

    @routes.post("/redo")
    def redo(made: Annotated[_Made, Body()]) -> dict[str, Any]:
        project.redo(revision=made.revision)
        return {"project": shown_project(project)}

    return routes
