"""The web application of the page."""

from collections.abc import Callable

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse

from flows.page.guard import Guard
from flows.page.routes import candidates, masks, news, pictures, prompts, results, static
from flows.page.session import PageSession
from samcore.errors import SegmentationError
from samcore.interactive.project import StaleRevision

ROUTERS: tuple[Callable[[PageSession], APIRouter], ...] = (
    news.router,
    pictures.router,
    prompts.router,
    masks.router,
    candidates.router,
    results.router,
)
"""What the page may ask for; a panel adds its own. All lies below /api/, behind the token."""


def make_app(session: PageSession, *, token: str, port: int) -> Guard:
    """The application for one video.

    Args:
        session: What it shows.
        token: Whoever has it may do everything.
        port: On which the server will listen.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for router in ROUTERS:
        app.include_router(router(session), prefix="/api")
    app.include_router(static.router())

    @app.exception_handler(SegmentationError)
    async def say(_: Request, error: Exception) -> JSONResponse:
        status = 409 if isinstance(error, StaleRevision) else 422
        return JSONResponse({"error": " ".join(str(error).split())}, status)

    return Guard(app, token=token, port=port)
