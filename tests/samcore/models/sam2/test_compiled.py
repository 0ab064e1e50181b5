"""A compiled model: the masks of the plain one, few compilations, and the same bits wherever a
chunk begins."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from samcore.errors import InputError
from samcore.machine.compiling import Compiler, check_can_compile
from samcore.machine.device import choose_compute
from samcore.masks.frame_masks import FrameMasks
from samcore.models.family import AttendedMemory
from samcore.models.known import NANO_DIR
from samcore.models.sam2.adapter import Sam2Model, build_model
from samcore.models.sam2.compiled import MOST_PROMPTED, CompiledParts
from samcore.scenes import Scene
from samcore.tracking.tracker import VideoTracker

# Tracing takes seconds on a quiet machine, minutes on a busy one.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HEIGHT, WIDTH, NUM_FRAMES = 48, 64, 36
CUT = 21
PARTS = ("image encoder", "memory attention", "mask decoder", "memory encoder")


def build(backend: str | None) -> Sam2Model:
    """The embedded model at a small size. The backend `aot_eager` traces as Inductor does, and
    runs PyTorch's own kernels: seconds, not minutes."""
    return build_model(
        str(NANO_DIR / "config.yaml"),
        NANO_DIR / "nano.safetensors",
        seed=None,
        image_size=64,
        fingerprint="nano",
        compute=choose_compute("cpu", "float32"),
        compiler=None if backend is None else Compiler(backend),
    )


@pytest.fixture(scope="module")
def compiled() -> Sam2Model:
    return build("aot_eager")


SCENE = Scene(3, num_frames=NUM_FRAMES, height=HEIGHT, width=WIDTH, num_objects=3)


@pytest.fixture(scope="module")
def frames() -> list[NDArray[np.uint8]]:
    return [frame.image_rgb_hwc_u8 for frame in SCENE]


def start(model: Sam2Model) -> VideoTracker:
    """Three objects, of which the last begins later."""
    tracker = VideoTracker(model, height=HEIGHT, width=WIDTH, num_frames=NUM_FRAMES)
    for number, frame_idx in enumerate((0, 0, 3)):
        mask_hw = SCENE.masks_nhw(frame_idx)[number]
        tracker.add_mask(number + 1, frame_idx, mask_hw)
    return tracker


@pytest.fixture(scope="module")
def attended() -> Iterator[list[int]]:
    """How many objects each call of the compiled attention was for."""
    counts: list[int] = []
    attend = CompiledParts.attend

    def listen(self, tokens_n1c, pos_n1c, memory_lbm, memory_pos_lbm, *, num_ptr_tokens):
        counts.append(memory_lbm.shape[1])
        return attend(
            *(self, tokens_n1c, pos_n1c, memory_lbm, memory_pos_lbm), num_ptr_tokens=num_ptr_tokens
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CompiledParts, "attend", listen)
        yield counts


@pytest.fixture(scope="module")
def whole(compiled, frames, attended, tmp_path_factory) -> list[FrameMasks]:
    """The video in one piece; the state at the cut is kept."""
    tracker = start(compiled)
    outputs = []
    for output in tracker.track(frames):
        outputs.append(output)
        if tracker.next_frame == CUT:
            tracker.state().save(state_path(tmp_path_factory))
    return outputs


def state_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "cut.safetensors"


def bits(output: FrameMasks) -> tuple[object, ...]:
    return (
        output.obj_ids,
        output.masks_nhw.tobytes(),
        output.object_scores_n.tobytes(),
        output.predicted_ious_n.tobytes(),
    )


def test_masks_are_those_of_the_plain_model(whole, frames) -> None:
    """But for rounding, of which no pixel of these masks tells."""
    covered = 0
    for ours, theirs in zip(whole, start(build(None)).track(frames), strict=True):
        np.testing.assert_array_equal(ours.masks_nhw, theirs.masks_nhw)
        np.testing.assert_allclose(ours.object_scores_n, theirs.object_scores_n, atol=1e-3)
        covered += int(ours.masks_nhw.sum())
    assert covered > 5_000


def test_each_part_is_compiled_once_for_each_size_of_batch(compiled, whole, frames, attended):
    """Batches of 1, 2 and 3 objects are two or three sizes, the image encoder has one; more frames
    compile nothing more. The attention runs compiled once an object's memory is full: 16 frames
    after its prompt."""
    compilations = dict(compiled._compiled.compiler.compilations)
    assert set(compilations) == set(PARTS)
    assert compilations == {
        "image encoder": 1,
        # Two objects, then two and one by themselves while the last one's memory fills, then three.
        "mask decoder": 3,
        "memory encoder": 3,
        "memory attention": 2,
    }
    # Frames 16 to 18: the first two objects; from 19 on all three.
    assert attended[:20] == [2] * 3 + [3] * 17

    tracker = start(compiled)
    for _ in tracker.track(frames):
        pass

    assert compiled._compiled.compiler.compilations == compilations


FRESH = """
import json, sys
import numpy as np, torch
sys.path.insert(0, sys.argv[2])
torch.set_num_threads(int(sys.argv[3]))
from samcore import TrackerState, VideoTracker
from test_compiled import build
model = build("aot_eager")
tracker = VideoTracker.from_state(model, TrackerState.load(sys.argv[1]))
frames = np.load(sys.argv[1] + ".npy")
outputs = list(tracker.track(frames))
np.savez(sys.argv[1] + ".npz", masks=np.stack([o.masks_nhw for o in outputs]),
         scores=np.stack([o.object_scores_n for o in outputs]))
print(json.dumps(model._compiled.compiler.compilations))
"""


def test_a_fresh_process_gives_the_same_bits(whole, frames, tmp_path_factory) -> None:
    """What runs compiled follows from the memory's state: a process that has compiled nothing yet
    goes on as the one that has seen all frames."""
    path = state_path(tmp_path_factory)
    np.save(f"{path}.npy", np.stack(frames[CUT:]))

    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(path), here, str(torch.get_num_threads())],
        check=True,
        capture_output=True,
        text=True,
        timeout=800,
    )

    assert json.loads(done.stdout.splitlines()[-1]) == dict.fromkeys(PARTS, 1)
    theirs = np.load(f"{path}.npz")
    ours = whole[CUT:]
    np.testing.assert_array_equal(theirs["masks"], np.stack([o.masks_nhw for o in ours]))
    np.testing.assert_array_equal(theirs["scores"], np.stack([o.object_scores_n for o in ours]))


def test_a_step_that_fails_for_want_of_memory_is_taken_again_as_before(
    compiled, whole, frames, monkeypatch
) -> None:
    """Before memory is full and after: the same bits as without the failure."""
    failures = {5, 18}
    remember = CompiledParts.remember
    tracker = start(compiled)

    def fail_once(self, *tensors):
        if tracker.next_frame in failures:
            failures.remove(tracker.next_frame)
            raise torch.OutOfMemoryError("out of memory")
        return remember(self, *tensors)

    monkeypatch.setattr(CompiledParts, "remember", fail_once)
    outputs = []
    while tracker.next_frame < NUM_FRAMES:
        try:
            outputs += list(tracker.track(frames[tracker.next_frame : tracker.next_frame + 1]))
        except torch.OutOfMemoryError:
            continue

    assert not failures
    assert [bits(output) for output in outputs] == [bits(output) for output in whole]


@pytest.mark.parametrize(
    ("prompted", "tracked", "pointers", "objects", "runs"),
    [
        (1, 6, 16, 3, True),
        (1, 6, 15, 3, False),
        (1, 5, 16, 3, False),
        (2, 6, 16, 64, True),
        (MOST_PROMPTED, 6, 16 + MOST_PROMPTED - 1, 1, True),
        (MOST_PROMPTED + 1, 6, 16, 1, False),
        (1, 6, 16, 65, False),
    ],
)
def test_shapes_of_memory_that_are_compiled_are_few(
    compiled, prompted: int, tracked: int, pointers: int, objects: int, runs: bool
) -> None:
    """Full memory of few prompted frames, for up to 64 objects."""
    memory = AttendedMemory(
        maskmem_bchw=[torch.empty(objects, 1, 1, 1)] * (prompted + tracked),
        temporal_positions=[0] * prompted + list(range(tracked, 0, -1)),
        obj_ptr_bc=[torch.empty(objects, 1)] * pointers,
        ptr_ages=[[1] * objects] * pointers,
        max_ptr_age=15,
    )
    assert compiled._compiled.attends(memory, compiled.facts) is runs


def test_inductor_gives_the_same_memory(frames) -> None:
    """The backend that makes things faster, on one part: what the plain one gives but for
    rounding, for a batch that is filled up."""
    try:
        check_can_compile(torch.device("cpu"))
    except InputError as error:
        pytest.skip(str(error))
    model, plain = build("inductor"), build(None)
    torch.manual_seed(0)
    with model.running():
        features = plain.encode_images(plain.preprocess(frames[0][None]))[0]
        given = (features.tokens_n1c, torch.randn(3, 1, 16, 16), torch.tensor([[9.0], [-9.0], [1]]))
        ours = model._compiled.remember(*given)
        theirs = plain._remember(*given, is_cond=False)

    assert model._compiled.compiler.compilations["memory encoder"] == 1
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert ours.shape == theirs.shape == (3, 64, 4, 4)
    torch.testing.assert_close(ours, theirs, atol=1e-2, rtol=1e-2)
