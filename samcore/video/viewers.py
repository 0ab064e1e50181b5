"""One pass over a video for all that want to see its frames."""

import contextlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from samcore.failures import Failures
from samcore.video.frame import Frame

if TYPE_CHECKING:
    from samcore.video.source import VideoSource

Show = Callable[[Frame], None]
"""Called with one frame after another, each the next one of the video."""
Viewer = AbstractContextManager[Show]
"""What is made of frames. Its block begins before the first frame and ends after the last one; what
it makes is there if the block ended without an exception, and else nothing of it."""


def show_frames(
    video: "VideoSource",
    start: int,
    stop: int,
    viewers: Iterable[Viewer],
    failures: Failures,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Decode frames [start, stop) once and show each of them to all viewers.

    A viewer that fails is shown no more, and the others go on. If a frame cannot be read, all that
    are left fail. Holds what the viewers hold, and the frames that the reader prefetches.

    Args:
        video: Whose frames.
        start: The first one.
        stop: One past the last one.
        viewers: Entered in this order, and left in this order after the last frame.
        failures: Gets what a viewer raises, and why a frame cannot be read.
        on_progress: Called with the frames shown so far, and all of them.
    """
    # A signal leaves all blocks that are still open; one that was left before is not left again.
    with contextlib.ExitStack() as blocks:
        shown: dict[contextlib.ExitStack, Show] = {}

        def leave(block: contextlib.ExitStack, error: Exception) -> None:
            del shown[block]
            with failures.collected():
                block.__exit__(type(error), error, error.__traceback__)
                raise error

        for viewer in viewers:
            block = blocks.enter_context(contextlib.ExitStack())
            with failures.collected():
                shown[block] = block.enter_context(viewer)
        try:
            if shown:
                with video.read(start, stop) as frames:
                    for frame in frames:
                        for block, show in tuple(shown.items()):
                            try:
                                show(frame)
                            except Exception as error:
                                leave(block, error)
                        if not shown:
                            break
                        if on_progress is not None:
                            on_progress(frame.frame_idx + 1 - start, stop - start)
        except Exception as error:
            for block in tuple(shown):
                leave(block, error)
        for block in tuple(shown):
            with failures.collected():
                block.close()
