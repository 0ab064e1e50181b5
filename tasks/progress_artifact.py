"""The progress of a run as an artifact, which Prefect's UI shows as a ring."""

import contextvars
import logging
import threading
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.progress import Throttle, TrackProgress, describe

_log = logging.getLogger(__name__)
_INTERVAL_S = 5.0
_KEY_CHARS = 12
"""Of a run's key; so many are the same for no two runs of a server."""
_PATIENCE_S = 10.0
"""For the last report; a server that does not answer must not hold up the end of a run for long."""


def artifact_key(run_key: str) -> str:
    """What a run's artifacts are called: short enough for the cards of Prefect's UI."""
    return f"longtake-{run_key[:_KEY_CHARS]}"


class ArtifactListener:
    """Brings reports to a progress artifact, at most every few seconds and at the end.

    In threads of its own: while the server is away a call takes half a minute to give up, and
    frames must not wait for that.
    """

    def __init__(self, key: str) -> None:
        """Nothing is made before the first report.

        Args:
            key: Of the run.
        """
        self._key = artifact_key(key)
        self._artifact: UUID | None = None
        self._may_send = Throttle(_INTERVAL_S)
        self._sender: threading.Thread | None = None

    def __call__(self, progress: TrackProgress) -> None:
        """Take a report."""
        if not self._may_send() and not progress.finished:
            return
        if self._sender is not None:
            self._sender.join(_PATIENCE_S if progress.finished else 0.0)
            if self._sender.is_alive():
                return
        # With the context of the run, whose artifact it is.
        context = contextvars.copy_context()
        self._sender = threading.Thread(
            target=context.run, args=(self._send, progress), name="longtake-progress", daemon=True
        )
        self._sender.start()
        if progress.finished:
            self._sender.join(_PATIENCE_S)

    def _send(self, progress: TrackProgress) -> None:
        percent = 100.0 * progress.done / progress.total
        text = describe(progress)
        try:
            if self._artifact is None:
                made = create_progress_artifact(percent, self._key, text)
                self._artifact = made if isinstance(made, UUID) else None
            else:
                update_progress_artifact(self._artifact, percent, text)
        except Exception as error:
            # Whatever is wrong with the server, it must not cost the run its masks.
            _log.debug("no progress artifact: %s", error)
