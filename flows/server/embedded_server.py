"""Prefect's own server as a child process of a command: nothing to start, nothing left behind.

Prefect would start such a server by itself, but a slow disk makes it give up, what it has to say
at its end goes to the person's terminal, a Ctrl-C at the terminal stops it under the run's feet,
after a SIGKILL of the command it would live on, and it would serve everybody on the machine and
every page in their browsers. This one listens to a pipe from the command, which the kernel closes
whatever becomes of the command, and serves only who has the password of this very start.
"""

import contextlib
import gc
import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from samcore.disk.files import check_writable, exclusive
from samcore.errors import SegmentationError
from tasks.settings import embedded_server_environment

if TYPE_CHECKING:
    import uvicorn

_log = logging.getLogger(__name__)
_CHILD = (
    # Not -m: it looks in the folder that the person is in first, which may have flows of its own.
    "import sys; sys.path[:] = [p for p in sys.path if p]; from pathlib import Path; "
    f"from {__name__} import serve; serve(Path(sys.argv[1]))"
)
_HOST = "127.0.0.1"
_START_TIMEOUT_S = 180.0
"""An empty database takes 116 migrations: half a minute on two cores, more on busy ones."""
_LAST_REQUESTS_S = 2
_STOP_TIMEOUT_S = 8.0
"""It takes a third of a second; here it writes what it was told last to its database."""
_POLL_S = 0.1


class ServerError(SegmentationError, RuntimeError):
    """Prefect's server does not start on this machine, or has ended too early."""


class EmbeddedServer:
    """A Prefect server for the length of one command; a context manager."""

    def __init__(self, lock_path: Path) -> None:
        """Begin to start the server; `url` waits for it.

        Args:
            lock_path: Held during the start: two servers must not set up one database.

        Raises:
            StorageError: The lock's folder cannot be written to.
        """
        check_writable(lock_path.parent)
        self.password = f"longtake:{secrets.token_urlsafe(32)}"
        """Clients send it as HTTP's user and password."""
        # A file, not a pipe: no thread reads it while the server runs.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by stop
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(lock_path)],
            env=embedded_server_environment(self.password),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,  # a Ctrl-C at the terminal is for the command
        )
        self._port = 0
        self._is_ready = False
        self._is_stopping = False

    def __enter__(self) -> "EmbeddedServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def has_failed(self) -> bool:
        """Whether it has ended though nobody told it to."""
        return self._is_ready and not self._is_stopping and self._process.poll() is not None

    def url(self) -> str:
        """The address of its API, once it answers.

        Raises:
            ServerError: It does not start.
        """
        if not self._is_ready:
            deadline = time.monotonic() + _START_TIMEOUT_S
            line = self._process.stdout.readline() if self._process.stdout else b""
            if not line:
                raise self._failure("it ended at once")
            self._port = json.loads(line)["port"]
            while not _answers(self._address()):
                if self._process.poll() is not None:
                    raise self._failure(f"it ended with code {self._process.returncode}")
                if time.monotonic() > deadline:
                    raise self._failure(f"no answer in {_START_TIMEOUT_S:g} s")
                time.sleep(_POLL_S)
            self._is_ready = True
            threading.Thread(target=self._watch, name="longtake-server", daemon=True).start()
        return self._address()

    def stop(self) -> None:
        """Let the server end; it does so by itself if that takes it longer than seconds."""
        self._is_stopping = True
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        if not self._is_ready:
            self._process.kill()  # nothing of ours is in it yet
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_TIMEOUT_S)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _address(self) -> str:
        return f"http://{_HOST}:{self._port}/api"

    def _watch(self) -> None:
        """Answer in the server's place once it has failed: its clients would try for minutes."""
        self._process.wait()
        if self._is_stopping:
            return
        _log.warning(
            "Prefect's embedded server has ended (code %d): the run goes on, and is missing in "
            "Prefect's records",
            self._process.returncode,
        )
        with contextlib.suppress(OSError), _Gone((_HOST, self._port), _SayGone) as gone:
            gone.serve_forever()

    def _failure(self, what: str) -> ServerError:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return ServerError(
            f"Prefect's embedded server does not start: {what} ({last}); start one with `prefect "
            "server start` and set PREFECT_API_URL"
        )


class _Gone(ThreadingHTTPServer):
    """Tells the clients of a server that there is no use in trying again."""

    daemon_threads = True
    block_on_close = False


class _SayGone(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        # Read first: a client that cannot send its request takes that for a fault of the network.
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # Prefect prints a traceback for each log that is refused; these are taken, and lost.
        self.send_response(201 if self.path.endswith("/logs/") else 410)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # HTTP's names

    def log_message(self, *_: object) -> None:
        """Say nothing: standard error is the person's."""


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            return int(response.status) == 200
    except (OSError, urllib.error.URLError):
        return False


def serve(lock_path: Path) -> None:
    """Run the server until standard input ends; prints its port as a line of JSON."""
    # Until it has started, what is made stays: to look for what does not costs a quarter of it.
    gc.disable()
    # Here, not above: the command itself imports this module, and does not want the server.
    import uvicorn

    listener = socket.socket()
    # Else nobody can answer in its place while connections of it are closing.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((_HOST, 0))
    config = uvicorn.Config(
        "prefect.server.api.server:create_app",
        factory=True,
        log_level="error",
        lifespan="on",
        timeout_graceful_shutdown=_LAST_REQUESTS_S,
    )
    server = uvicorn.Server(config)
    threading.Thread(target=_end_with_parent, args=(server,), daemon=True).start()
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    lock = contextlib.ExitStack()
    lock.enter_context(exclusive(lock_path))
    threading.Thread(target=_wait_for_start, args=(server, lock), daemon=True).start()
    server.run(sockets=[listener])
    # All is written. Python's own way out waits for ten seconds for threads of the database.
    sys.stderr.flush()
    os._exit(0 if server.started else 1)


def _wait_for_start(server: "uvicorn.Server", lock: contextlib.ExitStack) -> None:
    """Hold the lock until the server has started."""
    while not server.started:
        time.sleep(_POLL_S)
    lock.close()
    gc.freeze()
    gc.enable()


def _end_with_parent(server: "uvicorn.Server") -> None:
    sys.stdin.buffer.read()
    server.should_exit = True
    time.sleep(_STOP_TIMEOUT_S)
    os._exit(0)
