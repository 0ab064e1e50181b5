"""One video on many workers: chunks that find their own objects, and shares of the objects."""

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from flows.units import clear_units
from samcore.disk.files import file_record
from samcore.errors import InputError
from samcore.masks.ledger import read_ledger
from samcore.masks.rle import encode_masks, rle_iou
from samcore.masks.table import MaskReader
from samcore.result.manifest import read_manifest
from samcore.result.published import SeamList
from samcore.run.folder import RunFolder
from samcore.run.units import read_unit, unit_folder, unit_indices, write_unit
from samcore.scenes import Scene, box_of
from tasks.check_seam import check_seam
from tasks.join_units import is_put_together, join_units
from tasks.plan_run import plan_run
from tasks.publish import publish
from tasks.request.segment_request import SegmentRequest
from tasks.run.mirror import open_mirror
from tasks.run.refs import ResultRef, RunRef
from tasks.track_unit import track_unit

Ask = Callable[..., SegmentRequest]
Segment = Callable[[SegmentRequest], ResultRef]

BOX = {"objects": [{"id": 4, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]}


def shared_out(request: SegmentRequest, order: Sequence[int] | None = None) -> RunRef:
    """Track all units in some order, and put the chunks together."""
    run = plan_run.fn(request)
    folder = RunFolder.from_ref(run)
    record = folder.record()
    for index in order or unit_indices(record):
        write_unit(folder, track_unit.fn(run, index))
    for chunk in record.chunks:
        join_units.fn(run, chunk.index)
        if chunk.index:
            check_seam.fn(run, request, chunk.index)
    return run


def published(request: SegmentRequest, order: Sequence[int] | None = None) -> Path:
    """The same, and published; where."""
    return Path(publish.fn(shared_out(request, order), request).destination)


@pytest.fixture(scope="module")
def detections(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A detector that knows the truth: two labelled shapes, but not on the frames left out."""
    folder = tmp_path_factory.mktemp("detections")
    numbers = itertools.count()

    def write(*, but: range = range(0)) -> str:
        listed = [
            {"frame": frame, "box": list(box_of(mask)), "score": 0.9, "label": "ab"[place]}
            for frame in range(scene.num_frames)
            for place, mask in enumerate(scene.masks_nhw(frame))
            if mask.any() and frame not in but
        ]
        path = folder / f"{next(numbers)}.json"
        path.write_text(json.dumps({"detections": listed}))
        return f"file:{path}"

    return write


@pytest.fixture
def match(ask: Ask, detections: Callable[..., str], tmp_path: Path) -> Ask:
    """Make a request for three chunks, [0, 24) [18, 42) [36, 60), that find their own objects."""

    def make(place: str = "out", *, but: range = range(0), **changes: object) -> SegmentRequest:
        automatic = {"detector": detections(but=but), **changes.pop("automatic", {})}  # type: ignore[dict-item]
        return ask(
            **{
                "handoff": "match",
                "automatic": automatic,
                "prompts": None,
                "destination": str(tmp_path / place),
                "image_size": 64,
                "stop": 60,
                "chunk_frames": 24,
                "overlap": 6,
                **changes,
            }
        )

    return make


def ids_of_shapes(masks: Path, scene: Scene, frames: range) -> list[set[int]]:
    """By which numbers each shape goes: for each frame, the one whose mask is most like it."""
    numbers: list[Counter[int]] = [Counter(), Counter()]
    with MaskReader(masks) as reader:
        for frame, rows in reader.frames_iter(frames.start, frames.stop):
            for place, truth in enumerate(encode_masks(scene.masks_nhw(frame))):
                best = max(rows, key=lambda row, truth=truth: rle_iou(row.rle, truth))  # type: ignore[misc]
                numbers[place][best.object_id] += rle_iou(best.rle, truth) > 0.5
    return [set(+found) for found in numbers]


def test_matched_chunks_keep_ids_in_whatever_order_they_are_done(match: Ask, scene: Scene) -> None:
    """Each shape has one number over all seams, and label and source from its detector. Order of
    the work changes no byte of masks, objects or seams."""
    first = published(match("first"), [0, 1, 2])
    last = published(match("last"), [2, 0, 1])

    for name in ("masks.parquet", "objects.json", "seams.json"):
        assert (first / name).read_bytes() == (last / name).read_bytes()
    with MaskReader(first / "masks.parquet") as reader:
        assert reader.object_ids() == (1, 2)
        assert [(row.frame, row.object_id) for row in reader.rows()] == [
            (frame, obj_id) for frame in range(60) for obj_id in (1, 2)
        ]
    a, b = ids_of_shapes(first / "masks.parquet", scene, range(60))
    assert len(a) == len(b) == 1
    assert a != b
    ledger = read_ledger(first / "objects.json").objects
    assert [(item.id, item.source) for item in ledger] == [(1, "automatic"), (2, "automatic")]
    assert {item.label for item in ledger} == {"a", "b"}
    seams = SeamList.model_validate_json((first / "seams.json").read_bytes()).seams
    assert [(seam.start, seam.stop) for seam in seams] == [(18, 24), (36, 42)]
    assert all(seam.join is not None and len(seam.join.joined) == 2 for seam in seams)


def test_the_earlier_chunk_has_the_shared_frames(match: Ask) -> None:
    """On the overlap an object that goes on has the rows of the chunk with the longer memory."""
    request = match(stop=42)
    run = shared_out(request)
    folder = RunFolder.from_ref(run)
    units = [unit_folder(folder, unit) for i in (0, 1) if (unit := read_unit(folder, i))]
    with MaskReader(Path(publish.fn(run, request).destination) / "masks.parquet") as reader:
        rows = [(row.frame, row.object_id, row.counts) for row in reader.rows()]
    wanted = []
    for unit, frames in zip(units, ((0, 24), (24, 42)), strict=True):
        with MaskReader(unit.masks_path(0)) as reader:
            wanted += [(row.frame, row.object_id, row.counts) for row in reader.rows(*frames)]
    assert rows == wanted


def test_a_chunk_that_finds_nothing_ends_all(match: Ask) -> None:
    """Objects end with the chunk before, and what is found later is new; the seams say so."""
    place = published(match(but=range(18, 36)))

    seams = SeamList.model_validate_json((place / "seams.json").read_bytes()).seams
    joins = [seam.join for seam in seams if seam.join is not None]
    assert [[item.object_id for item in join.ended] for join in joins] == [[1, 2], []]
    assert [[item.object_id for item in join.begun] for join in joins] == [[], [3, 4]]
    with MaskReader(place / "masks.parquet") as reader:
        frames: dict[int, list[int]] = {}
        for row in reader.rows():
            frames.setdefault(row.object_id, []).append(row.frame)
    assert frames == {
        **{obj_id: list(range(24)) for obj_id in (1, 2)},
        **{obj_id: list(range(36, 60)) for obj_id in (3, 4)},
    }


def test_a_persons_object_goes_on_under_its_number(match: Ask, scene: Scene) -> None:
    """What a person prompts in one chunk is found by the next one, and keeps the person's number
    and label, up to a later prompt and from there on; it is not found beside the prompt."""
    asked = [{"frame": frame, "box": list(box_of(scene.masks_nhw(frame)[0]))} for frame in (0, 30)]
    first = {"objects": [{"id": 1, "label": "mine", "prompts": asked}]}
    place = published(match(prompts=first))

    with MaskReader(place / "masks.parquet") as reader:
        rows = [(row.frame, row.object_id) for row in reader.rows()]
        prompted = {(row.frame, row.object_id) for row in reader.rows() if row.prompted}
    assert rows == [(frame, obj_id) for frame in range(60) for obj_id in (1, 2)]
    assert ids_of_shapes(place / "masks.parquet", scene, range(60)) == [{1}, {2}]
    assert {(0, 1), (30, 1)} <= prompted
    ledger = read_ledger(place / "objects.json").objects
    assert [(item.id, item.label, item.source) for item in ledger] == [
        (1, "mine", "prompt"),
        (2, "b", "automatic"),
    ]
    # At the seam after the prompt each has its number once: what ended there is not said to end.
    seams = SeamList.model_validate_json((place / "seams.json").read_bytes()).seams
    joins = [seam.join for seam in seams if seam.join is not None]
    assert [[item.object_id for item in join.joined] for join in joins] == [[1, 2]] * 2
    assert not any(join.ended or join.begun for join in joins)


def test_matched_chunks_look_on_the_way_too(match: Ask, scene: Scene) -> None:
    """With detect_every a chunk tracks what enters, from its first look on; ids go on."""
    request = match(stop=42, overlap=12, automatic={"detect_every": 5})
    place = published(request)
    a, b = ids_of_shapes(place / "masks.parquet", scene, range(42))
    assert len(a) == len(b) == 1
    assert a != b
    ledger = read_ledger(place / "objects.json").objects
    assert {(item.label, item.first_frame) for item in ledger} == {("a", 0), ("b", 0)}


def test_a_result_knows_how_it_was_matched(match: Ask) -> None:
    """Plan and detector are part of the result, so another plan is another result."""
    keys = {
        plan_run.fn(request).key
        for request in (
            match(),
            match(chunk_frames=30),
            match(overlap=9),
            match(but=range(18, 36)),
            match(automatic={"max_objects": 1}),
        )
    }
    assert len(keys) == 5


def test_shards_are_one_worker_bit_for_bit(ask: Ask, segment: Segment, tmp_path: Path) -> None:
    """Where each object is a batch of its own, the shares' table is that of one worker to the last
    byte, wherever chunks are cut."""
    settings = {"device": "cpu", "object_batch": 1}
    common = {"image_size": 64, "stop": 32, "settings": settings}
    one = segment(ask(**common, destination=str(tmp_path / "one")))
    wanted = (Path(one.destination) / "masks.parquet").read_bytes()
    for chunk_frames in (12, 20):
        place = published(
            ask(
                **common,
                shards=2,
                chunk_frames=chunk_frames,
                destination=str(tmp_path / str(chunk_frames)),
            )
        )
        assert (place / "masks.parquet").read_bytes() == wanted
        manifest = read_manifest(place)
        assert manifest.cost is not None
        assert manifest.cost.stages["prompts"] == round(manifest.timings.prompt_pass, 3) > 0
        seams = SeamList.model_validate_json((place / "seams.json").read_bytes()).seams
        assert all(seam.identical and seam.join is None for seam in seams)


def test_shards_of_smaller_batches_are_one_worker_but_for_rounding(
    ask: Ask, segment: Segment, tmp_path: Path
) -> None:
    """Otherwise masks agree within the tolerance of other batch shapes."""
    boxes = {
        "objects": [
            {"id": i, "prompts": [{"frame": 0, "box": [10 * i, 10, 10 * i + 40, 60]}]}
            for i in (1, 2, 3)
        ]
    }
    common = {"image_size": 64, "stop": 16, "prompts": boxes}
    one = segment(ask(**common, destination=str(tmp_path / "one")))
    place = published(ask(**common, shards=3, destination=str(tmp_path / "three")))
    with (
        MaskReader(Path(one.destination) / "masks.parquet") as left,
        MaskReader(place / "masks.parquet") as right,
    ):
        pairs = list(zip(left.rows(), right.rows(), strict=True))
    assert len(pairs) == 3 * 16
    assert all(
        (a.frame, a.object_id, a.prompted) == (b.frame, b.object_id, b.prompted) for a, b in pairs
    )
    assert min(rle_iou(a.rle, b.rle) for a, b in pairs) > 0.99
    assert max(abs(a.object_score - b.object_score) for a, b in pairs) < 1e-3


def test_lost_work_of_a_unit_is_done_again(match: Ask) -> None:
    """A chunk that is put together needs its unit no more; one that is not is lost without it."""
    request = match(stop=42)
    run = plan_run.fn(request)
    folder = RunFolder.from_ref(run)
    for index in (0, 1):
        write_unit(folder, track_unit.fn(run, index))
    join_units.fn(run, 0)
    unit = read_unit(folder, 1)
    assert unit is not None
    unit_folder(folder, unit).discard_chunk(0)
    with pytest.raises(OSError, match="is gone or damaged; run again"):
        join_units.fn(run, 1)
    write_unit(folder, track_unit.fn(run, 1))
    join_units.fn(run, 1)
    assert all(is_put_together(folder, index) for index in (0, 1))
    # Other masks of a unit whose chunk is there: that chunk is joined again.
    unit = read_unit(folder, 0)
    assert unit is not None
    before = unit_folder(folder, unit)
    done = before.chunk_record(0)
    assert done is not None
    shutil.copy(unit_folder(folder, track_unit.fn(run, 1)).masks_path(0), before.masks_path(0))
    other = done.model_copy(update={"masks": file_record(before.masks_path(0))})
    before.finish_chunk(other, keep_states=False)
    folder.discard_chunk(1)
    with pytest.raises(OSError, match="is of other masks; run again"):
        join_units.fn(run, 1)
    assert not is_put_together(folder, 0)


def test_machines_share_the_bucket_only(
    match: Ask, clip: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each unit is tracked on a machine with a cache of its own, and put together on a third one:
    the result is that of one machine."""
    wanted = published(match("alone", stop=42))
    request = match(stop=42, destination=f"s3://{bucket}/out")
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / "flow"))
    run = plan_run.fn(request)
    folder = RunFolder.from_ref(run)
    mirror = open_mirror(run)
    assert mirror is not None
    mirror.push_plan(folder)
    for index in (1, 0):
        monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / f"worker-{index}"))
        elsewhere = run.model_copy(update={"folder": f"/nowhere/runs/{run.work_key}"})
        unit = track_unit.fn(elsewhere, index)
        assert not unit_folder(folder, unit).path.exists()
        write_unit(folder, unit)
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / "flow"))
    for index in (0, 1):
        join_units.fn(run, index)
        check = folder.finished_chunk(index)
        assert check is not None
    with (
        MaskReader(folder.masks_path(1)) as found,
        MaskReader(wanted / "masks.parquet") as alone,
    ):
        assert list(found.rows()) == list(alone.rows(18))
    publish.fn(run, request)
    left = {unit_folder(folder, one).path.name for i in (0, 1) if (one := read_unit(folder, i))}
    assert all(mirror.has(key) for key in left)
    clear_units(run, folder)
    assert len(left) == 2
    assert not any(mirror.has(key) for key in left)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"handoff": "match"}, "the hand-off match wants something that finds objects"),
        (
            {"handoff": "match", "prompts": None, "automatic": {"frame": 3}},
            "leave out the frame 3",
        ),
        (
            {"handoff": "match", "prompts": None, "automatic": {}, "overlap": 11},
            "wanted 1 to half of a chunk, 10 frames, got 11",
        ),
        (
            {"handoff": "match", "prompts": None, "automatic": {}, "overlap": 0},
            "joins identities over the overlap",
        ),
        ({"handoff": "mask", "shards": 2}, "shards want the hand-off memory"),
        (
            {"shards": 2, "automatic": {"detector": "motion", "detect_every": 5}},
            "shards want objects that are known at the start",
        ),
        ({"shards": 2, "settings": {"retire_after": 9}}, "do not go with retire_after"),
        ({"shards": 0}, "shards: wanted a number from 1 to 1000, or auto, got 0"),
        ({"shards": "few"}, "or auto, got 'few'"),
        ({"shards": 3}, "3 are more than there are objects, which are 2"),
        ({"shards": 2, "runner": "moon"}, "got 'moon', known are here, processes, dask, ray"),
        ({"shards": 2, "runner": "processes:many"}, r"wanted processes\[:N\]"),
        ({"shards": 2, "runner": "here:2"}, "wanted here, "),
        ({"shards": 2, "runner": "dask:0"}, r"wanted dask\[:N\|ADDRESS\]"),
    ],
)
def test_what_cannot_be_shared_out_is_refused_in_one_line(
    ask: Ask, changes: dict[str, object], said: str
) -> None:
    """Before any work, with the way out."""
    with pytest.raises(InputError, match=said) as caught:
        plan_run.fn(ask(**changes))
    assert "\n" not in str(caught.value)
