"""What Longtake itself warns of, for people; other libraries' logs stay silent."""

import contextlib
import logging
from collections.abc import Callable, Iterator


class WarningTeller(logging.Handler):
    """Tells of each of Longtake's warnings in one line."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        """Told nothing before `attached`."""
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of one warning."""
        self._tell(" ".join(record.getMessage().split()))

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Tell of warnings while the block runs."""
        loggers = [logging.getLogger(name) for name in ("samcore", "tasks", "flows")]
        for logger in loggers:
            logger.addHandler(self)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(self)
