"""The newest of what windows show, and a way to wait for the next."""

import threading
import time


class News:
    """Values by topic, each with the version at which it changed. Safe to use from any thread.

    Holds one value for each topic, however often it changes.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._changed = threading.Condition()
        self._version = 0
        self._topics: dict[str, tuple[int, object]] = {}
        self._closed = False

    def tell(self, topic: str, value: object) -> None:
        """Replace what is known of a topic; JSON's kinds of values. Nothing happens if it is equal
        to what is known."""
        with self._changed:
            if topic in self._topics and self._topics[topic][1] == value:
                return
            self._version += 1
            self._topics[topic] = (self._version, value)
            self._changed.notify_all()

    def since(self, version: int, *, wait_s: float = 0.0) -> tuple[int, dict[str, object]]:
        """What has changed after a version, as soon as anything has.

        Args:
            version: What the caller knows; 0 is nothing.
            wait_s: How long to wait at most.

        Returns:
            The present version, and the topics that changed; none if the time is over, or `close`
            was called.
        """
        until = time.monotonic() + wait_s
        with self._changed:
            while self._version <= version and not self._closed:
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            changed = {name: value for name, (at, value) in self._topics.items() if at > version}
            return self._version, changed

    def close(self) -> None:
        """Let go of all who wait, now and later."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
