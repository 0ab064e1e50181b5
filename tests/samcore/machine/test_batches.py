"""Batches follow the device and the picture's size; what is free decides on the first rung."""

from pathlib import Path

import psutil
import pytest

from samcore.machine.batches import (
    batch_bytes,
    default_batches,
    fits,
    free_bytes,
    picture_batches,
)
from samcore.machine.rung import Rung
from samcore.models.registry import resolve_model
from samcore.run.oom_ladder import OomLadder

FREE = (10**12, 16 * 10**9, 2 * 10**9, 10**8, 10**6, 0)
"""Bytes, less and less."""


@pytest.mark.parametrize(
    ("device", "image_size", "batches"),
    [
        ("cpu", 128, (1, 16)),
        ("cpu", 512, (1, 16)),
        ("cpu", 1024, (1, 4)),
        ("cpu", 4096, (1, 1)),
        ("cuda", 128, (8, 64)),
        ("cuda", 1024, (8, 64)),
        ("mps", 1024, (2, 16)),
        ("abacus", 128, (1, 16)),
    ],
)
def test_batches_follow_the_device_and_the_picture(
    device: str, image_size: int, batches: tuple[int, int]
) -> None:
    """One frame at a time on a CPU, many on a GPU; fewer large objects at once on a CPU."""
    assert default_batches(device, image_size) == batches


@pytest.mark.parametrize(
    ("num_objects", "free", "does"),
    [(16, None, True), (16, 10**12, True), (16, 10**8, False), (2, 10**9, True), (1, 0, True)],
)
def test_a_batch_fits_if_its_objects_do(num_objects: int, free: int | None, does: bool) -> None:
    """Only as many objects count as there are; one alone is always tried."""
    rung = Rung(encode_batch=1, object_batch=16, image_size=1024)

    assert fits(rung, num_objects=num_objects, free_bytes=free) == does


def test_free_memory_is_told_where_it_can_be() -> None:
    """Of main memory less than there is in all."""
    free = free_bytes("cpu")

    assert free is not None
    assert 0 < free < psutil.virtual_memory().total
    assert free_bytes("mps") is None


def _ladder(rung: Rung, tmp_path: Path, **options: object) -> OomLadder:
    model = resolve_model("nano", cache_dir=tmp_path, image_size=1024)
    given = {"num_objects": 16, "device": "cpu", "allow_quality_loss": False, **options}
    return OomLadder(rung, model, **given)


@pytest.mark.parametrize("allow_quality_loss", [False, True])
def test_work_begins_where_it_may_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, allow_quality_loss: bool
) -> None:
    """A batch that is larger than what is free is not tried; that is recorded, and costs no
    quality."""
    rung = Rung(encode_batch=1, object_batch=16, image_size=1024)
    for free, batch in ((10**12, 16), (batch_bytes(5, 1024), 4), (0, 1)):
        monkeypatch.setattr("samcore.run.oom_ladder.free_bytes", lambda _, free=free: free)
        ladder = _ladder(rung, tmp_path, allow_quality_loss=allow_quality_loss)
        with ladder.attempting(tmp_path / "attempt.json", frame_idx=7):
            assert ladder.rung.object_batch == batch
            assert ladder.rung.image_size == 1024
        assert len(ladder.steps) == (batch < 16)
        assert all("GB are free" in step and "frame 7" in step for step in ladder.steps)
    assert ladder.degraded == rung.model_copy(update={"object_batch": 1})


def test_a_device_that_does_not_say_begins_as_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is known, nothing is given up."""
    rung = Rung(encode_batch=2, object_batch=16, image_size=1024)
    monkeypatch.setattr("samcore.run.oom_ladder.free_bytes", lambda _: None)
    ladder = _ladder(rung, tmp_path, device="mps")
    with ladder.attempting(tmp_path / "attempt.json", frame_idx=0):
        assert ladder.rung == rung
    assert not ladder.steps


def test_pictures_and_prompts_at_once_follow_size_and_memory() -> None:
    """A larger input or less free memory never gives more at once, and there is always one."""
    assert picture_batches("cuda", 1024) == (8, 64)
    assert picture_batches("cpu", 128) == (4, 64)
    assert picture_batches("cpu", 1024) == (1, 8)
    for device in ("cpu", "cuda", "mps"):
        for size in (64, 256, 512, 1024, 2048):
            at_once = [picture_batches(device, size, free_bytes=free) for free in FREE]
            assert at_once == sorted(at_once, reverse=True)
            assert at_once[-1] == (1, 1)
            larger = [picture_batches(device, 2 * size, free_bytes=free) for free in FREE]
            assert all(
                b <= a
                for one, two in zip(at_once, larger, strict=True)
                for a, b in zip(one, two, strict=True)
            )
    assert picture_batches("cuda", 1024, free_bytes=2 * 10**9) == (2, 8)
