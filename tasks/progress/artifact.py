"""The progress of a run as an artifact, which Prefect's UI shows as a ring."""

import contextvars
import logging
import threading
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from samcore.progress import TRACKING, Progress, Throttle

_log = logging.getLogger(__name__)
_INTERVAL_S = 5.0
_KEY_CHARS = 12
"""Of a run's key; so many are the same for no two runs of a server."""
_PATIENCE_S = 10.0
"""For the last report; a server that does not answer must not hold up the end of a run for long."""


def artifact_key(run_key: str) -> str:
    """What a run's artifacts are called: short enough for the cards of Prefect's UI."""
    return f"longtake-{run_key[:_KEY_CHARS]}"


class ProgressArtifact:
    """Shows reports as one progress artifact, at most every few seconds and at an end.

    In threads of its own: while the server is away a call takes half a minute to give up, and
    frames must not wait for that.
    """

    def __init__(self, key: str, *, of_tracking: bool) -> None:
        """Make nothing before the first report.

        Args:
            key: Of the artifact.
            of_tracking: Whether it shows how far tracking is, or the steps beside that, one after
                another; a step that takes less than some seconds is not shown.
        """
        self._key = key
        self._of_tracking = of_tracking
        self._artifact: UUID | None = None
        self._may_send = Throttle(_INTERVAL_S, at_once=of_tracking)
        self._sender: threading.Thread | None = None

    def __call__(self, progress: Progress) -> None:
        """Take a report; the last one of tracking, and of a step that is shown, is waited for."""
        if (progress.what == TRACKING) != self._of_tracking:
            return
        last = progress.finished and (self._of_tracking or self._sender is not None)
        if not self._may_send() and not last:
            return
        if self._sender is not None:
            self._sender.join(_PATIENCE_S if last else 0.0)
            if self._sender.is_alive():
                return
        percent = min(100.0 * progress.done / progress.total, 100.0) if progress.total else 0.0
        # With the context of the run, whose artifact it is.
        context = contextvars.copy_context()
        self._sender = threading.Thread(
            target=context.run,
            args=(self._send, percent, progress.line),
            name="longtake-progress",
            daemon=True,
        )
        self._sender.start()
        if last:
            self._sender.join(_PATIENCE_S)

    def _send(self, percent: float, text: str) -> None:
        try:
            if self._artifact is None:
                made = create_progress_artifact(percent, self._key, text)
                self._artifact = made if isinstance(made, UUID) else None
            else:
                update_progress_artifact(self._artifact, percent, text)
        except Exception as error:
            # Whatever is wrong with the server, it must not cost the run its masks.
            _log.debug("no progress artifact: %s", error)


def tracking_artifact(run_key: str) -> ProgressArtifact:
    """Shows how far tracking is."""
    return ProgressArtifact(artifact_key(run_key), of_tracking=True)


def steps_artifact(flow_run_id: str) -> ProgressArtifact:
    """Shows how far a scan, a download, the search for objects, or an output is.

    Args:
        flow_run_id: Of the run: a step may begin before the run's own key is known.
    """
    key = f"{artifact_key(flow_run_id.replace('-', ''))}-steps"
    return ProgressArtifact(key, of_tracking=False)
