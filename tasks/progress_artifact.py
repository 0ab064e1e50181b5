"""The progress of a run as an artifact, which Prefect's UI shows as a ring."""

import logging
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.progress import Throttle, TrackProgress, describe

_log = logging.getLogger(__name__)
_INTERVAL_S = 5.0


class ArtifactListener:
    """Brings reports to a progress artifact, at most every few seconds and at the end."""

    def __init__(self, key: str) -> None:
        """Nothing is made before the first report.

        Args:
            key: Of the run.
        """
        self._key = f"longtake-{key}"
        self._artifact: UUID | None = None
        self._may_send = Throttle(_INTERVAL_S)

    def __call__(self, progress: TrackProgress) -> None:
        """Take a report."""
        if not self._may_send() and not progress.finished:
            return
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
