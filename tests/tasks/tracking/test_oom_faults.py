"""Memory that runs out at any stage of any frame costs time, and not a bit of any mask."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import samcore.masks.table
import tasks.encode_prompts
import tasks.tracking.chunk_session
from samcore.errors import OutOfMemory, VideoError
from samcore.masks.rle import rle_iou
from samcore.masks.table import MaskReader, table_digest
from samcore.models.sam2.adapter import Sam2Model
from samcore.result.records import ChunkRecord
from samcore.run.folder import RunFolder
from samcore.tracking.state import TrackerState
from samcore.video.reader import FrameReader
from tasks.encode_prompts import encode_prompts
from tasks.plan_run import plan_run
from tasks.publish import publish
from tasks.request.segment_request import SegmentRequest
from tasks.results.open import find_result
from tasks.retries import is_transient
from tasks.run.refs import ResultRef, RunRef
from tasks.track_chunk import track_chunk

Ask = Callable[..., SegmentRequest]
MakeError = Callable[[], Exception]


def _cuda() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def _cudnn() -> Exception:
    return RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED")


def _cublas() -> Exception:
    return RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`")


def _cpu() -> Exception:
    return RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")


def _arrow() -> Exception:
    return pa.ArrowMemoryError("malloc of size 4096 failed")


STAGES: dict[str, tuple[object, str, MakeError, tuple[int, int, int]]] = {
    # what is called, and which of its calls fails in each of the three chunks
    "decode": (FrameReader, "__next__", MemoryError, (1, 5, 8)),
    "preprocess": (Sam2Model, "preprocess", _cpu, (2, 5, 8)),
    "encode": (Sam2Model, "encode_images", _cudnn, (1, 5, 8)),
    "attention": (Sam2Model, "with_memory", _cuda, (2, 5, 8)),
    "decoder": (Sam2Model, "decode", _cublas, (1, 6, 7)),
    "memory encoder": (Sam2Model, "encode_memory", _cuda, (2, 3, 8)),
    "RLE": (samcore.masks.table, "encode_masks", MemoryError, (1, 4, 8)),
    "row group": (pq.ParquetWriter, "write_table", _arrow, (1, 1, 1)),
    "state": (TrackerState, "save", _cpu, (1, 1, 0)),
    "model and video": (tasks.tracking.chunk_session, "open_run", _cuda, (1, 1, 1)),
}


@contextmanager
def _failing(owner: object, name: str, error: MakeError, *calls: int) -> Iterator[list[int]]:
    """Have the real function run out of memory on these calls (from 1), the odd ones before its
    work, the even ones after it: whatever it left must do no harm. Gives the calls that failed."""
    real = getattr(owner, name)
    made = 0
    failed: list[int] = []

    def call(*args: object, **kwargs: object) -> object:
        nonlocal made
        made += 1
        number = made
        if number in calls:
            failed.append(number)
            if number % 2:
                raise error()
        result = real(*args, **kwargs)
        if number in calls:
            raise error()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, call)
        yield failed


def _digests(run: RunRef) -> list[str]:
    folder = RunFolder.from_ref(run)
    return [table_digest(folder.masks_path(chunk.index)) for chunk in folder.record().chunks]


def _done(run: RunRef, index: int) -> ChunkRecord:
    record = RunFolder.from_ref(run).finished_chunk(index)
    assert record is not None
    return record


def _least_iou(left: Path, right: Path) -> float:
    with MaskReader(left) as ours, MaskReader(right) as theirs:
        pairs = list(zip(ours.rows(), theirs.rows(), strict=True))
    assert all((a.frame, a.object_id) == (b.frame, b.object_id) for a, b in pairs)
    return min(rle_iou(a.rle, b.rle) for a, b in pairs)


@pytest.fixture
def short(ask: Ask, prompts: dict[str, object]) -> SegmentRequest:
    """Three chunks of eight frames; both objects are there from the first frame on."""
    box = prompts["objects"][0]["prompts"][0]["box"]
    objects = [{"id": i, "prompts": [{"frame": 0, "box": box}]} for i in (1, 2)]
    return ask(prompts={"objects": objects}, stop=20, chunk_frames=8, overlap=2, image_size=64)


@pytest.fixture(autouse=True, scope="module")
def _small_heap() -> Iterator[None]:
    """Freeing caches looks at every object; those of all that is imported need no look."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def calm_digests() -> list[str]:
    """Filled by the first test that asks."""
    return []


@pytest.fixture
def calm(
    short: SegmentRequest,
    calm_digests: list[str],
    tmp_path: Path,
    track_chunks: Callable[..., RunRef],
) -> list[str]:
    """The digests of the chunks' masks of a run that nothing disturbs."""
    if not calm_digests:
        run = track_chunks(short.model_copy(update={"destination": str(tmp_path / "calm")}))
        calm_digests += _digests(run)
        assert all(not _done(run, index).degradations for index in range(3))
        assert all(_done(run, index).rung is None for index in range(3))
    return calm_digests


@pytest.mark.parametrize("stage", STAGES)
def test_a_fault_costs_no_bit(stage: str, short: SegmentRequest, calm: list[str]) -> None:
    """In each chunk a stage fails once for want of memory, on its first frame, in its middle, at
    its end: caches are freed, the frame is done again, the masks are the very ones of a run
    without it, each row once, and `done.json` says what happened."""
    owner, name, error, calls = STAGES[stage]
    run = plan_run.fn(short)
    encode_prompts.fn(run)
    for index, call in enumerate(calls):
        with _failing(owner, name, error, call) as failed:
            track_chunk.fn(run, index)
        record = _done(run, index)
        assert len(failed) == len(record.degradations) == (1 if call else 0)
        assert all("freed caches and tried again" in step for step in record.degradations)
        assert record.rung is None

    assert _digests(run) == calm
    assert not list(Path(run.folder).rglob("*attempt.json"))
    assert not list(Path(run.folder).rglob("*.tmp"))


def test_the_prompt_pass_survives_a_fault(short: SegmentRequest, calm: list[str]) -> None:
    """Memory that runs out while prompts are encoded costs no bit either."""
    run = plan_run.fn(short)
    with _failing(Sam2Model, "encode_memory", _cuda, 2) as failed:
        encode_prompts.fn(run)
    track_chunk.fn(run, 0)

    assert failed == [2]
    done = RunFolder.from_ref(run).prompt_pass()
    assert done is not None
    assert len(done.degradations) == 1
    assert _digests_of(run, 0) == calm[0]


def _digests_of(run: RunRef, index: int) -> str:
    return table_digest(RunFolder.from_ref(run).masks_path(index))


def test_each_further_fault_gives_up_more(short: SegmentRequest, tmp_path: Path) -> None:
    """Fault upon fault: caches, half the frames in the encoder, then half the objects. Masks are
    those of a run with these batches from the start; the next chunk begins where this one ended;
    and none of it looks like a person's error."""
    settings = {"device": "cpu", "encode_batch": 4, "object_batch": 2}
    request = short.model_validate({**short.model_dump(), "settings": settings})
    run = plan_run.fn(request)
    encode_prompts.fn(run)
    with _failing(Sam2Model, "with_memory", _cuda, 3, 4, 5, 6):
        track_chunk.fn(run, 0)
    track_chunk.fn(run, 1)

    first, second = _done(run, 0), _done(run, 1)
    given_up = [step.partition(" (")[0].partition(": ")[2] for step in first.degradations]
    assert given_up == [
        "freed caches and tried again",
        "encode batch 4 -> 2",
        "encode batch 2 -> 1",
        "object batch 2 -> 1",
    ]
    assert all("CUDA out of memory" in step for step in first.degradations)
    assert first.rung == second.rung
    assert (first.rung.encode_batch, first.rung.object_batch) == (1, 1)
    assert len(second.degradations) == 1
    assert not second.quality_loss

    calm_run = plan_run.fn(request.model_copy(update={"destination": str(tmp_path / "calm")}))
    encode_prompts.fn(calm_run)
    for index in (0, 1):
        track_chunk.fn(calm_run, index)
        ours, theirs = (RunFolder.from_ref(r).masks_path(index) for r in (run, calm_run))
        assert _least_iou(ours, theirs) > 0.99


def test_equal_rungs_give_equal_bits(short: SegmentRequest, tmp_path: Path) -> None:
    """Two runs that take the same rungs at the same frames have the same masks to the last bit,
    seams included: what is done at once stays aligned to absolute frame numbers."""
    settings = {"device": "cpu", "encode_batch": 4, "object_batch": 2}
    digests = []
    for name in ("a", "b"):
        request = short.model_validate(
            {**short.model_dump(), "settings": settings, "destination": str(tmp_path / name)}
        )
        run = plan_run.fn(request)
        encode_prompts.fn(run)
        with _failing(Sam2Model, "with_memory", _cuda, 2, 3):
            track_chunk.fn(run, 0)
        track_chunk.fn(run, 1)
        digests.append([_digests_of(run, index) for index in (0, 1)])

    assert digests[0] == digests[1]


def test_at_the_bottom_there_is_one_clear_error(short: SegmentRequest) -> None:
    """When nothing is left to give up: one line that names the frame and the way out, worth a
    retry, that keeps no tensor; nothing half done is left, and with memory back the run ends."""
    run = plan_run.fn(short)
    encode_prompts.fn(run)
    with (
        _failing(Sam2Model, "with_memory", _cuda, *range(3, 99)),
        pytest.raises(
            OutOfMemory, match=r"frame 3 on cpu, even with 1 frame and one object"
        ) as caught,
    ):
        track_chunk.fn(run, 0)

    assert "\n" not in str(caught.value)
    assert "free some memory and run again" in str(caught.value)
    assert is_transient(caught.value)
    assert caught.value.__context__ is None
    assert not _tensors_of(caught.value)
    assert RunFolder.from_ref(run).finished_chunk(0) is None
    assert not list(Path(run.folder).rglob("*attempt.json"))
    track_chunk.fn(run, 0)
    assert not _done(run, 0).degradations


def _tensors_of(error: BaseException) -> list[str]:
    """Local variables of the error's frames that hold a tracker or a model, or a bench with one."""
    found = []
    trace = error.__traceback__
    while trace is not None:
        for name, value in trace.tb_frame.f_locals.items():
            fields = [value, *vars(value).values()] if hasattr(value, "__dict__") else [value]
            kinds = {type(field).__name__ for field in fields}
            if kinds & {"VideoTracker", "OpenRun", "Sam2Model", "Tensor", "FrameMasks"}:
                found.append(name)
        trace = trace.tb_next
    return found


def test_a_persons_error_is_not_tried_again(short: SegmentRequest) -> None:
    """An error that names memory only in a file's name goes straight up."""
    run = plan_run.fn(short)
    encode_prompts.fn(run)

    def gone() -> Exception:
        return VideoError("no video at 'out of memory.mp4'")

    with (
        _failing(FrameReader, "__next__", gone, 3) as failed,
        pytest.raises(VideoError) as caught,
    ):
        track_chunk.fn(run, 0)
    assert failed == [3]
    assert not is_transient(caught.value)


def test_quality_is_lost_only_when_allowed_and_said_aloud(
    short: SegmentRequest, tmp_path: Path, track_chunks: Callable[..., RunRef]
) -> None:
    """With the permission tracking goes on with a smaller input from the frame that did not fit,
    next chunks too; the record, the manifest and the table say so; and who did not give the
    permission does not get that result, but a whole one."""
    settings = {"device": "cpu", "encode_batch": 1, "object_batch": 1}
    request = short.model_validate(
        {
            **short.model_dump(),
            "settings": settings,
            "allow_quality_loss": True,
            "image_size": 128,
            "stop": 14,
        }
    )
    # Two objects, so the calls at frame 4 are the seventh and the eighth.
    with _failing(Sam2Model, "with_memory", _cuda, 7, 8):
        run = track_chunks(request)
    result = publish.fn(run, request)

    first, second = _done(run, 0), _done(run, 1)
    assert [step.partition(" (")[0] for step in first.degradations] == [
        "frame 4: freed caches and tried again",
        "frame 4: image size 128 -> 96, masks are coarser from here",
    ]
    assert first.quality_loss
    assert second.quality_loss
    assert second.rung.image_size == 96
    with MaskReader(Path(result.destination) / "masks.parquet") as reader:
        assert reader.metadata["quality_loss"] == "smaller image size in chunks 0, 1"
        rows = list(reader.rows())
    assert {row.frame for row in rows} == set(range(14))
    assert all(row.area > 0 for row in rows)

    strict = request.model_copy(update={"allow_quality_loss": False})
    asked_again = plan_run.fn(strict)
    assert asked_again.key == run.key
    record = RunFolder.from_ref(asked_again).record()
    assert find_result(run, record) is not None
    assert find_result(asked_again, record) is None
    assert RunFolder.from_ref(asked_again).plan_work(with_states=True) == [0, 1]


def test_a_published_result_names_its_rungs(
    short: SegmentRequest, segment: Callable[[SegmentRequest], ResultRef]
) -> None:
    """The manifest has what each chunk gave up, and how its time was spent."""
    with _failing(Sam2Model, "decode", _cuda, 5):
        result = segment(short)

    manifest = (Path(result.destination) / "manifest.json").read_text()
    assert "freed caches and tried again (OutOfMemoryError: CUDA out of memory" in manifest
    assert all(f'"{stage}"' in manifest for stage in ("decode", "encode", "track", "write"))
