"""The page's own files, by name: read once, and no path is made of what a browser asks for."""

from importlib.resources import files

from fastapi import APIRouter, HTTPException, Response

_KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def router() -> APIRouter:
    """Routes of the page's files."""
    routes = APIRouter()
    known = {
        item.name: (item.read_bytes(), _KINDS[item.name.rpartition(".")[2]])
        for item in (files("flows.page") / "static").iterdir()
        if item.name.rpartition(".")[2] in _KINDS
    }

    @routes.get("/")
    def page() -> Response:
        return static("index.html")

    @routes.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in known:
            raise HTTPException(404)
        data, kind = known[name]
        return Response(data, media_type=kind)

    return routes
