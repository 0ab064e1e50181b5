"""A state's file may be damaged, or a stranger's: it is refused in one line, or is what it was."""

import json
import os
import random
import resource
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samcore.errors import StateError
from samcore.identities.config import AssociationConfig
from samcore.identities.held import HeldFrame, Identities
from samcore.identities.ledger import Ledger, Track
from samcore.limits import Limits
from samcore.masks.frame_masks import FrameMasks
from samcore.tracking.identity_tracker import IdentityTracker
from samcore.tracking.memory.store import FrameMemory
from samcore.tracking.state import CondOutput, ObjectState, TrackerState
from samcore.tracking.state_header import HEADER_KEY, read_header
from samcore.tracking.tracker import VideoTracker

NUM_MUTATIONS = 1000
ROOM = 48 * 2**20
"""Bytes of address space that reading a file of some kilobytes may take, the interpreter's own
arenas included."""


def _state() -> TrackerState:
    random_numbers = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random_numbers)

    def memory(frame_idx: int, *, is_spatial: bool = True) -> FrameMemory:
        maskmem = numbers(1, 4, 2, 2).bfloat16() if is_spatial else None
        return FrameMemory(frame_idx, maskmem, numbers(1, 8), torch.tensor(2.5), torch.tensor(0.75))

    policy = {"cond": [0, 40], "tracked": [1, 19], "next_frame": 20}
    memories = (memory(0), memory(1, is_spatial=False), memory(19), memory(40))
    output = CondOutput(40, numbers(1, 1, 4, 4), 3.0, 0.5)
    return TrackerState(
        model_fingerprint="sha256:0123",
        image_size=128,
        dtype="float32",
        height=96,
        width=128,
        num_frames=66,
        next_frame=20,
        max_cond_frames=16,
        policy="sam2 1",
        objects=tuple(ObjectState(i, 0, memories, (output,), policy) for i in (1, 7)),
    )


def _found_state() -> TrackerState:
    """One with a ledger and rows that are held."""
    scores = np.array([2.5, -1.0], np.float32)
    masks_nhw = np.zeros((2, 96, 128), np.bool_)
    masks_nhw[0, 10:30, 20:90] = True
    held = [
        HeldFrame.of(FrameMasks(t, (1, 7), masks_nhw, scores, scores, scores > 9, (), (9,)))
        for t in (18, 19)
    ]
    young = Track(
        obj_id=7,
        label="dog",
        first_frame=18,
        score=0.9,
        keep_alive=30,
        unmatched=1,
        shared=((1, 2),),
        last_occluded=19,
    )
    ledger = Ledger(next_id=9, tracks=(young,))
    identities = Identities(config=AssociationConfig(), ledger=ledger, held=tuple(held))
    return replace(_state(), identities=identities)


MAKE = {"plain": _state, "found": _found_state}


def _plain(value: Any) -> Any:
    """A state, comparable bit for bit."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.float().numpy().tobytes()
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


@pytest.fixture(scope="module", params=MAKE)
def state(request: pytest.FixtureRequest) -> TrackerState:
    """A state without detected objects, and one with some."""
    return MAKE[request.param]()


@pytest.fixture(scope="module")
def whole(state: TrackerState, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A state's file."""
    path = tmp_path_factory.mktemp("states") / "whole.safetensors"
    state.save(path)
    return path.read_bytes()


def _parts(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The header without what the state says of itself; that; and the tensors."""
    end = 8 + int.from_bytes(data[:8], "little")
    outer = json.loads(data[8:end])
    return outer, json.loads(outer.pop("__metadata__")[HEADER_KEY]), data[end:]


def _joined(outer: dict[str, Any], inner: Any, tensors: bytes) -> bytes:
    text = inner if isinstance(inner, str) else json.dumps(inner)
    header = json.dumps({"__metadata__": {HEADER_KEY: text}, **outer}).encode()
    return len(header).to_bytes(8, "little") + header + tensors


def _flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 8])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _splice(data: bytes, rng: random.Random) -> bytes:
    at, length = rng.randrange(len(data)), rng.randrange(1, 40)
    other = rng.choice([b"", rng.randbytes(length), data[:length] * 2])
    return data[:at] + other + data[at + rng.choice([0, length]) :]


def _lie_about_length(data: bytes, rng: random.Random) -> bytes:
    length = rng.choice([0, 1, 2**31, 2**40, 2**63 - 1, 2**64 - 1, len(data), len(data) - 8])
    return length.to_bytes(8, "little") + data[8:]


JUNK: list[Callable[[random.Random], Any]] = [
    lambda rng: rng.choice([None, True, "", "x\ny", "\x1b[2J", "a" * 5000, -1, 0, 3.5, 2**62]),
    lambda rng: rng.choice([10**200, -(10**17), float("nan"), float("inf"), 1e300]),
    lambda rng: rng.choice([[], {}, [2**40, 2**40], [2**20, 2**20, 2**20], [0, 2**50], [[]]]),
    lambda rng: rng.choice(["I64", "F64", "BOOL", "F32", "BF16", "F16", "output", "memory"]),
    lambda rng: _nested(rng.choice([3, 13, 200, 5000])),
]


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth if depth < 900 else 0):
        value = [value]
    return value if depth < 900 else f"nested {depth}"


def _edit(node: Any, rng: random.Random) -> None:
    """Change, drop, or add something somewhere in what JSON said."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.8:
            node = node[key]
            continue
        what = rng.choice(["change", "change", "change", "drop", "add", "move"])
        if what == "drop":
            del node[key]
        elif what == "add" and isinstance(node, dict):
            node[rng.choice(["x", "2.memory.0.obj_ptr", "shape", "a\nb"])] = rng.choice(JUNK)(rng)
        elif what == "move" and isinstance(node[key], int):
            node[key] += rng.choice([-2, -1, 1, 2, 64])
        else:
            node[key] = rng.choice(JUNK)(rng)
        return


def _edit_outer(data: bytes, rng: random.Random) -> bytes:
    outer, inner, tensors = _parts(data)
    _edit(outer, rng)
    return _joined(outer, inner, tensors)


def _edit_inner(data: bytes, rng: random.Random) -> bytes:
    outer, inner, tensors = _parts(data)
    _edit(inner, rng)
    return _joined(outer, inner, tensors)


def _deep(data: bytes, rng: random.Random) -> bytes:
    outer, inner, tensors = _parts(data)
    depth = rng.choice([20, 990, 100_000])
    text = json.dumps(inner).replace('"cond": [', '"cond": [' + "[" * depth, 1)
    return _joined(outer, text + "]" * rng.choice([0, depth]), tensors)


def _twice(data: bytes, rng: random.Random) -> bytes:
    outer, inner, tensors = _parts(data)
    name = rng.choice(list(outer))
    header = json.dumps({"__metadata__": {HEADER_KEY: json.dumps(inner)}, **outer})
    header = header[:-1] + f', "{name}": {json.dumps(outer[name])}}}'
    return len(header).to_bytes(8, "little") + header.encode() + tensors


def _no_numbers(data: bytes, rng: random.Random) -> bytes:
    at = len(data) - len(_parts(data)[2])
    at += 4 * rng.randrange((len(data) - at) // 4)
    return data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]


MUTATIONS = [
    *[_flip, _flip, _flip, _cut, _splice, _lie_about_length],
    *[_edit_outer, _edit_outer, _edit_outer, _edit_inner, _edit_inner, _edit_inner],
    *[_deep, _twice, _no_numbers],
]


def _load(path: Path, data: bytes) -> TrackerState | None:
    """The state; None if it was refused, in one line that says what is wrong and what to do."""
    path.write_bytes(data)
    try:
        return TrackerState.load(path)
    except StateError as error:
        said = str(error)
        assert said.isprintable()
        assert len(said) < 600
        assert str(path) in said
        assert said.endswith("take a whole copy of it, or make it again")
        return None


def _refusal(model: Any, state: TrackerState) -> str | None:
    kind = VideoTracker if state.identities is None else IdentityTracker
    try:
        kind.from_state(model, state)
    except StateError as error:
        return str(error)
    return None


@pytest.fixture
def little_room():
    """No more address space than the process has, and some."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs /proc")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_a_thousand_damaged_files(whole, state, tmp_path, little_room):
    """Each is refused in one line, or is the very state; none takes memory for what it claims."""
    rng = random.Random(11)
    state = _plain(state)
    path = tmp_path / "state.safetensors"
    refused = 0
    for number in range(NUM_MUTATIONS):
        mutate = MUTATIONS[number % len(MUTATIONS)]
        loaded = _load(path, mutate(whole, rng))
        assert loaded is None or _plain(loaded) == state, (number, mutate.__name__)
        refused += loaded is None
    assert refused > 0.9 * NUM_MUTATIONS


def test_files_that_mean_harm(whole, tmp_path, little_room, smallest_model):
    """Without the digest, which who means harm could make anew, no file ends in anything but a
    line: neither when it is read nor when a tracker is to go on from it."""
    rng = random.Random(12)
    outer, inner, tensors = _parts(whole)
    facts = smallest_model.facts
    ours = {"model_fingerprint": facts.fingerprint, "image_size": facts.image_size}
    unsealed = _joined(outer, {**inner, **ours, "sha256": None}, tensors)
    path = tmp_path / "state.safetensors"
    taken = 0
    for number in range(400):
        mutate = (_edit_inner, _edit_outer, _no_numbers)[number % 3]
        state = _load(path, mutate(unsealed, rng))
        if state is None:
            continue
        said = _refusal(smallest_model, state)
        assert said is None or said.isprintable()
        if state.identities is not None:
            for held in state.identities.held:
                held.masks(height=state.height, width=state.width)
        taken += said is None
    assert taken > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": [2**40, 2**20]}, "does not fit its"),
        ({"shape": [-1, -8]}, "is not 1 to 8 sides"),
        ({"dtype": "I32"}, "is none of F32, F16, BF16"),
        ({"data_offsets": [0, 2**50]}, "does not fit its"),
        ({"data_offsets": [32, 64]}, "has bytes of another one|comes after a hole"),
    ],
)
def test_what_is_wrong_with_a_tensor_is_said(whole, tmp_path, change, words):
    """The line names the tensor."""
    outer, inner, tensors = _parts(whole)
    outer["1.memory.0.obj_ptr"] |= change
    path = tmp_path / "state.safetensors"
    path.write_bytes(_joined(outer, inner, tensors))

    with pytest.raises(StateError, match=words):
        TrackerState.load(path)


def test_a_flipped_bit_anywhere_is_found(whole, tmp_path):
    """Also in a number that would be a number still."""
    path = tmp_path / "state.safetensors"
    outer, inner, tensors = _parts(whole)
    changed = bytearray(tensors)
    changed[0] ^= 1
    path.write_bytes(_joined(outer, inner, bytes(changed)))
    with pytest.raises(StateError, match="does not have the digest"):
        TrackerState.load(path)
    path.write_bytes(_joined(outer, inner | {"max_cond_frames": 17}, tensors))
    with pytest.raises(StateError, match="does not have the digest"):
        TrackerState.load(path)


def test_a_state_without_a_digest_is_read(whole, state, tmp_path):
    """Earlier versions wrote none: their work goes on."""
    path = tmp_path / "state.safetensors"
    outer, inner, tensors = _parts(whole)
    del inner["sha256"]
    path.write_bytes(_joined(outer, inner, tensors))

    assert _plain(TrackerState.load(path)) == _plain(state)


def test_no_file_is_waited_for_or_read_beyond_the_limit(whole, tmp_path):
    """A pipe, a folder, a file that is larger than allowed: an error at once."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(StateError, match=r"it is no file|Is a directory"):
            TrackerState.load(path)
    path = tmp_path / "state.safetensors"
    path.write_bytes(whole)
    with pytest.raises(StateError, match=r"the limit is 1,000, which LONGTAKE_MAX_STATE_BYTES"):
        TrackerState.load(path, limits=Limits(max_state_bytes=1000))


WRONG_HELD = {
    "of the frames before 20": lambda held: held.__setitem__(slice(1, 2), []),
    "are not of the frames": lambda held: held[0].update(frame_idx=19),
    "object twice on frame 18": lambda held: held[0]["rows"][1].update(obj_id=1),
    "twice on frame 19": lambda held: held[1].update(retired=[9]),
    "of object 7 on frame 19 is damaged": lambda held: held[1]["rows"][1].update(counts=["0"]),
    "of object 1 on frame 18 is damaged": lambda held: held[0]["rows"][0].update(counts=["\u00e4"]),
    "which is no number": lambda held: held[0]["rows"][0].update(score=float("inf")),
}
WRONG_TRACK = {
    "ids that do not ascend": {"obj_id": 9},
    "has object 8, of which there is nothing else": {"obj_id": 8},
    "object 7 on a frame that is to come": {"last_occluded": 20},
    "counts wrongly what object 7 shares": {"shared": [[1, 2], [1, 3]]},
    "counts wrongly what": {"shared": [[1, 0]]},
    "greater than or equal to 1": {"obj_id": 0},
    "extra inputs": {"another": 1},
}


def _refused_with(tmp_path: Path, words: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = tmp_path / "state.safetensors"
    _found_state().save(path)
    outer, inner, tensors = _parts(path.read_bytes())
    change(inner)
    path.write_bytes(_joined(outer, {**inner, "sha256": None}, tensors))
    with pytest.raises(StateError, match=words):
        TrackerState.load(path)


@pytest.mark.parametrize("words", WRONG_HELD)
def test_what_is_wrong_with_held_rows_is_said(tmp_path, words):
    """Frames, objects, run lengths: each has to fit before a tracker gives the rows on."""
    change = WRONG_HELD[words]
    _refused_with(tmp_path, words, lambda inner: change(inner["identities"]["held"]))


@pytest.mark.parametrize("words", WRONG_TRACK)
def test_what_is_wrong_with_a_ledger_is_said(tmp_path, words):
    """It names objects that there are, on frames that have been, and ids that were given."""
    change = WRONG_TRACK[words]
    _refused_with(
        tmp_path, words, lambda inner: inner["identities"]["ledger"]["tracks"][0].update(change)
    )


def test_held_rows_of_a_picture_without_end_are_refused(tmp_path):
    """A valid mask of a million times a million pixels would fill the memory when it is shown."""

    def enlarge(inner):
        inner.update(height=10**6, width=10**6)
        for frame in inner["identities"]["held"]:
            frame["rows"] = []

    _refused_with(tmp_path, "larger than any that are taken", enlarge)


@pytest.mark.parametrize(("version", "drops"), [(2, False), (3, True)])
def test_a_version_that_does_not_fit_its_content_is_refused(tmp_path, version, drops):
    """Identities came with version 3, and are in each file of it."""

    def change(inner):
        inner["version"] = version
        if drops:
            del inner["identities"]

    _refused_with(tmp_path, f"format version {version} does not have what it has", change)


def test_a_header_is_read_without_its_tensors(whole, tmp_path):
    """What a file says of itself is known without a tensor being read."""
    path = tmp_path / "state.safetensors"
    path.write_bytes(whole)

    header = read_header(path)

    assert (header.policy, header.next_frame) == ("sam2 1", 20)
    assert [obj.obj_id for obj in header.objects] == [1, 7]


def test_a_policy_that_reads_what_is_not_there_is_refused(smallest_model, tmp_path):
    """A state whose policy names a frame without its memory is refused before anything is
    tracked."""
    tracker = VideoTracker(smallest_model, height=96, width=128)
    state = _state()
    facts = smallest_model.facts
    wrong = TrackerState(
        **{
            **{field.name: getattr(state, field.name) for field in fields(state)},
            "model_fingerprint": facts.fingerprint,
            "image_size": facts.image_size,
            "dtype": tracker.model.dtype_name,
            "objects": (
                ObjectState(1, 0, (), (), {"cond": [0, 40], "tracked": [], "next_frame": 20}),
            ),
            "policy_options": {},
        }
    )
    with pytest.raises(StateError, match="no memory of frame 0"):
        VideoTracker.from_state(tracker.model, wrong)
