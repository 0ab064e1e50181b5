"""Processes that share a run with this one, one for each further device."""

import contextlib
import logging
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from prefect.settings import get_current_settings

from flows.commands.process import child_command
from flows.images.device_process import Said
from flows.images.plan import ImagesRun
from samcore.beside import Beside
from samcore.chunks.plan import Chunk
from samcore.picture_runs.progress import PictureProgress
from samcore.progress import counted
from samcore.video.ending import why_died
from tasks.settings import child_environment

_log = logging.getLogger(__name__)
_CODE = "from flows.images.device_process import work_off; work_off(*sys.argv[1:])"
_GRACE_S = 30.0
"""For the batch that a process is at; a shard that is not done is done again."""


class DeviceProcesses:
    """Does shards of a run on further devices while the block runs; at its end all have ended.

    A context manager. Processes that end too early are warned of: the kernel unlocks the shard
    that one was at, and others do it.
    """

    def __init__(self, run: ImagesRun, devices: Sequence[str], progress: PictureProgress) -> None:
        """Nothing is started before the block is entered.

        Args:
            run: Laid out.
            devices: One for each process.
            progress: Told of what they do.
        """
        self._news = threading.Event()
        self.nothing_left = threading.Event()
        """Set when one of them has seen that all shards are done."""
        self._processes = [_Process(run, device, progress, self._on_news) for device in devices]

    def __enter__(self) -> "DeviceProcesses":
        with contextlib.ExitStack() as stack:
            for process in self._processes:
                if process.start():
                    stack.enter_context(Beside(process.follow))
                    stack.callback(process.wait)
            stack.callback(self._tell)  # first all are told to stop, then each is waited for
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def wait(self, seconds: float) -> None:
        """Wait so long, or until one of the processes has ended a shard, or itself."""
        self._news.wait(seconds)
        self._news.clear()

    def _on_news(self, *, nothing_left: bool) -> None:
        if nothing_left:
            self.nothing_left.set()
        self._news.set()

    def _tell(self) -> None:
        for process in self._processes:
            process.tell()


class _Process:
    """One process on one device."""

    def __init__(
        self,
        run: ImagesRun,
        device: str,
        progress: PictureProgress,
        on_news: Callable[..., None],
    ) -> None:
        self._run = run
        self._device = device
        self._progress = progress
        self._on_news = on_news
        self._process: subprocess.Popen[bytes] | None = None
        # A file, not a pipe: no thread reads it while the process runs.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed by follow
        self._is_told = False
        self._error = ""

    def start(self) -> bool:
        """Start it; False, and a warning, if this machine does not give another process."""
        try:
            self._process = subprocess.Popen(
                child_command(_CODE, self._run.ref.model_dump_json(), self._device),
                # As Prefect does: credentials may be known to its server alone.
                env=child_environment(
                    get_current_settings().to_environment_variables(exclude_unset=True)
                ),
                stdin=subprocess.PIPE,  # closed by the kernel if this process is killed
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,  # a Ctrl-C at the terminal is for this process
            )
        except OSError as error:
            self._stderr.close()
            _log.warning("no process for %s: %s; the others do its work", self._device, error)
            return False
        return True

    def follow(self, _check: Callable[[], None]) -> None:
        """Take what it says until it has ended; for a thread."""
        process = self._started()
        with self._stderr:
            at = self._listen(process)
            code = process.wait()
            why = self._error or self._last_line() or why_died(code) or f"exit code {code}"
        if code and at is not None:
            self._progress.at(at, 0)
        if code and not self._is_told:
            _log.warning("the process on %s ended: %s; the others do its work", self._device, why)
        self._on_news(nothing_left=code == 0)

    def _listen(self, process: subprocess.Popen[bytes]) -> Chunk | None:
        """Pass on what it says, to the last line; the shard that it has begun and not done."""
        if process.stdout is None:
            raise RuntimeError("Popen gave no pipe")
        at: Chunk | None = None
        with process.stdout as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # it was killed in the middle of it
                said = Said.model_validate_json(line)
                if said.warning:
                    _log.warning("%s: %s", self._device, said.warning)
                self._error = said.error or self._error
                if said.shard is None:
                    continue
                at = self._run.record.shards[said.shard]
                if not said.is_done:
                    self._progress.at(at, said.pictures)
                    continue
                self._progress.end(at)
                pictures = counted(at.stop - at.start, "picture")
                _log.info("shard %d: %s on %s", at.index, pictures, self._device)
                self._on_news(nothing_left=False)
                at = None
        return at

    def tell(self) -> None:
        """Tell it to stop, as a signal does: at its next good moment."""
        self._is_told = True
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def wait(self) -> None:
        """Wait for its end, but not for ever, and not after another signal."""
        process = self._started()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the process was not started")
        return self._process

    def _last_line(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
