"""The check `cut`: the scene changes."""

from types import TracebackType

from samcore.findings.check import Tell
from samcore.findings.finding import Finding
from samcore.video import Frame
from samcore.video.cuts import CutFinder


class CutCheck:
    """Shows the frames to a `CutFinder`, which knows the cuts when all frames went by."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._finder = CutFinder()

    def __enter__(self) -> "CutCheck":
        self._finder.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finder.__exit__(kind, error, trace)
        if kind is None:
            for cut in self._finder.cuts:
                text = f"the scene changes (by {cut.score:.0f} of 100)"
                self._tell(Finding("cut", cut.frame, None, cut.score, text))

    def show(self, frame: Frame) -> None:
        """Take the next frame."""
        self._finder.show(frame)
