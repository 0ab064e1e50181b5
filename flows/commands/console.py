"""What a command shows on the terminal: a bar for what goes on, one line an error."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
)
from rich.progress import Progress as Bars

from flows.commands.warnings import WarningTeller
from samcore.machine.gpu import GpuReading
from samcore.progress import Progress, Throttle

_LINE_INTERVAL_S = 5.0
_STAYS_S = 1.0
"""A bar stays so long without news when another step goes on."""
_MOST_BARS = 2
"""The most that go on side by side for long: a scan and tracking, two outputs."""


@dataclass
class _Shown:
    """A step's bar."""

    bar: TaskID
    stays_until: float = 0.0


class Terminal:
    """Standard error for people: a live bar on a terminal, a plain line now and then elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to `stream`, else to standard error as it is now."""
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._may_print = Throttle(_LINE_INTERVAL_S, at_once=False)
        self._bars: Bars | None = None
        self._shown: dict[str, _Shown] = {}
        self._news: dict[str, Progress] = {}
        self._overall: TaskID | None = None
        self._gpu: TaskID | None = None

    def say(self, line: str) -> None:
        """Print a line; a bar that is shown stays below it."""
        self._console.print(line, markup=False)

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Show bars while the block runs."""
        if not self._console.is_terminal:
            yield
            return
        with Bars(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),  # all of the line fits into 80 columns
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            transient=True,
        ) as bars:
            self._bars = bars
            try:
                yield
            finally:
                self._bars = self._overall = self._gpu = None
                self._shown.clear()

    def show_overall(self, progress: Progress) -> None:
        """Show how far all of it is, of which `show` shows a part: in a bar that stays above the
        others, or as a line at once."""
        if self._bars is None:
            self.say(progress.line)
            return
        if self._overall is None:
            self._overall = self._bars.add_task(progress.what, note="")
        self._bars.update(
            self._overall, completed=progress.done, total=progress.total, note=progress.note
        )

    def show_gpus(self, readings: Sequence[GpuReading]) -> None:
        """Show how full and how busy the GPU is, of several the busiest one; on a terminal only."""
        if self._bars is None:
            return
        one = max(readings, key=lambda reading: (reading.utilization or 0, reading.used_bytes))
        busy = "" if one.utilization is None else f", {one.utilization} % busy"
        if self._gpu is None:
            self._gpu = self._bars.add_task("GPU", note="")
        self._bars.update(
            self._gpu,
            description=f"GPU {one.index}" if len(readings) > 1 else "GPU",
            completed=round(one.used_bytes / 1e9),
            total=round(one.total_bytes / 1e9),
            note=f"GB{busy}",
        )

    def show(self, progress: Progress) -> None:
        """Show how far something is: in a bar, or as a line now and then. What has a text of its
        own is shown at its beginning and its end, too."""
        if self._bars is None:
            self._show_lines(progress)
            return
        what, note = progress.what, progress.note or progress.unit
        now = time.monotonic()
        for other, shown in tuple(self._shown.items()):
            if other != what and now >= shown.stays_until:
                self._bars.remove_task(self._shown.pop(other).bar)
        if what not in self._shown:
            if len(self._shown) == _MOST_BARS:
                return
            bar = self._bars.add_task(what, total=progress.total, note=note)
            self._shown[what] = _Shown(bar)
        shown = self._shown[what]
        shown.stays_until = 0.0 if progress.finished or not progress.unit else now + _STAYS_S
        self._bars.update(shown.bar, completed=progress.done, total=progress.total, note=note)

    def _show_lines(self, progress: Progress) -> None:
        """Print now and then the last news of each step that goes on."""
        self._news[progress.what] = progress
        if self._may_print():
            for news in self._news.values():
                if news.unit or news is progress:  # else nobody knows whether it goes on
                    self.say(news.line)
            self._news.clear()
        elif progress.finished or (progress.done == 0 and progress.text):
            if progress.text:
                self.say(progress.line)
            del self._news[progress.what]

    def wait(self, what: str) -> None:
        """Something without a measure is going on."""
        self.show(Progress(what))


class WarningPrinter(WarningTeller):
    """Shows what Longtake itself warns of, one line each; other libraries' logs stay silent."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(lambda line: terminal.say(f"longtake: warning: {line}"))
