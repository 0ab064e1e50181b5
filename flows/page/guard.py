"""Who may talk to the page's server: the window that was given its token, and nobody else."""

import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_HEADER = "x-longtake-token"  # the name of a header
MOST_BODY_BYTES = 16 << 20
"""Of one request: a mask of a large picture with ragged edges fits."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""With every answer: the page loads nothing from elsewhere, and nobody else loads it."""


class Guard:
    """Refuses what does not come from the page itself.

    - `Host` must be this server's own: a name that somebody else lets point to 127.0.0.1 (DNS
      rebinding) is another one.
    - `Origin`, where a browser sends one, must be this server's, too.
    - What is below /api/ wants the token in a header. No cookie holds it: a browser sends cookies
      to all servers of this machine, and without being asked.
    """

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        """Guard an app.

        Args:
            app: What answers.
            token: What the address that the person was given ends in.
            port: On which the server listens.
        """
        self._app = app
        self._token = token.encode()
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the page has no web sockets

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = self._refuse(scope)
        if refused is not None:
            status, why = refused
            await JSONResponse({"error": why}, status)(scope, receive, send_with_headers)
            return
        await self._app(scope, _bounded(receive), send_with_headers)

    def _refuse(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        if headers.getlist("host")[1:] or headers.get("host") not in self._hosts:
            return 421, "this server is for 127.0.0.1 alone"
        if any(origin not in self._origins for origin in headers.getlist("origin")):
            return 403, "another site's page cannot use this server"
        if int(_digits(headers.getlist("content-length"))) > MOST_BODY_BYTES:
            return 413, f"wanted at most {MOST_BODY_BYTES} bytes"
        if scope["path"].startswith("/api/"):
            given = headers.get(TOKEN_HEADER, "").encode(errors="replace")
            if not hmac.compare_digest(given, self._token):
                return 401, "open the address that `longtake open` printed; its end is the key"
        return None


def _digits(values: Iterable[str]) -> str:
    return next((value for value in values if value.isascii() and value.isdigit()), "0")


def _bounded(receive: Receive) -> Receive:
    """The same, which fails where a body is longer than it may be."""
    total = 0

    async def bounded() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > MOST_BODY_BYTES:
            return {"type": "http.disconnect"}
        return message

    return bounded
