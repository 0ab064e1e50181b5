"""Memory attention with values folded: the features of the package's own."""

import pytest
import torch

from samcore.models.family import AttendedMemory, ImageFeatures
from samcore.models.transformers import attention
from tests.samcore.models.transformers.conftest import wrap


def fuse(model, num_objects, num_ptrs):
    torch.manual_seed(num_objects)
    side = model.feature_size
    features = ImageFeatures(
        tokens_n1c=torch.randn(side * side, 1, 256),
        pos_n1c=torch.randn(side * side, 1, 256),
        high_res_1chw=(),
    )
    memory = AttendedMemory(
        maskmem_bchw=[torch.randn(num_objects, 64, side, side).bfloat16() for _ in range(3)],
        temporal_positions=[0, 6, 5],
        obj_ptr_bc=[torch.randn(num_objects, 256) for _ in range(num_ptrs)],
        ptr_ages=[[age + 1] * num_objects for age in range(num_ptrs)],
        max_ptr_age=15,
    )
    with model.running():
        return model.with_memory(features, memory)


@pytest.mark.parametrize("family", ["sam2", "sam3"])
@pytest.mark.parametrize(("num_objects", "num_ptrs"), [(1, 3), (3, 3), (2, 0)])
def test_fused_features_are_those_of_the_package(
    small_model, family, num_objects, num_ptrs, monkeypatch
):
    """One object, several, and memory without pointers; differences are those of rounding."""
    calls = []
    attend = attention.attend
    monkeypatch.setattr(attention, "attend", lambda *args: (calls.append(1), attend(*args))[1])
    model = small_model(family)

    fast = fuse(model, num_objects, num_ptrs)

    layers = len(model._net.memory_attention.layers)
    assert len(calls) == layers * num_objects
    plain = fuse(wrap(model._net, plain=True), num_objects, num_ptrs)
    assert len(calls) == layers * num_objects
    torch.testing.assert_close(fast, plain, atol=1e-5 * plain.abs().max().item(), rtol=0)


def test_edgetam_goes_the_way_of_the_package(small_model):
    """Its layers are others."""
    assert not small_model("edgetam")._is_folded
