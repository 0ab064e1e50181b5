"""What a page knows of the runs and results of one request: starts them, stops them, shows them."""

import contextlib
import shlex
import shutil
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from flows.cli.command_line import track_words
from flows.page.deployed_run import DeployedRun
from flows.page.redo import what_to_redo, why_everything
from flows.page.run_process import RunProcess
from flows.page.views import PublishedView, RunView, View, keep_copy, prompts_of
from samcore.disk.files import storage_errors
from samcore.errors import InputError, LostWorkError, SegmentationError
from samcore.masks.row import MaskRow
from samcore.prompts.prompt import Prompt
from samcore.result.folder import LocalResults
from samcore.result.manifest import Manifest
from samcore.result.store import ResultStore
from samcore.run.folder import RunFolder
from samcore.run.so_far import newest_run
from tasks.request.segment_request import SegmentRequest
from tasks.results.open import open_result_store
from tasks.settings import has_prefect_server

Which = Literal["now", "before"]
_BEFORE, _REPLACED = "before", "replaced"
_EVERY_S = 0.5
"""A run that goes on is looked at so often."""
_ASKED_EVERY_S = 3.0
"""The same of one that a Prefect server is asked about."""

_NOTHING: dict[str, Any] = {
    "state": "unknown",
    "running": False,
    "deployed": False,
    "line": "",
    "stopping": False,
    "failed": "",
    "command": "",
    "can_deploy": False,
    "key": None,
    "covered": [],
    "chunks": None,
    "before": None,
}
"""What a page is told where nothing can be said."""


class RunDesk:
    """Everything of *Run* and *Judge* that is not the page itself. Calls come from several threads.

    PAGE/run.json, run.log    the process that tracks
    PAGE/deployed.json        or the flow run
    PAGE/before/              the result that the last run replaces
    """

    def __init__(
        self, request: SegmentRequest, *, folder: Path, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        """Find what an earlier page has left, and watch it; nothing is started.

        Args:
            request: What is asked; its prompts are a file, which need not exist yet.
            folder: The page's own.
            tell: Is given `state` whenever it has changed.
        """
        self.request = request
        """What is asked."""
        self._folder, self._tell = folder, tell
        self._process = RunProcess(folder)
        self._deployed = DeployedRun(folder)
        self._lock = threading.RLock()
        self._view: View | None = None
        self._before: PublishedView | None = None
        self._manifest: Manifest | None = None
        self._there = False
        self._why: tuple[str, str | None] | None = None
        self._closed, self._begun = threading.Event(), threading.Event()
        threading.Thread(target=self._watch, name="longtake-run", daemon=True).start()

    def words(self, *, force: bool = False) -> list[str]:
        """The command line of the run, behind `longtake`."""
        return track_words(self._asked(force=force))

    def start(self, *, deployed: bool = False) -> None:
        """Start a run, or go on with it. A result that is there is kept as the one before.

        Args:
            deployed: By the deployment of the Prefect server that the environment names.

        Raises:
            SegmentationError: It cannot be started; in one line.
        """
        with self._lock:
            if self.is_running:
                raise InputError("a run is going on already: stop it first")
            store = self._store()
            there = store.published_key() is not None
            if there and not isinstance(self._look(False), RunView):
                self._forget_before()
                keep_copy(store, self._folder / _REPLACED)
            if deployed:
                self._deployed.start(self._asked(force=there))
            else:
                self._process.start(self.words(force=there))
                self._deployed.forget()
        self._begun.set()

    def stop(self) -> None:
        """Tell the run to save where it is and end; returns at once.

        Raises:
            ServerAwayError: The Prefect server does not answer.
        """
        if self._deployed.record is not None:
            self._deployed.stop()
        else:
            self._process.stop()

    @property
    def is_running(self) -> bool:
        """Whether a run goes on."""
        if self._deployed.record is not None:
            with contextlib.suppress(SegmentationError):
                return self._deployed.state()[0]
        return self._process.is_running

    def state(self) -> dict[str, Any]:
        """Everything that changes while a run goes on, as JSON. What is to be seen is looked for
        anew.

        Raises:
            SegmentationError: The result is damaged, or cannot be read.
        """
        with self._lock:
            running, line, stopping = self._news()
            view = self._look(running)
            found: dict[str, Any] = _NOTHING | {
                "running": running,
                "deployed": self._deployed.record is not None,
                "line": line,
                "stopping": stopping,
                "failed": line if _is_failure(line) and not running else "",
                "command": shlex.join(["longtake", *self.words(force=self._there)]),
                "can_deploy": has_prefect_server(),
                "state": "running" if running else "none",
                "before": self._kept().published_key(),
            }
            if isinstance(view, PublishedView):
                found["state"] = "running" if running else "done"
                count = len(view.manifest.request.chunks)
                found["chunks"] = {"total": count, "done": count, "at_work": []}
            if isinstance(view, RunView):
                found["state"] = "running" if running else "stopped"
                states = [one.state for one in view.chunks]
                found["chunks"] = {
                    "total": len(states),
                    "done": states.count("done"),
                    "at_work": [
                        [one.chunk.start, one.chunk.stop]
                        for one in view.chunks
                        if one.state == "at work"
                    ],
                }
            if view is not None:
                found |= {"key": view.key, "covered": view.covered}
            return found

    def view(self, which: Which = "now") -> View | None:
        """What is to be seen since `state` was asked last; None if there is nothing.

        Args:
            which: The run that is at work or else the result; or the result before the last run.

        Raises:
            SegmentationError: It is damaged, or cannot be read.
        """
        with self._lock:
            if which == "now":
                return self._view
            if self._before is None:
                store = self._kept()
                manifest = store.listed()
                if manifest is not None:
                    self._before = PublishedView(manifest, store.fetch)
            return self._before

    def rows(self, frame: int, which: Which = "now") -> list[MaskRow]:
        """The masks of one frame."""
        view = self.view(which)
        return [] if view is None else view.rows(frame)

    def lanes(self, bins: int, which: Which = "now") -> dict[str, Any] | None:
        """Lanes and findings; None if there is nothing."""
        view = self.view(which)
        return None if view is None else view.lanes(bins)

    def redo(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """What a run with these prompts would track again of the result, see `what_to_redo`;
        nothing where there is none, or a run goes on."""
        view = self.view()
        if not isinstance(view, PublishedView):
            return {"changed": False, "text": ""}
        manifest, work_dir = view.manifest, self.request.work_path
        if self._why is None or self._why[0] != manifest.key:
            in_bucket = not isinstance(self.request.destination_place, Path)
            self._why = (manifest.key, why_everything(manifest, work_dir, in_bucket=in_bucket))
        return what_to_redo(manifest, prompts, work_dir, why=self._why[1])

    def close(self) -> None:
        """Watch no more, and close all files. A run goes on."""
        self._closed.set()
        self._begun.set()
        with self._lock:
            for view in (self._view, self._before):
                if view is not None:
                    view.close()

    def _asked(self, *, force: bool) -> SegmentRequest:
        return self.request.model_copy(update={"force": force})

    def _watch(self) -> None:
        while True:
            self._begun.clear()
            if self._closed.is_set():  # after `clear`, which may have undone what `close` has set
                return
            try:
                state = self.state()
                goes_on = state["running"]
            except SegmentationError as error:
                state = _NOTHING | {"line": str(error)}
                goes_on = self.is_running  # and may just be replacing what could not be read
            self._tell(state)
            every_s = _EVERY_S if self._deployed.record is None else _ASKED_EVERY_S
            self._begun.wait(every_s if goes_on else None)

    def _news(self) -> tuple[bool, str, bool]:
        """Whether a run goes on, a line about it, and whether it was told to stop."""
        if self._deployed.record is not None:
            try:
                return *self._deployed.state(), False
            except SegmentationError as error:
                return True, str(error), False
        state = self._process.state()
        return state.is_running, state.line, state.is_stopping

    def _look(self, running: bool) -> View | None:
        """Find what is to be seen: a run that is newer than the result, or the result."""
        if (
            not running
        ):  # a run changes it at its end alone, and a bucket is not asked twice a second
            store = self._store()
            self._there = store.published_key() is not None
            self._manifest = store.listed()
        folder = self._newest()
        if not running and folder is None and self._manifest is not None:
            self._settle(self._manifest)
        if folder is None:
            self._show_result(self._manifest)
        elif isinstance(self._view, RunView) and self._view.folder.path == folder.path:
            self._view.look()
        else:
            with contextlib.suppress(LostWorkError):
                self._show(RunView(folder))
        return self._view

    def _kept(self) -> LocalResults:
        replaced = LocalResults(self._folder / _REPLACED)
        there = replaced.published_key() is not None
        return replaced if there else LocalResults(self._folder / _BEFORE)

    def _settle(self, manifest: Manifest) -> None:
        """A run is over: what it has replaced is the one before, unless it found the same."""
        replaced = self._folder / _REPLACED
        key = LocalResults(replaced).published_key()
        if key is None:
            return
        self._forget_before()
        with storage_errors(replaced, "write"):
            if key != manifest.key:
                shutil.rmtree(self._folder / _BEFORE, ignore_errors=True)
                replaced.rename(self._folder / _BEFORE)
            else:
                shutil.rmtree(replaced)

    def _forget_before(self) -> None:
        if self._before is not None:
            self._before.close()
            self._before = None

    def _show_result(self, manifest: Manifest | None) -> None:
        if manifest is None:
            self._show(None)
        elif not isinstance(self._view, PublishedView) or self._view.manifest != manifest:
            prompts = prompts_of(manifest, self.request.work_path) or ()
            self._show(PublishedView(manifest, self._store().fetch, prompts))

    def _show(self, view: View | None) -> None:
        if self._view is not None:
            self._view.close()
        self._view = view

    def _newest(self) -> RunFolder | None:
        """The folder of the run that is newer than the result; None if there is none."""
        since = 0.0
        if self._manifest is not None:
            since = datetime.fromisoformat(self._manifest.finished_at).timestamp()
        source = str(self.request.source_place)
        folder = newest_run(self.request.work_path, source, since=since)
        finished = None if self._manifest is None else self._manifest.request.work_key
        return None if folder is None or folder.path.name == finished else folder

    def _store(self) -> ResultStore[Manifest]:
        return open_result_store(self.request.destination_place, self.request.credentials)


def _is_failure(line: str) -> bool:
    """Whether a command that said this last has failed, and was not just stopped."""
    return line.startswith("longtake: ") and not line.startswith("longtake: stopped")
