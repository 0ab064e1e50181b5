"""Masks at video size by cells: the bits of plain interpolation."""

import cv2
import numpy as np
import pytest
import torch

from samcore.tracking import enlarge
from samcore.tracking.postprocess import masks_at_video_size

SIZES = [
    (256, 1080, 1920),
    (256, 2160, 3840),
    (128, 720, 1280),
    (64, 417, 611),
    (32, 360, 640),
    (90, 2000, 120),  # one side enlarged, the other nearly as it was
    (200, 3000, 100),  # one side reduced: some cells have no pixel
]


def ellipse_logits(rng, size, *, noise=2.0):
    """Logits as a decoder gives them: a blob with a steep edge and soft noise."""
    y, x = np.mgrid[:size, :size] / size
    (centre_x, centre_y), (half_w, half_h) = rng.uniform(0.2, 0.9, 2), rng.uniform(0.05, 0.4, 2)
    steep = 8 * (1 - ((x - centre_x) / half_w) ** 2 - ((y - centre_y) / half_h) ** 2)
    grain = cv2.GaussianBlur(rng.standard_normal((size, size)), (0, 0), 2)
    return (np.clip(steep, -12, 12) + noise * grain).astype(np.float32)


def both_ways(logits_hw, height, width):
    logits_n1hw = torch.from_numpy(logits_hw)[None, None]
    masks = masks_at_video_size(logits_n1hw, height=height, width=width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("samcore.tracking.postprocess.enlarge_and_cut", lambda *_: False)
        return masks, masks_at_video_size(logits_n1hw, height=height, width=width)


@pytest.fixture
def by_cells(monkeypatch):
    """What `enlarge_and_cut` said, call by call."""
    said = []

    def listen(*args):
        said.append(enlarge.enlarge_and_cut(*args))
        return said[-1]

    monkeypatch.setattr("samcore.tracking.postprocess.enlarge_and_cut", listen)
    return said


@pytest.mark.parametrize(("size", "height", "width"), SIZES)
def test_masks_have_the_bits_of_plain_interpolation(by_cells, size, height, width):
    """Blobs of every place and size, noise, and coarse values that are often exactly 0."""
    rng = np.random.default_rng(size)
    logits = ellipse_logits(rng, size)
    for case in (logits, np.round(logits * 4) / 4, logits - 3, np.abs(logits) + 0.1):
        fast, plain = both_ways(case.astype(np.float32), height, width)
        np.testing.assert_array_equal(fast, plain)

    assert sum(by_cells) >= len(by_cells) // 2


def test_pixels_at_the_threshold_are_computed_as_before(by_cells, monkeypatch):
    """Where float32 and float64 could disagree, `F.interpolate` itself decides."""
    exact = []
    cut_exactly = enlarge._cut_exactly
    monkeypatch.setattr(
        enlarge, "_cut_exactly", lambda *args: (exact.append(len(args[1])), cut_exactly(*args))
    )
    # A column of the enlarged picture is 3/4 of the first value and 1/4 of the second.
    logits = np.full((128, 128), -1, dtype=np.float32)
    values = np.linspace(0.05, 0.2, 128, dtype=np.float32)
    logits[:, 63], logits[:, 64] = -values, 3 * values

    fast, plain = both_ways(logits, 1080, 256)

    np.testing.assert_array_equal(fast, plain)
    assert by_cells == [True]
    assert exact[0] >= 1080


@pytest.mark.parametrize(
    "value", [np.nan, np.inf, -np.inf, 1e-40, -1e-40, 0.0, 3e38, -1024.0], ids=str
)
def test_odd_logits_give_the_masks_of_plain_interpolation(value):
    """A logit that is no number, denormal, zero or huge, alone in a blob and everywhere."""
    logits = ellipse_logits(np.random.default_rng(1), 64)
    logits[20:24, 20:40] = value
    for case in (logits, np.full_like(logits, value)):
        fast, plain = both_ways(case, 480, 640)
        np.testing.assert_array_equal(fast, plain)


def test_long_edges_and_small_pictures_go_the_plain_way(by_cells):
    """Noise has an edge everywhere; a small picture is enlarged faster at once."""
    noise = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    blob = ellipse_logits(np.random.default_rng(0), 64)

    for logits, size in ((noise, (720, 1280)), (blob, (96, 128))):
        fast, plain = both_ways(logits, *size)
        np.testing.assert_array_equal(fast, plain)

    assert by_cells == [False, False]
