"""One SAM 2 checkpoint through both adapters."""

import pytest
import torch
from transformers import Sam2VideoModel

from samcore.errors import ModelError
from samcore.machine.device import choose_compute
from samcore.models.sam2.adapter import IMAGE_MEAN, IMAGE_STD, Sam2Model, build_model
from samcore.models.transformers.adapter import TransformersModel
from samcore.models.transformers.convert import to_sam2, to_transformers
from tests.samcore.models.transformers.small_models import sam2_config

TINY = "configs/sam2.1/sam2.1_hiera_t.yaml"
SIZE = 64
RTOL = 2e-5
"""Of the largest logit."""


@pytest.fixture(scope="module")
def packages():
    """The sam2 package's network, with random weights that look at memory."""
    compute = choose_compute("cpu", "float32")
    model = build_model(TINY, None, seed=0, image_size=SIZE, fingerprint="package", compute=compute)
    with torch.no_grad():
        for name, parameter in model._net.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.5)
            elif "cross_attn_image" in name and name.endswith("proj.weight"):
                parameter.mul_(3)
            elif not parameter.any():
                parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(1))
    return model


@pytest.fixture(scope="module")
def converted(packages):
    """The same network as transformers builds it."""
    with torch.random.fork_rng(devices=[]):
        net = Sam2VideoModel(sam2_config(SIZE, hiera={})).eval().requires_grad_(False)
    net.load_state_dict(to_transformers(packages._net.state_dict()), strict=True)
    return TransformersModel(
        net, mean=IMAGE_MEAN, std=IMAGE_STD, compute=packages.compute, fingerprint="converted"
    )


def as_the_packages_do(model):
    """The same network, by the plain engine."""
    options = {"compute": model.compute, "fingerprint": "plain", "plain": True}
    if isinstance(model, Sam2Model):
        return Sam2Model(model._net, **options)
    return TransformersModel(model._net, mean=IMAGE_MEAN, std=IMAGE_STD, **options)


def test_there_and_back_is_the_same(packages):
    """Every name and every number comes back."""
    theirs = packages._net.state_dict()

    back = to_sam2(to_transformers(theirs))

    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)


def test_both_adapters_give_the_same_masks(run_ours, packages, converted, frames, prompts):
    """A box, clicks and a mask prompt, past the memory's horizon."""
    theirs = run_ours(packages, frames[:20], prompts)
    ours = run_ours(converted, frames[:20], prompts)

    largest = max(logits.abs().max().item() for logits in theirs.values())
    assert ours.keys() == theirs.keys()
    for at, logits in ours.items():
        torch.testing.assert_close(logits, theirs[at], atol=RTOL * largest, rtol=0, msg=str(at))


def test_both_adapters_see_the_same(packages, converted, frames):
    """The image encoder's features are equal to the last bit, by the packages' own arithmetic."""
    (theirs,) = as_the_packages_do(packages).encode_images(packages.preprocess(frames[:1]))
    (ours,) = as_the_packages_do(converted).encode_images(packages.preprocess(frames[:1]))

    assert torch.equal(ours.tokens_n1c, theirs.tokens_n1c)
    assert torch.equal(ours.pos_n1c, theirs.pos_n1c)
    for mine, other in zip(ours.high_res_1chw, theirs.high_res_1chw, strict=True):
        assert torch.equal(mine, other)


def test_what_is_not_sam2_is_refused():
    """The name is in the error."""
    with pytest.raises(ModelError, match=r"detector\.a is no name of SAM 2's weights"):
        to_transformers({"detector.a": torch.ones(1)})
