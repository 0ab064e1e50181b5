"""What holds for every test."""

import os
from collections.abc import Iterator

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`needs_cuda` skips on a laptop, and fails where FAIL_WITHOUT_CUDA=1 says a GPU must be."""
    if torch.cuda.is_available() or os.environ.get("FAIL_WITHOUT_CUDA") == "1":
        return
    skip = pytest.mark.skip(reason="needs a CUDA GPU; there is none here")
    for item in items:
        if "needs_cuda" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _random_state() -> Iterator[None]:
    """No test sees the random numbers that another one drew."""
    state = torch.random.get_rng_state()
    yield
    torch.random.set_rng_state(state)
