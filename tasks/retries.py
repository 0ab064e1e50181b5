"""Which failures are worth another try, and when."""

import logging
from collections.abc import Callable
from typing import Any, TypedDict

from samcore.errors import SegmentationError, TransientError, TransientStorageError
from samcore.machine.out_of_memory import memory_failure

_log = logging.getLogger(__name__)


def is_transient(error: BaseException) -> bool:
    """Whether the same work may well succeed a little later.

    Faults of files, connections, memory and decoders may pass. What a person has to put right does
    not, nor does a bug.
    """
    if isinstance(error, TransientError) or memory_failure(error) is not None:
        return True
    if isinstance(error, SegmentationError):
        return False
    return isinstance(error, OSError) and not isinstance(error, _LASTING)


def retry_transient(task: Any, task_run: Any, state: Any) -> bool:
    """Prefect's `retry_condition_fn`: called by these names after a failed try.

    A store that is away or busy is worth all tries that a task has; a machine that is short of
    memory, or a disk or decoder with faults, a few.
    """
    try:
        state.result(raise_on_failure=True)
    except Exception as error:
        tries = task_run.run_count
        if tries > task.retries or not is_transient(error):
            return False
        if tries > _FEW and not isinstance(error, TransientStorageError):
            return False
        _log.warning("%s; trying again", error)
        return True
    return False


_FEW = 4
_LASTING = (
    *(PermissionError, FileNotFoundError, FileExistsError),
    *(NotADirectoryError, IsADirectoryError),
)


class Retries(TypedDict):
    """Keyword arguments of Prefect's `task`."""

    retries: int
    retry_delay_seconds: list[float]
    retry_jitter_factor: float
    retry_condition_fn: Callable[[Any, Any, Any], bool]


SOURCE_RETRIES = Retries(
    retries=2,
    retry_delay_seconds=[2.0, 10.0],
    retry_jitter_factor=0.5,
    retry_condition_fn=retry_transient,
)
"""For tasks that read the video and compute; calls to a store try again by themselves."""

_DELAYS_S = [1.0, 5.0, 20.0, *[60.0] * 10]

DESTINATION_RETRIES = Retries(
    retries=len(_DELAYS_S),
    retry_delay_seconds=_DELAYS_S,
    retry_jitter_factor=0.25,
    retry_condition_fn=retry_transient,
)
"""For tasks that write to the destination: at least seven minutes, for which an outage may last.

The lease of a publisher that was killed on another machine is over by then, see `store/lease.py`.
No single wait is much longer than a minute: one in a thread holds up the end of a run that is told
to stop.
"""
