"""Prefect's own server as a child process of a command: nothing to start, nothing left behind.

Prefect would start such a server by itself, but a slow disk makes it give up, what it has to say
at its end goes to the person's terminal, a Ctrl-C at the terminal stops it under the run's feet,
and after a SIGKILL of the command it would live on. This one listens to a pipe from the command,
which the kernel closes whatever becomes of the command.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.disk.files import exclusive
from tasks.settings import embedded_server_environment

if TYPE_CHECKING:
    import uvicorn

_CHILD = (
    # Not -m: it looks in the folder that the person is in first, which may have flows of its own.
    "import sys; sys.path[:] = [p for p in sys.path if p]; from pathlib import Path; "
    "from flows.embedded_server import serve; serve(Path(sys.argv[1]))"
)
_START_TIMEOUT_S = 180.0
"""An empty database takes 116 migrations: half a minute on two cores, more on busy ones."""
_STOP_TIMEOUT_S = 3.0
_POLL_S = 0.1


class ServerError(RuntimeError):
    """Prefect's server does not start on this machine."""


class EmbeddedServer:
    """A Prefect server for the length of one command; a context manager."""

    def __init__(self, lock_path: Path) -> None:
        """Begin to start the server; `url` waits for it.

        Args:
            lock_path: Held during the start: two servers must not set up one database.
        """
        # A file, not a pipe: nobody reads it while the server runs.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by stop
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(lock_path)],
            env=embedded_server_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,  # a Ctrl-C at the terminal is for the command
        )
        self._url: str | None = None

    def __enter__(self) -> "EmbeddedServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self) -> str:
        """The address of its API, once it answers.

        Raises:
            ServerError: It does not start.
        """
        if self._url is None:
            deadline = time.monotonic() + _START_TIMEOUT_S
            line = self._process.stdout.readline() if self._process.stdout else b""
            if not line:
                raise self._failure("it ended at once")
            url = f"http://127.0.0.1:{json.loads(line)['port']}/api"
            while not _answers(url):
                if self._process.poll() is not None:
                    raise self._failure(f"it ended with code {self._process.returncode}")
                if time.monotonic() > deadline:
                    raise self._failure(f"no answer in {_START_TIMEOUT_S:g} s")
                time.sleep(_POLL_S)
            self._url = url
        return self._url

    def stop(self) -> None:
        """Let the server end; it does so by itself if that takes it longer than seconds."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        if self._url is None:
            self._process.kill()  # nothing of ours is in it yet
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_TIMEOUT_S)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _failure(self, what: str) -> ServerError:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return ServerError(
            f"Prefect's embedded server does not start: {what} ({last}); start one with `prefect "
            "server start` and set PREFECT_API_URL"
        )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            return int(response.status) == 200
    except (OSError, urllib.error.URLError):
        return False


def serve(lock_path: Path) -> None:
    """Run the server until standard input ends; prints its port as a line of JSON."""
    # Here, not above: the command itself imports this module, and does not want the server.
    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        "prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on"
    )
    server = uvicorn.Server(config)
    threading.Thread(target=_end_with_parent, args=(server,), daemon=True).start()
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    holds_lock = threading.Event()
    threading.Thread(target=_hold, args=(lock_path, holds_lock, server), daemon=True).start()
    holds_lock.wait()
    server.run(sockets=[listener])


def _hold(lock_path: Path, holds_lock: threading.Event, server: "uvicorn.Server") -> None:
    """Hold the lock until the server has started."""
    with exclusive(lock_path):
        holds_lock.set()
        while not server.started:
            time.sleep(_POLL_S)


def _end_with_parent(server: "uvicorn.Server") -> None:
    sys.stdin.buffer.read()
    server.should_exit = True
    time.sleep(_STOP_TIMEOUT_S)
    os._exit(0)
