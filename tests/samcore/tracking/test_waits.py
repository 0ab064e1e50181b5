"""How often tracking waits for the device: as often for many objects as for one."""

from collections import Counter

import numpy as np
import pytest
import torch

from samcore.config import TrackSettings
from samcore.tracking.postprocess import packed_bits
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
