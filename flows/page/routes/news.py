"""What changes: one request that waits, and is answered as soon as there is news."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from flows.page.session import PageSession

_WAIT_S = 20.0


def router(session: PageSession) -> APIRouter:
    """Routes of the news."""
    routes = APIRouter()

    @routes.get("/news")
    def news(
        since: Annotated[int, Query(ge=0)] = 0, wait: Annotated[bool, Query()] = True
    ) -> dict[str, Any]:
        version, topics = session.news.since(since, wait_s=_WAIT_S if wait else 0.0)
        return {"version": version, "topics": topics}

    return routes
