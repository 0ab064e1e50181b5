"""Several things that do not need each other: one that fails does not stop those after it."""

import contextlib
from collections.abc import Iterator

from samcore.errors import SegmentationError, TransientError


class Failures:
    """Collects what failed, and says it when all has been tried."""

    def __init__(self) -> None:
        self._errors: list[Exception] = []

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Keep what the block raises for later, one error once; a signal goes its way."""
        try:
            yield
        except Exception as error:
            if not any(known is error for known in self._errors):
                self._errors.append(error)

    def say(self) -> None:
        """Raise what was collected, if anything was.

        Raises:
            TransientError: All in one line, one of which may pass.
            SegmentationError: All in one line; a single one is raised as it was.
            Exception: The first bug, if there was one.
        """
        for error in self._errors:
            if len(self._errors) == 1 or not isinstance(error, SegmentationError):
                raise error
        if self._errors:
            passing = any(isinstance(error, TransientError) for error in self._errors)
            kind = TransientError if passing else SegmentationError
            raise kind("; ".join(str(error) for error in self._errors)) from self._errors[0]
