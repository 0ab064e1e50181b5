"""How often tracking waits for the device: as often for many objects as for one."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from samcore.config import TrackSettings
from samcore.tracking.postprocess import masks_at_video_size, masks_by_bits, packed_bits
from samcore.tracking.tracker import VideoTracker

WAITS = ("cpu", "item", "tolist", "__bool__", "__int__", "__float__", "__index__")
"""What has to wait until a GPU has computed a tensor."""


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts calls of these on tensors."""
    counted: Counter[str] = Counter()
    for name in WAITS:
        original = getattr(torch.Tensor, name)

        def count(tensor: torch.Tensor, *args, name=name, original=original):
            counted[name] += 1
            return original(tensor, *args)

        monkeypatch.setattr(torch.Tensor, name, count)
    return counted


def _waits_a_frame(model, frames, waits: Counter[str], policy: str, num_objects: int) -> Counter:
    """Of frames that are tracked with full memory."""
    height, width = frames[0].image_rgb_hwc_u8.shape[:2]
    settings = TrackSettings(memory_policy=policy)
    tracker = VideoTracker(model, height=height, width=width, settings=settings)
    for obj_id in range(num_objects):
        tracker.add_box(obj_id, 0, (10.0 + 3 * obj_id, 10, 60, 70))
    for _ in tracker.track(frames[:18]):
        waits.clear()
    list(tracker.track(frames[18:20]))
    return Counter({name: count / 2 for name, count in waits.items()})


@pytest.mark.parametrize(("policy", "most"), [("sam2", 2), ("samurai", 4), ("dam", 5)])
def test_a_frame_waits_no_more_for_many_objects(
    smallest_model, frames, waits: Counter[str], policy: str, most: int
) -> None:
    """Numbers of all objects are copied at once: whether they are finite, scores, and what the
    policy wants to see."""
    one = _waits_a_frame(smallest_model, frames, waits, policy, 1)
    many = _waits_a_frame(smallest_model, frames, waits, policy, 5)

    assert many == one
    # Lists are made of what is on the host already.
    assert sum(count for name, count in many.items() if name != "tolist") <= most


class HostReads(TorchDispatchMode):
    """Counts operations whose result has to be known on the host, wherever they are called from."""

    NAMES = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        has_mask = name == "index" and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )  # looks for the places that are true
        self.counted[name] += name in self.NAMES or has_mask
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("policy", ["sam2", "samurai"])
def test_no_operation_reads_the_device_for_each_object(
    smallest_model, frames, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """Batches of one object each: only whether all are finite is read, once a frame. Lists of
    numbers are made on the host and sent: made on a GPU, each would wait for it."""
    made_there: list[object] = []
    tensor = torch.tensor

    def make(data: object, **options: object) -> torch.Tensor:
        if options.get("device") is not None:
            made_there.append(data)
        return tensor(data, **options)

    height, width = frames[0].image_rgb_hwc_u8.shape[:2]
    found = {}
    for num_objects in (1, 4):
        settings = TrackSettings(memory_policy=policy, object_batch=1)
        tracker = VideoTracker(smallest_model, height=height, width=width, settings=settings)
        for obj_id in range(num_objects):
            tracker.add_box(obj_id, 0, (10.0 + 3 * obj_id, 10, 60, 70))
        list(tracker.track(frames[:18]))
        reads = HostReads()
        with monkeypatch.context() as patch, reads:
            patch.setattr(torch, "tensor", make)
            list(tracker.track(frames[18:20]))
        found[num_objects] = +reads.counted

    assert found[4] == found[1]
    assert sum(found[1].values()) == 2
    assert not made_there


@pytest.mark.parametrize("pixels_at_once", [1, 10_000, 1 << 20])
def test_masks_that_crossed_the_bus_are_those_of_the_cpu(pixels_at_once: int) -> None:
    """However many are enlarged at once, and whatever the width: the same pixels."""
    logits = torch.nn.functional.avg_pool2d(torch.randn(5, 1, 34, 34), 3, 1)
    size = {"height": 61, "width": 101}

    crossed = masks_by_bits(logits, **size, pixels_at_once=pixels_at_once)

    assert crossed.dtype == np.bool_
    np.testing.assert_array_equal(crossed, masks_at_video_size(logits, **size))
    assert 0 < crossed.sum() < crossed.size


@pytest.mark.parametrize("width", [1, 8, 37])
def test_masks_cross_the_bus_as_bits(width: int) -> None:
    """What a GPU sends of masks is a bit a pixel, in numpy's own order."""
    masks_nhw = torch.rand(3, 20, width) > 0.5

    packed = packed_bits(masks_nhw)

    assert packed.dtype == torch.uint8
    np.testing.assert_array_equal(packed.numpy(), np.packbits(masks_nhw.numpy(), axis=-1))


def test_frames_are_sent_as_bytes(smallest_model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame goes to the device as 8-bit pixels, and is resized and normalised there."""
    sent: list[torch.dtype] = []
    to = torch.Tensor.to

    def watch(tensor: torch.Tensor, *args, **kwargs):
        if args and isinstance(args[0], torch.device):
            sent.append(tensor.dtype)
        return to(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", watch)
    image = np.zeros((1, 48, 64, 3), np.uint8)

    assert smallest_model.preprocess(image).dtype == torch.float32
    assert sent == [torch.uint8]
