"""A reader that decodes ahead in its own thread, a few frames and no more."""

import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator
from types import TracebackType

from samcore.errors import InputError
from samcore.video.frame import Frame

Produce = Callable[[threading.Event], Generator[Frame, None, None]]
"""Gives frames; ends early when the event is set."""
_LOOK_S = 1.0
"""Seconds between two looks at what is waited for: where memory runs out, a call to wake up may
fail like any other."""


class _Channel:
    """A bounded queue between one giver and one taker, which either of them can end."""

    def __init__(self, limit: int) -> None:
        self.stopping = threading.Event()
        """Set when the taker wants no more."""
        self._limit = limit
        self._frames: deque[Frame] = deque()
        self._finished = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> bool:
        """Add a frame, waiting for room; False if the taker wants no more."""
        with self._changed:
            while len(self._frames) >= self._limit and not self.stopping.is_set():
                self._changed.wait(_LOOK_S)
            if self.stopping.is_set():
                return False
            self._frames.append(frame)
            self._changed.notify_all()
            return True

    def finish(self, error: BaseException | None) -> None:
        """Say that nothing more will come, and why."""
        with self._changed:
            self._finished = True
            self._error = error
            self._changed.notify_all()

    def get(self, giver: threading.Thread) -> Frame | None:
        """Take the next frame, waiting for it; None at the end.

        Raises:
            BaseException: What ended the giver, after all frames that it gave before.
            MemoryError: It ended, and could not even say so.
        """
        with self._changed:
            while not (self._frames or self._finished):
                if not giver.is_alive():
                    raise MemoryError("the thread that decodes ended without a word")
                self._changed.wait(_LOOK_S)
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            if self._error is not None:
                raise self._error
            return None

    def stop(self) -> None:
        """Stop the reader and release its frames. Consumers call this at the end or on errors."""
        with self._changed:
            self.stopping.set()
            self._frames.clear()
            self._changed.notify_all()


def _give(
    channel: _Channel, produce: Callable[[threading.Event], Generator[Frame, None, None]]
) -> None:
    """Body of the thread. It must not know the reader, or that would never be collected."""
    error: BaseException | None = None
    try:
        # closing ends the decoder before the taker hears of the end
        with contextlib.closing(produce(channel.stopping)) as frames:
            for frame in frames:
                if not channel.put(frame):
                    break
    except BaseException as raised:
        error = raised
    channel.finish(error)


class FrameReader:
    """Iterates over frames, decoding at most `prefetch` of them ahead.

    Use it in a `with` block. Whichever way that is left - the last frame, an exception in the
    block or in the decoder, a `break` - the decoder is ended and the thread is joined. What the
    decoder raises is raised here, after the frames that came before it.
    """

    def __init__(self, produce: Produce, *, prefetch: int) -> None:
        """Start nothing yet: the thread begins with the `with` block or the first frame.

        Args:
            produce: Gives the frames, in the thread; told by the event to end early.
            prefetch: Frames that may wait decoded, at least 1. One more is in the making.

        Raises:
            InputError: `prefetch` is below 1.
        """
        if prefetch < 1:
            raise InputError(f"a reader needs room for at least one frame, got {prefetch = }")
        self._channel = _Channel(prefetch)
        self._thread = threading.Thread(
            target=_give, args=(self._channel, produce), name="frame-reader", daemon=True
        )
        self._started = False
        self._closed = False
        self._ended = False
        # a reader that is dropped without being closed must not leave a decoder behind
        weakref.finalize(self, self._channel.stop)

    def __enter__(self) -> "FrameReader":
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> "FrameReader":
        return self

    def __next__(self) -> Frame:
        if self._ended:
            raise StopIteration
        self._start()
        try:
            frame = self._channel.get(self._thread)
        except BaseException:
            self.close()
            raise
        if frame is None:
            self._ended = True
            self.close()
            raise StopIteration
        return frame

    def close(self) -> None:
        """End the decoder and the thread, and wait until both are gone. May be called again."""
        self._closed = True
        self._channel.stop()
        if self._started:
            self._thread.join()

    def _start(self) -> None:
        if self._closed:
            raise RuntimeError("this reader is closed: call read() for a new one")
        if not self._started:
            self._started = True
            self._thread.start()
