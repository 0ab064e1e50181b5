"""Runs through the tasks' own functions, without Prefect's engine."""

from collections.abc import Callable

import pytest

from tasks.encode_prompts import encode_prompts
from tasks.plan_chunks import plan_chunks
from tasks.publish import publish
from tasks.publish_part import publish_part
from tasks.records import ResultRef, RunRef
from tasks.request import SegmentRequest
from tasks.run_folder import RunFolder
from tasks.stitch_seam import stitch_seam
from tasks.track_chunk import track_chunk

TrackChunks = Callable[[SegmentRequest], RunRef]


def _track_chunks(request: SegmentRequest, *, only: int | None = None) -> RunRef:
    run = plan_chunks.fn(request)
    folder = RunFolder.at(run)
    if folder.record().handoff == "memory" and 0 in folder.plan_work(with_states=True):
        encode_prompts.fn(run)
    for chunk in folder.record().chunks[:only]:
        track_chunk.fn(run, chunk.index)
        publish_part.fn(run, chunk.index)
        if chunk.index:
            stitch_seam.fn(run, request, chunk.index)
    return run


@pytest.fixture(scope="session")
def track_chunks() -> Callable[..., RunRef]:
    """Track all chunks of a request, or the first `only` ones."""
    return _track_chunks


@pytest.fixture(scope="session")
def segment() -> Callable[[SegmentRequest], ResultRef]:
    """Track and publish."""
    return lambda request: publish.fn(_track_chunks(request), request)
