"""Only what may pass by itself is tried again."""

import pytest
import torch

from samcore.errors import InputError, StorageError, TransientStorageError, VideoError
from tasks.retries import is_transient


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConnectionResetError("gone"), True),
        (OSError(5, "Input/output error"), True),
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (StorageError("the disk is full"), False),
        (TransientStorageError("the server is busy"), True),
        (VideoError("no such video"), False),
        (InputError("a box outside the picture"), False),
        (TypeError("a bug"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_is_tried_again(error: BaseException, again: bool) -> None:
    """Faults of machines are; what a person must put right, and bugs, are not."""
    assert is_transient(error) is again
