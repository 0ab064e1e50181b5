"""What a command shows on the terminal: one bar, one line an error."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
)

from tasks.progress.events import Throttle, TrackProgress, clock, describe

_LINE_INTERVAL_S = 5.0


class Terminal:
    """Standard error for people: a live bar on a terminal, a plain line now and then elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to `stream`, else to standard error as it is now."""
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._may_print = Throttle(_LINE_INTERVAL_S, at_once=False)
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._shown = ""

    def say(self, line: str) -> None:
        """Print a line; a bar that is shown stays below it."""
        self._console.print(line, markup=False)

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Show bars while the block runs."""
        if not self._console.is_terminal:
            yield
            return
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),  # all of the line fits into 80 columns
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            transient=True,
        ) as progress:
            self._progress = progress
            try:
                yield
            finally:
                self._progress = None
                self._bar = None

    def scan(self, done: int, total: int | None) -> None:
        """The video is being scanned: frames so far, and how many there may be."""
        self._show("scanning the video", done, total, "frames")

    def download(self, done: int, total: int | None) -> None:
        """A checkpoint is being downloaded: bytes so far, and how many there are."""
        mega = None if total is None else round(total / 1e6)
        self._show("downloading the model", round(done / 1e6), mega, "MB")

    def fetch(self, done: int, total: int | None) -> None:
        """A video is being downloaded: bytes so far, and how many there are."""
        mega = None if total is None else round(total / 1e6)
        self._show("downloading the video", round(done / 1e6), mega, "MB")

    def training(self, step: int, steps: int, note: str) -> None:
        """A model is being trained: steps so far, and how many there will be."""
        if self._progress is not None:
            self._update("training", step, steps, note)
        elif self._may_print() or step == steps:
            self.say(f"training: step {step} of {steps}, {note}")

    def step(self, what: str, done: int, total: int | None, unit: str) -> None:
        """Something that can be counted is going on."""
        self._show(what, done, total, unit)

    def wait(self, what: str) -> None:
        """Something without a measure is going on."""
        self._show(what, 0, None, "")

    def tracking(self, progress: TrackProgress) -> None:
        """Frames are being tracked."""
        if self._progress is None:
            if self._may_print() or progress.finished:
                self.say(describe(progress))
            return
        left = "" if progress.eta_s is None else f"  {clock(progress.eta_s)} left"
        note = f"{progress.fps:.1f} fps{left}  peak {_memory(progress)}"
        self._update("tracking", progress.done, progress.total, note)

    def _show(self, what: str, done: int, total: int | None, unit: str) -> None:
        if self._progress is not None:
            self._update(what, done, total, unit)
        elif self._may_print():
            of = "" if total is None else f" of {total}"
            if total == 1 or (total is None and done == 1):
                unit = unit.removesuffix("s")
            self.say(f"{what}: {done}{of} {unit}" if unit else what)

    def _update(self, what: str, done: int, total: int | None, note: str) -> None:
        if self._progress is None:
            return
        # One bar, of what is going on now; a new one, since rich keeps an old total.
        if self._bar is None or self._shown != what:
            if self._bar is not None:
                self._progress.remove_task(self._bar)
            self._bar = self._progress.add_task(what, total=total, note=note)
            self._shown = what
        self._progress.update(self._bar, completed=done, total=total, note=note)


def _memory(progress: TrackProgress) -> str:
    vram = progress.peak_vram_bytes
    gpu = "" if vram is None else f" + GPU {vram / 1e9:.1f} GB"
    return f"{progress.peak_rss_bytes / 1e9:.1f} GB{gpu}"


class WarningPrinter(logging.Handler):
    """Shows what Longtake itself warns of, one line each; other libraries' logs stay silent."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        """Print one warning."""
        self._terminal.say(f"longtake: warning: {' '.join(record.getMessage().split())}")

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Print Longtake's warnings while the block runs."""
        loggers = [logging.getLogger(name) for name in ("samcore", "tasks", "flows")]
        for logger in loggers:
            logger.addHandler(self)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(self)
