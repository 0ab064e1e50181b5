"""A Prefect server and a worker as an operator starts them: processes that can be killed."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
_LIMIT_S = 180.0
READY = {
    "PREFECT_API_DATABASE_MIGRATE_ON_START": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    # Imports all collections, Kubernetes too, to know whether their blocks are registered.
    "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}
"""For a server whose database has its tables and types of blocks: it need not look for them."""


class _Process:
    """A `prefect` command with its output in a file."""

    def __init__(self, args: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prefect", *args],
                cwd=ROOT,
                env={**os.environ, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL; what it has started lives on."""
        self.process.kill()
        self.process.wait()


def copy_database(source: str | Path, target: Path) -> None:
    """Copy a database of SQLite that may be in use."""
    with (
        contextlib.closing(sqlite3.connect(source)) as read,
        contextlib.closing(sqlite3.connect(target)) as written,
    ):
        read.backup(written)


class PrefectServer:
    """`prefect server start` on a database and a port of its own; a context manager."""

    def __init__(self, folder: Path, *, migrated: str | Path | None, ui: bool = False) -> None:
        """Copy the database; start nothing.

        Args:
            folder: For its files.
            migrated: A database that has all its tables; None to make them, which takes half a
                minute.
            ui: Serve the pages for a browser, too, beside the API.
        """
        self._ui = ui
        self._folder = folder
        self._is_ready = migrated is not None
        self.database = folder / "prefect.db"
        if migrated is not None:
            copy_database(migrated, self.database)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        self._running: _Process | None = None

    @property
    def url(self) -> str:
        """The address of its API."""
        return f"http://127.0.0.1:{self._port}/api"

    def __enter__(self) -> "PrefectServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, or start it again after a kill; returns when it answers."""
        environment = {
            **(READY if self._is_ready else {}),
            "PREFECT_HOME": str(self._folder),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self.database}",
            "PREFECT_UI_ENABLED": str(self._ui).lower(),
            "PREFECT_UI_API_URL": self.url,
        }
        args = ["server", "start", "--host", "127.0.0.1", "--port", str(self._port)]
        self._running = _Process(args, environment, self._folder / "server.log")
        deadline = time.monotonic() + _LIMIT_S
        while not self._answers():
            if self._running.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server does not start: {self._running.said[-2000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL."""
        if self._running is not None:
            self._running.kill()
            self._running = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return int(answer.status) == 200
        except (OSError, urllib.error.URLError):
            return False


class Worker(_Process):
    """`prefect worker start`, for processes of this machine."""

    def __init__(self, url: str, pool: str, folder: Path, **environment: str) -> None:
        """Start it.

        Args:
            url: The server's API.
            pool: The work pool; made if need be.
            folder: For its files.
            environment: Of the worker and of the runs that it starts.
        """
        super().__init__(
            ["worker", "start", "--pool", pool, "--type", "process", "--limit", "1"],
            {"PREFECT_API_URL": url, "PREFECT_HOME": str(folder), **environment},
            folder / "worker.log",
        )

    def runs(self) -> list[psutil.Process]:
        """The processes of the runs that it has started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
            engines = [child for child in children if _is_engine(child)]
            # A run that starts another program looks like two for a moment, until that is there.
            known = {engine.pid for engine in engines}
            return [engine for engine in engines if engine.ppid() not in known]
        return []

    def stop(self) -> None:
        """SIGKILL, with all that it has started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.send_signal(signal.SIGKILL)
        self.kill()


def _is_engine(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        line = process.cmdline()
        return "prefect.engine" in line or "prefect.flow_engine" in line
    return False


@contextlib.contextmanager
def worker(url: str, pool: str, folder: Path, **environment: str) -> Iterator[Worker]:
    """A worker for the length of the block."""
    started = Worker(url, pool, folder, **environment)
    try:
        yield started
    finally:
        started.stop()
