"""The promise of the whole: masks do not depend on where the video was cut."""

from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.masks.table import MaskReader, table_digest
from samcore.prompts.file import parse_prompts
from tasks.request.segment_request import SegmentRequest, validate_request
from tasks.run.refs import ResultRef

Segment = Callable[[SegmentRequest], ResultRef]


@pytest.fixture(scope="module")
def unchunked(
    clip: Path,
    prompts: dict[str, object],
    segment: Segment,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The result of one chunk over all frames."""
    destination = tmp_path_factory.mktemp("unchunked")
    segment(
        validate_request(
            source=str(clip),
            prompts=parse_prompts(prompts),
            destination=str(destination),
            model="nano",
            settings={"device": "cpu"},
            image_size=64,
            chunk_frames=1000,
            overlap=0,
        )
    )
    return destination


@pytest.mark.parametrize(
    ("chunk_frames", "overlap"), [(c, o) for c in (7, 20, 64) for o in (0, 1, 5)]
)
def test_masks_do_not_depend_on_chunks(
    ask: Callable[..., SegmentRequest],
    segment: Segment,
    unchunked: Path,
    chunk_frames: int,
    overlap: int,
) -> None:
    """Whatever the chunks: the same bytes are published, and chunks agree to the last bit."""
    result = segment(ask(image_size=64, chunk_frames=chunk_frames, overlap=overlap))

    published = Path(result.destination) / "masks.parquet"
    assert table_digest(published) == table_digest(unchunked / "masks.parquet")
    assert published.read_bytes() == (unchunked / "masks.parquet").read_bytes()
    assert result.seams_identical in (True, None)


def test_start_and_stop_do_not_shift_frames(
    ask: Callable[..., SegmentRequest], segment: Segment, prompts: dict[str, object]
) -> None:
    """Frames keep their numbers in the source video when tracking begins in its middle."""
    later = parse_prompts(prompts).model_dump()
    later["objects"] = [dict(later["objects"][1])]
    result = segment(ask(prompts=later, start=8, stop=40, chunk_frames=11, overlap=3))

    with MaskReader(Path(result.destination) / "masks.parquet") as reader:
        assert reader.frames == (10, 40)  # the object begins at its first prompt
        prompted = [row.frame for row in reader.rows() if row.prompted]
    assert prompted == [10]
    assert result.frames == 32


@pytest.mark.parametrize("overlap", [0, 4])
def test_mask_handoff_carries_objects_over(
    ask: Callable[..., SegmentRequest], segment: Segment, overlap: int
) -> None:
    """Under the mask hand-off each frame from an object's first prompt on has its row, and only
    a person's prompts count as prompts."""
    result = segment(ask(handoff="mask", overlap=overlap, stop=36, min_agreement=0.0))

    with MaskReader(Path(result.destination) / "masks.parquet") as reader:
        rows = list(reader.rows())
    assert [row.frame for row in rows if row.object_id == 1] == list(range(36))
    assert [row.frame for row in rows if row.object_id == 7] == list(range(10, 36))
    assert [(row.frame, row.object_id) for row in rows if row.prompted] == [
        (0, 1),
        (10, 7),
        (30, 1),
    ]
