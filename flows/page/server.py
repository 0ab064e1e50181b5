"""The server of the page: one process, one video, this machine alone."""

import contextlib
import secrets
import socket
import threading
from collections.abc import Iterator

import uvicorn

from flows.page.app import make_app
from flows.page.session import PageSession
from samcore.errors import InputError

HOST = "127.0.0.1"
_TOKEN_BYTES = 24
_GRACE_S = 2


def listen_on(port: int) -> socket.socket:
    """A socket of this machine's own address alone; port 0 is any that is free.

    Raises:
        InputError: The port is in use, or not allowed.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise InputError(
            f"--port {port}: {error.strerror}; choose another one, or leave it out"
        ) from error
    return listening


class PageServer:
    """Serves one session, from a thread."""

    def __init__(self, session: PageSession, listening: socket.socket) -> None:
        """Nothing is served yet.

        Args:
            session: What the page shows.
            listening: From `listen_on`.
        """
        self._listening = listening
        self._session = session
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self.address = f"http://{HOST}:{port}/#{token}"
        """What to open in a browser. The token is behind the #: browsers send that to nobody."""
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(session, token=token, port=port),
                log_level="critical",  # what goes wrong is said on the page
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Serve within the block; gives the address."""
        thread = threading.Thread(
            target=self._server.run, args=([self._listening],), name="longtake-page"
        )
        thread.start()
        try:
            yield self.address
        finally:
            self._session.news.close()
            self._server.should_exit = True
            thread.join()
