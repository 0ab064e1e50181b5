"""Which failures are worth another try."""

from typing import Any

from samcore.errors import SegmentationError, TransientStorageError
from samcore.out_of_memory import memory_failure


def is_transient(error: BaseException) -> bool:
    """Whether the same work may well succeed a little later.

    Faults of files, connections and memory may pass. What a person has to put right does not, nor
    does a bug.
    """
    if isinstance(error, TransientStorageError) or memory_failure(error) is not None:
        return True
    if isinstance(error, SegmentationError):
        return False
    return isinstance(error, OSError)


def retry_transient(task: Any, task_run: Any, state: Any) -> bool:
    """Prefect's `retry_condition_fn`: called by these names after a failed try."""
    try:
        state.result(raise_on_failure=True)
    except Exception as error:
        return is_transient(error)
    return False
