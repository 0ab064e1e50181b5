"""Runs that begin with another video's memory: how it is made, found, checked and kept."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.commands.memory import make_memory
from samcore.errors import InputError, LostWorkError, SegmentationError, StateError
from samcore.masks.reader import MaskReader
from samcore.prompts.file import parse_prompts
from samcore.result.manifest import MASKS, MEMORY, read_manifest
from samcore.run.folder import RunFolder
from samcore.tracking.state import TrackerState
from tasks.encode_prompts import encode_prompts
from tasks.plan_run import plan_run
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest, validate_request
from tasks.run.refs import ResultRef
from tasks.settings import load_settings
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore

Ask = Callable[..., SegmentRequest]
Segment = Callable[[SegmentRequest], ResultRef]

STOP = 14
SHORT = {"stop": STOP, "chunk_frames": STOP, "overlap": 0}


def _make(result: object, **changes: object) -> str:
    given: dict[str, object] = {
        "output": None,
        "frames": None,
        "objects": None,
        "model": None,
        "checkpoint": None,
        "config": None,
        "plain_engine": False,
        "compile": False,
        "image_size": None,
        "device": "cpu",
        "dtype": "auto",
        "memory_policy": None,
        "video": None,
        "credentials": None,
        "replace": False,
        "settings": load_settings(),
        **changes,
    }
    return make_memory(str(result), **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tracked(clip, prompts, segment, tmp_path_factory) -> Path:
    """A result, in which one object is prompted on frame 0 and one on frame 10."""
    out = tmp_path_factory.mktemp("tracked") / "out"
    first = {**prompts["objects"][0], "prompts": prompts["objects"][0]["prompts"][:1]}
    request = validate_request(
        source=str(clip),
        prompts=parse_prompts({"objects": [first, prompts["objects"][1]]}),
        destination=str(out),
        model="nano",
        settings={"device": "cpu"},
        report=False,
        **SHORT,
    )
    segment(request)
    return out


@pytest.fixture(scope="module")
def state(tracked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both objects' memory, in a file."""
    path = tmp_path_factory.mktemp("state") / "both.safetensors"
    assert _make(tracked, output=path).startswith("memory of objects 1 on 1 frame, 7 on 1 frame: ")
    return path


def _warm(ask: Ask, state: Path | str, **changes: object) -> SegmentRequest:
    return ask(**{"prompts": None, "warm_start": str(state), **SHORT, **changes})


def _published(result: ResultRef) -> bytes:
    return (Path(result.destination) / MASKS).read_bytes()


def test_masks_do_not_depend_on_the_chunks(
    ask: Ask, segment: Segment, state: Path, tmp_path: Path
) -> None:
    """Whatever the plan, the result is the same to the last byte, and has the same key, which is
    not that of a run that begins with nothing; the record says what it began with."""
    whole = segment(_warm(ask, state))
    cut = segment(_warm(ask, state, chunk_frames=5, overlap=2, destination=str(tmp_path / "cut")))

    assert _published(whole) == _published(cut)
    assert whole.key == cut.key
    assert cut.seams_identical
    record = read_manifest(Path(whole.destination)).request
    assert record.warm_start is not None
    assert record.warm_start.source == str(state)
    assert record.warm_start.objects == (1, 7)
    assert [(item.id, item.source, item.prompted_frames) for item in record.objects] == [
        (1, "warm-start", ()),
        (7, "warm-start", ()),
    ]
    without = record.model_copy(update={"warm_start": None})
    assert without.result_key != record.result_key
    with MaskReader(Path(whole.destination) / MASKS) as reader:
        assert list(reader.masks(0)) == [1, 7]
        assert reader.masks(4)[1].any()


def test_prompts_and_other_objects_go_beside_it(
    ask: Ask, segment: Segment, state: Path, prompts: dict[str, list[dict[str, object]]]
) -> None:
    """A prompt of a known number corrects that object, another number is another object."""
    boxed = {"box": [10, 10, 60, 60]}
    asked = [
        {"id": 7, "label": "seven", "prompts": [{"frame": 6, **boxed}]},
        {"id": 9, "prompts": [{"frame": 3, **boxed}]},
    ]
    result = segment(_warm(ask, state, prompts={"objects": asked}))

    record = read_manifest(Path(result.destination)).request
    assert [(item.id, item.source) for item in record.objects] == [
        (1, "warm-start"),
        (7, "prompt"),
        (9, "prompt"),
    ]
    with MaskReader(Path(result.destination) / MASKS) as reader:
        assert [list(reader.masks(i)) for i in (0, 3)] == [[1, 7], [1, 7, 9]]
        assert [row.prompted for row in reader.rows(6, 7)] == [False, True, False]


def test_a_result_keeps_its_own_memory(ask: Ask, tracked: Path) -> None:
    """Without -o the memory is a file of the result, and --warm-start takes the result; nothing is
    replaced unasked."""
    with pytest.raises(InputError, match=r"no memory\.safetensors; make it by `longtake memory"):
        resolve_request(_warm(ask, tracked), cache_dir=load_settings().cache_dir)
    assert _make(tracked, objects=[7]) == f"memory of object 7 on 1 frame: {tracked / MEMORY}"
    assert any(file.name == MEMORY for file in read_manifest(tracked).files)

    run = resolve_request(_warm(ask, tracked), cache_dir=load_settings().cache_dir)

    assert run.record.warm_start is not None
    assert run.record.warm_start.objects == (7,)
    with pytest.raises(InputError, match="is there already: give -o, or --force"):
        _make(tracked)
    assert "object 1 on 2 frames" in _make(tracked, objects=[1], frames=[0, 12], replace=True)


def test_a_memory_that_was_lost_is_taken_again(ask: Ask, state: Path) -> None:
    """The run keeps a copy of its own; gone or damaged, planning again brings it back."""
    request = _warm(ask, state, chunk_frames=5)
    run = plan_run.fn(request)
    folder = RunFolder.from_ref(run)
    kept = folder.warm_start()
    assert kept is not None
    kept.write_bytes(b"damaged")
    with pytest.raises(LostWorkError, match=r"warm\.safetensors is gone or damaged"):
        encode_prompts.fn(run)
    assert RunFolder.from_ref(plan_run.fn(request)).warm_start() == kept


def test_the_mask_handoff_begins_with_it_too(ask: Ask, segment: Segment, state: Path) -> None:
    """Chunks that are prompted with masks have the run's warm start beside."""
    result = segment(_warm(ask, state, handoff="mask", chunk_frames=7, overlap=1))
    with MaskReader(Path(result.destination) / MASKS) as reader:
        assert all(list(reader.masks(i)) == [1, 7] for i in range(STOP))
        assert not any(row.prompted for row in reader.rows())


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"warm_start": "missing.safetensors"}, StateError, "No such file"),
        ({"warm_start": "https://host/state"}, InputError, "warm_start: wanted a path or s3://"),
        ({"model": "random-tiny"}, StateError, "another image size: 128, here it is 256"),
        ({"image_size": 256}, StateError, "another image size: 128, here it is 256"),
        (
            {"settings": {"device": "cpu", "memory_policy": "samurai"}},
            StateError,
            "another memory policy: sam2 1, here it is samurai 1",
        ),
        (
            {"settings": {"device": "cpu", "dtype": "bfloat16"}},
            StateError,
            "another precision: float32, here it is bfloat16",
        ),
        ({"automatic": {"max_objects": 3}}, InputError, "warm_start and automatic: wanted one"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_does_not_fit_is_said_before_the_video(
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    state: Path,
    change: dict[str, object],
    kind: type[SegmentationError],
    says: str,
) -> None:
    """One line, before the video is opened."""
    monkeypatch.setattr(
        "tasks.request.early_checks.open_recording", lambda *_args, **_rest: pytest.fail("opened")
    )
    with pytest.raises(kind, match=says) as caught:
        resolve_request(_warm(ask, state, **change), cache_dir=load_settings().cache_dir)
    assert "\n" not in str(caught.value)


def test_a_state_may_lie_in_a_bucket(ask: Ask, state: Path, bucket: str) -> None:
    """It is fetched, and is the same run as with the file; one that is not there is said."""
    store, place = ObjectStore(None), S3Location(bucket, "dogs/memory of.safetensors")
    with pytest.raises(InputError, match=f"there is no warm start {place.uri}"):
        resolve_request(_warm(ask, place.uri), cache_dir=load_settings().cache_dir)
    store.put_bytes(place, state.read_bytes())

    run = resolve_request(_warm(ask, place.uri), cache_dir=load_settings().cache_dir)

    run.lay_out()
    kept = run.folder.warm_start()
    assert kept is not None
    assert kept.read_bytes() == state.read_bytes()
    local = resolve_request(_warm(ask, state), cache_dir=load_settings().cache_dir)
    assert run.record.result_key == local.record.result_key
    assert run.record.warm_start is not None
    assert run.record.warm_start.source == place.uri


def test_a_damaged_state_is_refused_when_the_run_is_planned(
    ask: Ask, state: Path, tmp_path: Path
) -> None:
    """Its header is looked at before anything else is done."""
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(StateError, match=r"and its header tells of .* take a whole copy of it"):
        resolve_request(_warm(ask, damaged), cache_dir=load_settings().cache_dir)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"frames": [0, 99]}, "no frame 99: frames 0 to 13 were tracked"),
        ({"frames": list(range(9))}, "at most 8 frames of an object, got 9"),
        ({"objects": [2]}, "there is no object 2 in this result; it has 1, 7"),
        ({"objects": [7], "frames": [3]}, "no mask of object 7 on frames 3"),
        ({"video": "missing.mp4"}, "missing.mp4"),
    ],
)
def test_a_memory_that_cannot_be_made_is_one_line(
    tracked: Path, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    """What was wrong, and what there is; no file is left."""
    with pytest.raises(SegmentationError, match=says) as caught:
        _make(tracked, output=tmp_path / "state.safetensors", **change)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_is_not_replaced_unasked(tracked: Path, tmp_path: Path) -> None:
    """--force is there for that."""
    path = tmp_path / "state.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="is there already: choose another name, or give --force"):
        _make(tracked, output=path)
    assert path.read_bytes() == b"mine"
    _make(tracked, output=path, replace=True, memory_policy="samurai")
    assert TrackerState.load(path).policy == "samurai 1"


def test_a_key_without_a_warm_start_is_as_before(ask: Ask) -> None:
    """Nothing of it is in what the key is made from."""
    run = resolve_request(ask(), cache_dir=load_settings().cache_dir)
    old = json.loads(run.record.model_dump_json())
    del old["warm_start"]
    assert type(run.record).model_validate(old).result_key == run.record.result_key
