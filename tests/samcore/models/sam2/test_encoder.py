"""The image encoder without its wasted work: the features of the package's own."""

import pytest
import torch

from samcore.machine.device import choose_compute
from samcore.models.sam2 import encoder
from samcore.models.sam2.adapter import Sam2Model, build_model

TINY = "configs/sam2.1/sam2.1_hiera_t.yaml"
ATOL = 1e-5
"""On features with a standard deviation of 0.7."""


def a_model(image_size):
    return build_model(
        TINY,
        None,
        seed=0,
        image_size=image_size,
        fingerprint="test",
        compute=choose_compute("cpu", "float32"),
    )


def plainly(model):
    """The same network, computing as the package does."""
    return Sam2Model(model._net, compute=model.compute, fingerprint="test", plain=True)


def encode(model, images):
    with model.running():
        return [
            tensor
            for features in model.encode_images(images)
            for tensor in (features.tokens_n1c, features.pos_n1c, *features.high_res_1chw)
        ]


def assert_close(fast, plain):
    for ours, theirs in zip(fast, plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=ATOL, rtol=0)


@pytest.mark.parametrize(("image_size", "count"), [(64, 2), (128, 1), (192, 1)], ids=str)
def test_features_are_those_of_the_package(image_size, count, monkeypatch):
    """With padding in the last layers and in most."""
    windows = []
    attend = encoder._attend_in_windows
    monkeypatch.setattr(
        encoder, "_attend_in_windows", lambda *args: (windows.append(1), attend(*args))[1]
    )
    model, images = a_model(image_size), torch.randn(count, 3, image_size, image_size)

    fast = encode(model, images)

    assert windows
    seen = len(windows)
    assert_close(fast, encode(plainly(model), images))
    assert len(windows) == seen


def test_without_padding_the_coarse_features_have_the_bits_of_the_package():
    """At 224 px all layers divide into windows; only the two fine levels are computed otherwise."""
    model, images = a_model(224), torch.randn(1, 3, 224, 224)

    fast = encode(model, images)

    plain = encode(plainly(model), images)
    assert torch.equal(fast[0], plain[0])
    assert torch.equal(fast[1], plain[1])
    assert_close(fast[2:], plain[2:])


def test_two_projections_of_a_fine_level_are_one():
    """The neck projects the coarse levels alone."""
    model, images = a_model(64), torch.randn(1, 3, 64, 64)
    ran = []
    for i, conv in enumerate(model._net.image_encoder.neck.convs):
        conv.register_forward_hook(lambda *_, i=i: ran.append(i))

    encode(model, images)

    assert ran == [0, 1]
    encode(plainly(model), images)
    assert ran == [0, 1, 0, 1, 2, 3]


def test_changed_weights_are_seen():
    """A position embedding that was changed after the first frame is not the old one."""
    model = a_model(64)
    images = torch.randn(1, 3, 64, 64)
    before = encode(model, images)
    with torch.no_grad():
        model._net.image_encoder.trunk.pos_embed.normal_()

    after = encode(model, images)

    assert not torch.allclose(before[0], after[0], atol=0.01)
    assert_close(after, encode(plainly(model), images))
