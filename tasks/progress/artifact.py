"""The progress of a run as an artifact, which Prefect's UI shows as a ring."""

import contextvars
import logging
import threading
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.progress.events import Throttle, TrackProgress, describe

_log = logging.getLogger(__name__)
_INTERVAL_S = 5.0
_KEY_CHARS = 12
"""Of a run's key; so many are the same for no two runs of a server."""
_PATIENCE_S = 10.0
"""For the last report; a server that does not answer must not hold up the end of a run for long."""


def artifact_key(run_key: str) -> str:
    """What a run's artifacts are called: short enough for the cards of Prefect's UI."""
    return f"longtake-{run_key[:_KEY_CHARS]}"


class _ProgressArtifact:
    """One progress artifact, written at most every few seconds and at an end.

    In threads of its own: while the server is away a call takes half a minute to give up, and
    frames must not wait for that.
    """

    def __init__(self, key: str, *, at_once: bool) -> None:
        """Nothing is made before the first report.

        Args:
            key: Of the artifact.
            at_once: Whether the first report need not wait some seconds.
        """
        self._key = key
        self._artifact: UUID | None = None
        self._may_send = Throttle(_INTERVAL_S, at_once=at_once)
        self._sender: threading.Thread | None = None

    @property
    def exists(self) -> bool:
        """Whether there is anything to bring to its end."""
        return self._sender is not None

    def post(self, percent: float, text: str, *, last: bool) -> None:
        """Show how far it is; the last report is waited for."""
        if not self._may_send() and not last:
            return
        if self._sender is not None:
            self._sender.join(_PATIENCE_S if last else 0.0)
            if self._sender.is_alive():
                return
        # With the context of the run, whose artifact it is.
        context = contextvars.copy_context()
        self._sender = threading.Thread(
            target=context.run,
            args=(self._send, percent, text),
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


class ArtifactListener:
    """Shows how far tracking is."""

    def __init__(self, key: str) -> None:
        """Nothing is made before the first report.

        Args:
            key: Of the run.
        """
        self._artifact = _ProgressArtifact(artifact_key(key), at_once=True)

    def __call__(self, progress: TrackProgress) -> None:
        """Take a report."""
        percent = 100.0 * progress.done / progress.total
        self._artifact.post(percent, describe(progress), last=progress.finished)


class StepArtifactListener:
    """Shows how far steps beside tracking are, one after another; a short one is not shown."""

    def __init__(self, flow_run_id: str) -> None:
        """Nothing is made before a step has taken some seconds.

        Args:
            flow_run_id: Of the run: a step may begin before the run's own key is known.
        """
        key = f"{artifact_key(flow_run_id.replace('-', ''))}-steps"
        self._artifact = _ProgressArtifact(key, at_once=False)

    def __call__(self, what: str, done: int, total: int | None, unit: str) -> None:
        """Take a report."""
        last = total is not None and done >= total and self._artifact.exists
        percent = min(100.0 * done / total, 100.0) if total else 0.0
        of = "" if total is None else f" of {total}"
        self._artifact.post(percent, f"{what}: {done}{of} {unit}", last=last)
