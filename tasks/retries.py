"""Which failures are worth another try."""

import sys
from typing import Any

from samcore.errors import SegmentationError


def is_transient(error: BaseException) -> bool:
    """Whether the same work may well succeed a little later.

    Faults of files, connections and memory may pass. What a person has to put right does not, nor
    does a bug.
    """
    if isinstance(error, SegmentationError):
        return False
    if isinstance(error, OSError | MemoryError):
        return True
    torch = sys.modules.get("torch")  # not imported for an error that cannot be its own
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def retry_transient(task: Any, task_run: Any, state: Any) -> bool:
    """Prefect's `retry_condition_fn`: called by these names after a failed try."""
    try:
        state.result(raise_on_failure=True)
    except Exception as error:
        return is_transient(error)
    return False
