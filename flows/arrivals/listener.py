"""The listener: what arrives in a bucket becomes a flow run, by way of a queue."""

import contextlib
import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import NoReturn, TypeVar

from flows.arrivals.s3_events import ObjectEvent, parse_message
from flows.arrivals.video_runs import Outcome, VideoFilter, VideoRuns
from flows.server.deployment import NotDeployedError, ServerAwayError
from samcore.errors import SegmentationError, TransientStorageError
from tasks.store.locations import S3Location
from tasks.store.queue import Message, MessageQueue, QueueTraits

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_AWAY = (ServerAwayError, NotDeployedError, TransientStorageError)
"""What is waited for, however long: no message is to blame for it."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_LONGEST_JOIN_S = 5.0
_EXTENSIONS = 3
"""Messages at work are held again this many times before their time is over."""


class _ListenStopped(BaseException):
    """SIGTERM or SIGINT came while the listener waited."""


class Listener:
    """Reads a queue of S3 events and starts the runs of the videos that they tell of.

    A message is deleted when all runs that it asks for are there, and not before. Whatever happens
    in between, it comes again; and as runs have the object's version as their key, it finds those
    that were made already.
    """

    def __init__(
        self,
        queue: MessageQueue,
        runs: VideoRuns,
        videos: VideoFilter,
        *,
        wait_s: int = 5,
        on_signal: Callable[[int], None] | None = None,
    ) -> None:
        """Nothing is called yet.

        Args:
            queue: Where S3 puts its events, possibly by SNS or EventBridge.
            runs: Starts the runs.
            videos: Which objects count.
            wait_s: Seconds that a call waits for messages, 1 to 20; a stop may take as long.
            on_signal: Is told the number of each signal that stops the listener. The command
                passes `Ending.tell`, which ends the whole process after some seconds.
        """
        self._queue = queue
        self._runs = runs
        self._videos = videos
        self._wait_s = wait_s
        self._on_signal = on_signal
        self._traits = QueueTraits(visibility_s=30, max_receives=None)
        self._stopping = False
        self._waiting = False
        self._warned: set[str] = set()

    def run(self) -> None:
        """Listen until SIGTERM or SIGINT; for the main thread.

        A message that is being handled then is finished, and the others are given back. Where the
        process ends before that, all come again.

        Raises:
            SegmentationError: The queue cannot be used at all, in one line.
        """
        with self._signals():
            with contextlib.suppress(_ListenStopped):
                self._traits = self._retry_until_available(self._queue.traits, at_once=True)
                self._retry_until_available(self._runs.check, at_once=True)
                self._say_hello()
                while not self._stopping:
                    self._handle_batch(self._retry_until_available(self._receive))
            _log.info("stopped; what is in the queue stays there")

    def _say_hello(self) -> None:
        _log.info("listening to %s", self._queue.url)
        if self._traits.max_receives is None:
            _log.warning(
                "the queue has no dead-letter queue: a message that cannot be understood comes "
                "again until it expires; give the queue a redrive policy"
            )

    def _receive(self) -> tuple[Message, ...]:
        return self._queue.receive(wait_s=self._wait_s)

    def _handle_batch(self, messages: Sequence[Message]) -> None:
        """Handle up to ten messages, and delete those that are done."""
        left = list(messages)
        done: list[Message] = []
        with _Holder(self._queue, left, done, self._traits.visibility_s):
            try:
                while left and not self._stopping:
                    if self._handle(left[0]):
                        done.append(left[0])
                    left.pop(0)
            except _ListenStopped:
                pass  # the one at hand is given back with the others
            with contextlib.suppress(_ListenStopped):
                self._retry_until_available(lambda: self._queue.delete(done))
            done.clear()
        # Given back only on the way out; otherwise nothing is left.
        with contextlib.suppress(SegmentationError):
            self._queue.hold(left, 0)
        if self._stopping:
            raise _ListenStopped

    def _handle(self, message: Message) -> bool:
        """Start the runs that a message asks for; False leaves it to the redrive policy."""
        try:
            for event in parse_message(message.body):
                self._retry_until_available(lambda event=event: self._handle_event(event))  # type: ignore[misc]
        except SegmentationError as error:
            limit = self._traits.max_receives
            of = "" if limit is None else f" of {limit}"
            _log.error(
                "message %s, try %d%s: %s%s",
                message.id,
                message.received,
                of,
                error,
                "; it goes to the dead-letter queue"
                if limit is not None and message.received >= limit
                else "",
            )
            return False
        return True

    def _handle_event(self, event: ObjectEvent) -> None:
        if self._is_root(event.location):
            return
        if not event.created or event.size == 0:
            _log.debug("%s: nothing to do", event.location)
            return
        if self._videos.is_video(event.location):
            handled = self._runs.start(event.location, version=event.version, etag=event.etag)
        else:
            video = self._videos.video_of_prompts(event.location)
            if video is None:
                _log.debug("%s: not a video", event.location)
                return
            # Prompts may come after their video, which was skipped for want of them then.
            handled = self._runs.start(video)
            if handled.outcome is Outcome.ABSENT:
                _log.info("%s: its prompts are here; it gets its run when it comes", video)
                return
        level = {Outcome.KNOWN: logging.DEBUG, Outcome.WAITS: logging.WARNING}
        _log.log(level.get(handled.outcome, logging.INFO), "%s", handled)

    def _is_root(self, found: S3Location) -> bool:
        """Whether videos and results cannot be told apart, since results fill the bucket."""
        destination = self._videos.destination
        if destination.key.strip("/") or found.bucket != destination.bucket:
            return False
        if found.bucket not in self._warned:
            self._warned.add(found.bucket)
            _log.warning(
                "results go to the root of the bucket %s, so nothing in it counts as a video; give "
                "--destination another bucket, or a prefix",
                found.bucket,
            )
        return True

    def _retry_until_available(self, call: Callable[[], _T], *, at_once: bool = False) -> _T:
        """Call until the servers are there, saying once that they are away.

        Args:
            call: May be called any number of times.
            at_once: A signal breaks it off; otherwise it is finished first.

        Raises:
            _ListenStopped: SIGTERM or SIGINT came meanwhile.
        """
        wait_s = _FIRST_WAIT_S
        said: str | None = None
        while True:
            try:
                with self._interruptible(at_once):
                    value = call()
            except _AWAY as error:
                if str(error) != said:
                    _log.warning("%s; trying again, nothing is lost", error)
                    said = str(error)
                with self._interruptible(True):
                    time.sleep(wait_s * random.uniform(0.5, 1))
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            else:
                if said is not None:
                    _log.info("going on")
                return value

    @contextlib.contextmanager
    def _interruptible(self, at_once: bool) -> Iterator[None]:
        """Let a signal break off the block; without `at_once` the block is finished first."""
        self._waiting = at_once
        try:
            # In this order, or a signal in between would wait for the whole block.
            if at_once and self._stopping:
                raise _ListenStopped
            yield
        finally:
            self._waiting = False

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(number: int, _frame: FrameType | None) -> None:
            if self._on_signal is not None:
                self._on_signal(number)
            self._stopping = True
            if self._waiting:
                _stop_now()

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _stop_now() -> NoReturn:
    raise _ListenStopped


class _Holder:
    """Keeps messages from other readers as long as they are at work; a context manager."""

    def __init__(
        self,
        queue: MessageQueue,
        left: Sequence[Message],
        done: Sequence[Message],
        visibility_s: int,
    ) -> None:
        """Args: the queue, messages not handled yet, those not deleted yet, and its seconds."""
        self._queue = queue
        self._held = (left, done)
        self._visibility_s = max(visibility_s, 1)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._hold, name="hold messages", daemon=True)

    def __enter__(self) -> "_Holder":
        if any(self._held):
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_LONGEST_JOIN_S)

    def _hold(self) -> None:
        while not self._ended.wait(self._visibility_s / _EXTENSIONS):
            messages = [message for some in self._held for message in some]
            try:
                self._queue.hold(messages, self._visibility_s)
            except SegmentationError as error:
                # If they come again meanwhile, they find the runs that they ask for.
                _log.debug("%s", error)
