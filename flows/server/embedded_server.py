"""Prefect's own server for commands: nothing to start, nothing left behind.

Prefect would start such a server by itself, but a slow disk makes it give up, what it has to say
at its end goes to the person's terminal, a Ctrl-C at the terminal stops it under the run's feet,
and it would serve everybody on the machine and every page in their browsers.

Commands of one person share a server. The first one starts it. It stays for a while after the last
one, however that ended, since its start takes seconds; then it ends by itself.
"""

import contextlib
import logging
import os
import secrets
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from flows.commands.process import child_command
from flows.server.meeting_place import HOST, Address, MeetingPlace
from samcore.disk.files import check_writable
from samcore.disk.locks import open_locked, try_open_locked
from samcore.errors import SegmentationError
from tasks.settings import embedded_server_environment

_log = logging.getLogger(__name__)
_CODE = (
    "from pathlib import Path; from flows.server.server_process import serve; "
    "serve(Path(sys.argv[1]), float(sys.argv[2]))"
)
_START_TIMEOUT_S = 180.0
"""An empty database takes 116 migrations: half a minute on two cores, more on busy ones."""
_END_TIMEOUT_S = 10.0
"""A server that has nobody to serve ends in a second, and is killed by itself after eight."""
_POLL_S = 0.1
_outliving: list[subprocess.Popen[bytes]] = []
"""Servers that this process has started and that stay. Python would warn of those it forgets."""


class ServerError(SegmentationError, RuntimeError):
    """Prefect's server does not start on this machine, or has ended too early."""


class EmbeddedServer:
    """A Prefect server for as long as a command uses it; a context manager."""

    def __init__(self, cache_dir: Path, *, linger_s: float) -> None:
        """Find the server, or begin to start one; `url` waits for it.

        Args:
            cache_dir: Of Longtake; commands meet the server in a folder of it.
            linger_s: For how many seconds the server stays without a command. For 0 it ends with
                the last one, and `stop` waits for that.

        Raises:
            StorageError: The folder cannot be written to.
        """
        self._place = MeetingPlace.in_cache(cache_dir)
        check_writable(self._place.folder)
        self._linger_s = linger_s
        self._is_stopping = False
        self._address: Address | None = None
        self._process: subprocess.Popen[bytes] | None = None
        # A file, not a pipe: no thread reads it while the server runs.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by stop
        # First the lock, then the look: a server that is found after that stays.
        self._use = open_locked(self._place.users_lock, shared=True)
        self._found = self._place.living()
        if self._found is None:
            self._process = self._begin()

    def __enter__(self) -> "EmbeddedServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def password(self) -> str:
        """Clients send it as HTTP's user and password. Waits as `url` does."""
        return self._ready().password

    @property
    def has_failed(self) -> bool:
        """Whether it has ended though it is in use."""
        return self._address is not None and not self._is_stopping and not self._place.is_alive()

    def url(self) -> str:
        """The address of its API, once it answers.

        Raises:
            ServerError: It does not start.
        """
        return self._ready().url

    def stop(self) -> None:
        """Let go of the server, which ends some time after the last command that uses it."""
        self._is_stopping = True
        os.close(self._use)
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        if not self._linger_s:
            self._await_end()
        if self._process is not None and self._process.poll() is None:
            _outliving.append(self._process)
        self._said.close()

    def _begin(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            child_command(_CODE, str(self._place.folder), str(self._linger_s)),
            env=embedded_server_environment(f"longtake:{secrets.token_urlsafe(32)}"),
            cwd=self._place.folder,  # the person may want to remove the one that they are in
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,  # a Ctrl-C at the terminal is for the command
        )

    def _ready(self) -> Address:
        if self._address is None:
            self._address = self._await_start()
            port = self._address.port
            threading.Thread(
                target=self._watch, args=(port,), name="longtake-server", daemon=True
            ).start()
        return self._address

    def _await_start(self) -> Address:
        deadline = time.monotonic() + _START_TIMEOUT_S
        address = self._found or self._told()
        while not _answers(address.url):
            if not self._place.is_alive():
                raise self._failure("it ended before it answered")
            if time.monotonic() > deadline:
                raise self._failure(f"no answer in {_START_TIMEOUT_S:g} s")
            time.sleep(_POLL_S)
        return address

    def _told(self) -> Address:
        """What the process says that was started; it may have found a server of another one."""
        pipe = self._process.stdout if self._process is not None else None
        line = b"" if pipe is None else pipe.readline()
        if not line:
            raise self._failure("it ended at once")
        return Address.model_validate_json(line)

    def _await_end(self) -> None:
        """Wait until the server has ended, unless another command uses it."""
        own = self._process
        if own is not None and self._address is None:
            own.kill()  # nothing of ours is in it yet
        deadline = time.monotonic() + _END_TIMEOUT_S
        while self._place.is_alive() or (own is not None and own.poll() is None):
            unused = try_open_locked(self._place.users_lock)
            if unused is None:
                return
            os.close(unused)
            if own is not None and time.monotonic() > deadline:
                own.kill()
                own.wait()
                return
            time.sleep(_POLL_S)

    def _watch(self, port: int) -> None:
        """Answer in the server's place once it has failed: its clients would try for minutes."""
        while self._place.is_alive():
            if self._is_stopping:
                return
            time.sleep(_POLL_S)
        _log.warning(
            "Prefect's embedded server has ended: the run goes on, and is missing in Prefect's "
            "records"
        )
        # Another command may have been quicker, but may end sooner.
        while not self._is_stopping:
            with contextlib.suppress(OSError), _Gone((HOST, port), _SayGone) as gone:
                gone.serve_forever()
            time.sleep(_POLL_S)

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
        # Prefect prints a traceback for each log that is refused: they are taken, and lost. It asks
        # for a token before it sends logs; a server that knows no tokens says 404, and gets them
        # without one.
        path = self.path.partition("?")[0]
        known = {"/logs/": 201, "/csrf-token": 404}
        self.send_response(next((code for end, code in known.items() if path.endswith(end)), 410))
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
