"""Only what may pass by itself is tried again, and for long enough."""

from typing import Any

import pytest
import torch
from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE

from samcore.errors import (
    InputError,
    StorageError,
    TransientStorageError,
    TransientVideoError,
    VideoError,
)
from tasks.add_output import add_output
from tasks.clear_work import clear_work
from tasks.fetch_chunks import fetch_chunks
from tasks.publish import publish
from tasks.publish_part import publish_part
from tasks.retries import is_transient, retry_transient
from tasks.store import lease


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConnectionResetError("gone"), True),
        (OSError(5, "Input/output error"), True),
        (PermissionError(13, "Permission denied"), False),
        (FileNotFoundError(2, "No such file or directory"), False),
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (StorageError("the disk is full"), False),
        (TransientStorageError("the server is busy"), True),
        (TransientVideoError("ffmpeg was ended by SIGKILL"), True),
        (VideoError("no such video"), False),
        (InputError("a box outside the picture"), False),
        (TypeError("a bug"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_is_tried_again(error: BaseException, again: bool) -> None:
    """Faults of machines are; what a person must put right, and bugs, are not."""
    assert is_transient(error) is again


@pytest.mark.parametrize(
    ("error", "tries"),
    [(TransientStorageError("the server is busy"), 8), (MemoryError(), 5), (InputError("no"), 1)],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_how_often(
    error: Exception, tries: int, prefect_api: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A store has all of a task's tries, which are said; memory that does not suffice has few; what
    a person has to put right has one."""
    made: list[int] = []

    @task(retries=7, retry_condition_fn=retry_transient, cache_policy=NO_CACHE)
    def fails() -> None:
        made.append(1)
        raise error

    @flow
    def one() -> None:
        fails()

    state = one(return_state=True)
    assert state.is_failed()
    assert len(made) == tries
    said = [record for record in caplog.records if record.getMessage().endswith("; trying again")]
    assert len(said) == tries - 1


@pytest.mark.parametrize(
    "task",
    [publish, publish_part, add_output, fetch_chunks, clear_work],
    ids=lambda task: task.name,
)
def test_a_dead_publishers_claim_is_outlasted(task: Task[Any, Any]) -> None:
    """Tasks at the destination go on trying for longer than the claim of a killed run lasts and an
    outage is worth, and never wait so long that a run which is told to stop, in 90 s, could not end
    in good order."""
    delays, jitter = task.retry_delay_seconds, task.retry_jitter_factor

    assert isinstance(delays, list)
    assert jitter is not None
    assert task.retries == len(delays)
    assert sum(delays) * (1 - jitter) > max(5 * lease.EXPIRES_S, 7 * 60)
    assert max(delays) * (1 + jitter) < 90
    assert task.retry_condition_fn is retry_transient
