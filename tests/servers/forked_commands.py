"""Commands in processes of their own that need not import torch and Prefect first.

One process has imported everything, and forks for each command: a command is as real as any, can
be killed like any, and starts in a tenth of a second, where twenty of them would take minutes.
"""

import contextlib
import gc
import glob
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]


_LATE = (
    "anyio._backends._asyncio",
    "fastapi.encoders",
    "filelock",
    "graphviz",
    "prefect.task_engine",
    "sam2.modeling.backbones.hieradet",
    "sam2.modeling.memory_attention",
    "sam2.modeling.memory_encoder",
    "sam2.modeling.sam.transformer",
    "samcore.models.sam2.adapter",
)
"""What a command imports only where it needs it: half of a short command's time."""


class WarmCommand:
    """A command that runs, or has run."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.pid = pid
        self._folder = folder

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return self._said("out")

    @property
    def err(self) -> str:
        """What it has said so far."""
        return self._said("err")

    def _said(self, name: str) -> str:
        path = self._folder / name
        return path.read_text() if path.exists() else ""  # it is just about to begin

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        path = self._folder / "code"
        return int(path.read_text()) if path.exists() else None

    def wait(self, timeout_s: float = 120.0) -> int:
        """Wait for its end; the exit code."""
        deadline = time.monotonic() + timeout_s
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                self.kill(signal.SIGKILL)
                raise TimeoutError(f"still there after {timeout_s:g} s: {self.err}")
            time.sleep(0.01)
        return code

    def wait_for_halt(self, timeout_s: float = 120.0) -> None:
        """Wait until it has halted, see `start`; it goes on by SIGCONT."""
        process, deadline = psutil.Process(self.pid), time.monotonic() + timeout_s
        while process.status() != psutil.STATUS_STOPPED:
            assert self.poll() is None, self.err
            assert time.monotonic() < deadline, self.err
            time.sleep(0.01)

    def compute(self, enough_s: float) -> float:
        """Wait until it has computed for so long from now, or has ended; for how long it has.

        Not by the clock: on a busy machine a command comes to the same moments later.
        """
        spent = 0.0
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            before = sum(process.cpu_times()[:2])
            while self.poll() is None and spent < enough_s:
                time.sleep(0.002)
                spent = sum(process.cpu_times()[:2]) - before
        return spent

    def kill(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        # It may have ended, and its exit code is written just now.
        with contextlib.suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, number)


class WarmCommands:
    """Starts commands; a context manager, which ends those that are left."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Begin to import.

        Args:
            folder: For what the commands say.
            environment: Beside that of this process; Prefect reads it when it is imported.
        """
        self._folder = folder
        self._number = 0
        self._commands: list[WarmCommand] = []
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "WarmCommands":
        return self

    def __exit__(self, *_: object) -> None:
        for command in self._commands:
            command.kill(signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.kill()  # nothing of it is worth waiting for
        self._process.wait()

    def start(self, args: Sequence[str], *, halt: str = "", **environment: str) -> WarmCommand:
        """Start `longtake ARGS`.

        Args:
            args: The command line.
            halt: A pattern of files. On the first frame that is tracked while there is one, the
                command halts itself, so that nobody on a busy machine comes too late.
            environment: For this command, but for what Prefect reads.
        """
        self._number += 1
        folder = self._folder / f"command-{self._number}"
        folder.mkdir(parents=True)
        order = {"args": list(args), "environment": environment, "folder": str(folder)}
        order["halt"] = halt
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        command = WarmCommand(int(self._process.stdout.readline()), folder)
        self._commands.append(command)
        return command


class Halting:
    """A listener that halts this process once, see `start`."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def __call__(self, progress: Any) -> None:
        if self._pattern and progress.what == "tracking" and glob.glob(self._pattern):
            self._pattern = ""
            os.kill(os.getpid(), signal.SIGSTOP)


def _serve() -> None:
    """Fork for each order on standard input."""
    from tasks.settings import quiet_prefect, set_defaults

    set_defaults()
    quiet_prefect()  # as the command does, before it imports Prefect
    # All of this takes seconds, and is why this process exists.
    import pyarrow as pa

    import flows.cli
    import flows.commands.lines
    import flows.commands.run_local
    import flows.segment_video
    from samcore.progress import listening

    for name in _LATE:
        importlib.import_module(name)
    pa.array([0])  # imports pandas, where it is
    gc.freeze()  # what is here stays: the commands need not look for garbage in it
    for line in sys.stdin:
        order = json.loads(line)
        folder = Path(order["folder"])
        pid = os.fork()
        if pid == 0:
            _become(folder, order)
            with listening(Halting(order["halt"])):
                flows.cli.main()
        threading.Thread(target=_reap, args=(pid, folder), daemon=True).start()
        print(pid, flush=True)


def _become(folder: Path, order: dict[str, object]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(file, number)
        os.close(file)
    os.environ.update(order["environment"])  # type: ignore[call-overload]
    sys.argv = ["longtake", *order["args"]]  # type: ignore[misc]


def _reap(pid: int, folder: Path) -> None:
    _, status = os.waitpid(pid, 0)
    temporary = folder / ".code"
    temporary.write_text(str(os.waitstatus_to_exitcode(status)))
    temporary.rename(folder / "code")


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    _serve()
