"""One shard: every picture has its masks or its fault, and nothing is done twice."""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from samcore.errors import SegmentationError, TransientStorageError
from samcore.images.everything import EverythingOptions
from samcore.images.segmenter import ImageSegmenter
from samcore.machine.stopping import WorkStopped
from samcore.masks.rle import decode_mask
from samcore.picture_runs.drawn import DrawnPictures, read_drawn
from samcore.picture_runs.prompts import picture_prompts
from samcore.picture_runs.records import PictureAsk, PictureEntry, ShardRecord
from samcore.picture_runs.shard import segment_shard
from samcore.picture_runs.table import PictureRow, read_pictures
from samcore.prompts.automatic import AutomaticPrompts
from tests.samcore.detectors.examples import hub_folder
from tests.samcore.models.transformers.small_models import save_sam3_video
from tests.samcore.picture_runs.conftest import MakeRun, picture_png

BOX = PictureAsk(prompts=picture_prompts([{"box": [16, 16, 48, 48]}], ["disc"]))
EVERYTHING = PictureAsk(
    everything=EverythingOptions(points_per_side=2, min_stability=0.5, min_predicted_iou=0.2)
)


def _rows(folder, index: int) -> dict[int, list[PictureRow]]:
    return dict(read_pictures(folder.masks_path(index)))


def test_one_broken_picture_does_not_stop_the_others(
    make_run: MakeRun, pictures: list[Path]
) -> None:
    """Each picture of a shard has a record; the broken one says why, the others have the disc."""
    folder = make_run(pictures, BOX, shard=5)

    record = segment_shard(folder, 0)

    assert [one.index for one in record.pictures] == [0, 1, 2, 3, 4]
    assert [bool(one.error) for one in record.pictures] == [False, False, True, False, False]
    assert "2.png" in record.pictures[2].error
    rows = _rows(folder, 0)
    assert list(rows) == [0, 1, 3, 4]
    for at in rows:
        (row,) = rows[at]
        assert (row.object_id, row.label, row.name) == (1, "disc", f"{at}.png")
        mask = decode_mask(row.rle)
        assert mask[32, 32]
        assert mask[12:52, 12:52].sum() > 0.8 * mask.sum() > 200
    assert folder.finished_shard(0) == record


def test_processes_that_share_a_run_have_a_device_each(
    make_run: MakeRun, pictures: list[Path]
) -> None:
    """Another process lays the same run out for a GPU of its own: this one stays on its device."""
    folder = make_run(pictures, BOX)
    other = folder.record().model_copy(update={"device": "cuda:1"})
    folder.create(other, folder.entries(0, 5))

    assert folder.record() == other
    assert segment_shard(folder, 0, device="cpu").device == "cpu"


def test_a_record_is_believed_only_with_its_files(make_run: MakeRun, pictures: list[Path]) -> None:
    """A shard whose masks or drawn pictures are damaged is not done."""
    folder = make_run(pictures, BOX)
    segment_shard(folder, 0)
    for path in (folder.masks_path(0), folder.drawn_path(0)):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + b"?")
        assert folder.finished_shard(0) is None
        path.write_bytes(content)
    assert folder.finished_shard(0) is not None
    # Nor is one that was copied from another place.
    other = folder.done_path(1)
    other.parent.mkdir(parents=True)
    other.write_bytes(folder.done_path(0).read_bytes())
    assert folder.shard_record(1) is None


def test_drawn_pictures_show_the_masks(make_run: MakeRun, pictures: list[Path]) -> None:
    """What could be read is drawn, in its size; without overlays only for the sheet."""
    folder = make_run(pictures, BOX, shard=5)
    segment_shard(folder, 0)
    drawn = {(kind, at): data for kind, at, data in read_drawn(folder.drawn_path(0))}

    assert set(drawn) == {(kind, at) for kind in ("overlay", "sheet") for at in (0, 1, 3, 4)}
    image = cv2.imdecode(np.frombuffer(drawn["overlay", 0], np.uint8), cv2.IMREAD_COLOR)
    before = cv2.imread(str(pictures[0]))
    assert image.shape == before.shape
    inside = np.abs(image[28:36, 28:36].astype(int) - before[28:36, 28:36]).mean()
    assert inside > 20

    bare = make_run(pictures, BOX, shard=5, overlay=False)
    segment_shard(bare, 0)
    assert {kind for kind, _, _ in read_drawn(bare.drawn_path(0))} == {"sheet"}


def test_pictures_longer_than_a_jpeg_may_be_are_drawn_smaller(tmp_path: Path) -> None:
    """One of 70,000 pixels in a row is no reason to end a run."""
    path = tmp_path / "drawn.tar"
    with DrawnPictures(path) as drawn:
        drawn.add(3, np.full((40, 70_000, 3), 90, np.uint8), full=True, sheet=True)

    for kind, at, data in read_drawn(path):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert (at, image.shape[1]) == (3, 65_500 if kind == "overlay" else 320)


def test_what_the_list_says_goes_before_what_the_run_asks(
    make_run: MakeRun, pictures: list[Path]
) -> None:
    """A picture with prompts of its own among those of which everything is segmented."""
    own = PictureEntry(
        place=str(pictures[1]),
        mark="",
        name="own.png",
        stem="own",
        prompts=picture_prompts({"objects": [{"id": 7, "prompts": [{"box": [16, 16, 48, 48]}]}]}),
    )
    folder = make_run([pictures[0], own, pictures[3]], EVERYTHING, shard=3)

    segment_shard(folder, 0)
    rows = _rows(folder, 0)

    assert [row.object_id for row in rows[1]] == [7]
    assert rows[1][0].stability is None
    for at in (0, 2):
        assert [row.object_id for row in rows[at]] == list(range(1, len(rows[at]) + 1))
        assert all(row.stability is not None for row in rows[at])


def test_texts_of_a_shard_are_read_together(
    make_run: MakeRun, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAM 3's reader of texts is loaded twice, however many texts the list has."""
    concepts = pytest.importorskip("samcore.models.transformers.concepts")
    loads = []
    load = concepts._load
    monkeypatch.setattr(concepts, "_load", lambda folder: loads.append(folder) or load(folder))
    texts = [("red car",), ("dog", "person"), ("person", "red car"), ("dog", "disc")]
    entries = [
        PictureEntry(place=str(path), mark="", name=path.name, stem=path.stem, texts=words)
        for path, words in zip([*pictures[:2], *pictures[3:]], texts, strict=True)
    ]
    ask = PictureAsk(
        text_detector=AutomaticPrompts(text=("red car",), min_score=0.0, min_area=1e-6)
    )
    net = save_sam3_video(tmp_path / "sam3")
    folder = make_run(entries, ask, shard=4, model=f"hf:{net}", image_size=84)

    record = segment_shard(folder, 0)

    assert len(loads) == 2
    assert not any(one.error for one in record.pictures)
    for at, rows in _rows(folder, 0).items():
        assert {row.label for row in rows} <= set(texts[at])


def test_texts_of_the_list_give_masks_with_their_words(
    make_run: MakeRun, pictures: list[Path], tmp_path: Path
) -> None:
    """A row's own texts beside those of the run: a label is one of its picture's texts."""
    pytest.importorskip("transformers")
    net = hub_folder(tmp_path / "net", "owlv2")
    detector = AutomaticPrompts(
        detector=f"transformers:{net}",
        text=("disc",),
        min_score=0,
        min_area=1e-6,
        max_objects=3,
    )
    own = PictureEntry(
        place=str(pictures[1]), mark="", name="own.png", stem="own", texts=("red car", "dog")
    )
    ask = PictureAsk(detector=detector, text_detector=detector)
    folder = make_run([pictures[0], own], ask)

    segment_shard(folder, 0)
    rows = _rows(folder, 0)

    assert {row.label for row in rows[0]} == {"disc"}
    assert {row.label for row in rows[1]} <= {"red car", "dog"}
    assert 1 <= len(rows[1]) <= 3


def test_what_a_detector_finds_is_segmented(make_run: MakeRun, pictures: list[Path]) -> None:
    """The model's own masks, by the detector of that name: numbered from 1 on, best first."""
    detector = AutomaticPrompts(points_per_side=4, min_predicted_iou=0, min_stability=0)
    folder = make_run(pictures[:2], PictureAsk(detector=detector))

    segment_shard(folder, 0)

    for rows in _rows(folder, 0).values():
        assert [row.object_id for row in rows] == list(range(1, len(rows) + 1))
        scores = [row.score for row in rows]
        assert scores == sorted(scores, reverse=True)


def test_a_network_that_cannot_be_used_is_no_picture_s_fault(
    make_run: MakeRun, pictures: list[Path], tmp_path: Path
) -> None:
    """Damaged weights end the shard, to be done again; they mark no picture as broken."""
    pytest.importorskip("transformers")
    net = hub_folder(tmp_path / "net", "owlv2")
    detector = AutomaticPrompts(detector=f"transformers:{net}", text=("disc",), min_score=0)
    folder = make_run(pictures[:2], PictureAsk(detector=detector))
    for weights in net.glob("*.safetensors"):
        weights.write_bytes(b"torn")

    with pytest.raises(SegmentationError):
        segment_shard(folder, 0)
    assert folder.finished_shard(0) is None


def test_a_prompt_outside_of_one_picture_is_its_fault_alone(
    make_run: MakeRun, tmp_path: Path, pictures: list[Path]
) -> None:
    """Pictures of several sizes and one box: where it does not fit the picture is listed."""
    small = tmp_path / "small.png"
    small.write_bytes(picture_png(0, side=32))
    folder = make_run([pictures[0], small], BOX)

    record = segment_shard(folder, 0)

    assert [bool(one.error) for one in record.pictures] == [False, True]
    assert "wanted a box in the picture, 0 to 32 across" in record.pictures[1].error
    assert "frame" not in record.pictures[1].error


def test_shards_give_the_masks_of_one(make_run: MakeRun, pictures: list[Path]) -> None:
    """How a list is cut changes no row."""
    one, many = make_run(pictures, EVERYTHING, shard=5), make_run(pictures, EVERYTHING, shard=1)
    segment_shard(one, 0)
    for index in range(5):
        segment_shard(many, index)

    apart = {at: rows for index in range(5) for at, rows in _rows(many, index).items()}
    assert apart == _rows(one, 0)
    assert one.path != many.path


def test_memory_that_does_not_suffice_is_met_step_by_step(
    make_run: MakeRun, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that does not fit is tried in smaller steps, which the record has."""
    whole = make_run(pictures, BOX, shard=5)
    calm = segment_shard(whole, 0)
    wanted = _rows(whole, 0)
    tried: list[int] = []
    segment = ImageSegmenter.segment

    def short(self, *args, **options):  # type: ignore[no-untyped-def]
        tried.append(self.rung.encode_batch * self.rung.object_batch)
        if len(tried) < 4:
            raise MemoryError("no more memory")
        return segment(self, *args, **options)

    monkeypatch.setattr(ImageSegmenter, "segment", short)
    whole.done_path(0).unlink()
    record = segment_shard(whole, 0)

    assert calm.degradations == ()
    assert record.degradations
    assert all(step.startswith("picture ") for step in record.degradations)
    assert tried[3] < tried[0]
    assert _rows(whole, 0) == wanted


def test_a_killed_attempt_is_known_to_the_next(make_run: MakeRun, pictures: list[Path]) -> None:
    """Its mark is there; the next attempt counts it, and removes the mark."""
    folder = make_run(pictures, BOX)
    record = _killed_in(folder)

    assert record.attempts == 2
    assert not folder.attempt_path(0).exists()


def _killed_in(folder) -> ShardRecord:
    stop = threading.Event()
    stop.set()
    with pytest.raises(WorkStopped):
        segment_shard(folder, 0, stop=stop)
    assert folder.finished_shard(0) is None
    assert not folder.masks_path(0).exists()
    # As a kill leaves it: a mark of a process that is gone.
    from samcore.run.attempts import attempting

    with attempting(folder.attempt_path(0), last_rung=3):
        mark = folder.attempt_path(0).read_bytes()
    folder.attempt_path(0).write_bytes(mark)
    return segment_shard(folder, 0)


def test_objects_of_buckets_are_fetched(make_run: MakeRun) -> None:
    """One that is gone is a fault of its own; a store that is away ends the shard, to be tried
    again."""
    entries = [
        PictureEntry(place=f"s3://b/{at}.png", mark="m", name=f"{at}.png", stem=str(at))
        for at in range(2)
    ]
    folder = make_run(entries, BOX)

    def fetch(address: str) -> bytes:
        if address.endswith("1.png"):
            raise FileNotFoundError(f"there is no {address}")
        return picture_png(0)

    record = segment_shard(folder, 0, fetch=fetch)
    assert [one.error for one in record.pictures] == ["", "there is no s3://b/1.png"]

    def away(address: str) -> bytes:
        raise TransientStorageError(f"cannot read {address}: no answer")

    folder.done_path(0).unlink()
    with pytest.raises(TransientStorageError):
        segment_shard(folder, 0, fetch=away)
    assert folder.finished_shard(0) is None
