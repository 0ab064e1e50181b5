"""Memory attention with values folded: the features of the package's own."""

import pytest
import torch

from samcore.machine.device import choose_compute
from samcore.models import attention as shared
from samcore.models.family import AttendedMemory, ImageFeatures
from samcore.models.sam2 import attention
from samcore.models.sam2.adapter import Sam2Model, build_model

ATOL = 1e-5
"""On features of scale 4."""
SIDE = 12
"""Of the map of features."""


@pytest.fixture(scope="module")
def model():
    """SAM 2.1 tiny at 192 px, which looks at its memory as trained weights do."""
    made = build_model(
        "configs/sam2.1/sam2.1_hiera_t.yaml",
        None,
        seed=0,
        image_size=16 * SIDE,
        fingerprint="test",
        compute=choose_compute("cpu", "float32"),
    )
    with torch.no_grad():
        for name, parameter in made._net.memory_attention.named_parameters():
            if "cross_attn_image" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    return made


def plainly(model, dtype="float32"):
    """The same network, computing as the package does."""
    compute = choose_compute("cpu", dtype)
    return Sam2Model(model._net, compute=compute, fingerprint="test", plain=True)


def fuse(model, num_objects, *, num_ptrs=3):
    torch.manual_seed(num_objects)
    tokens = SIDE * SIDE
    features = ImageFeatures(
        tokens_n1c=torch.randn(tokens, 1, 256),
        pos_n1c=torch.randn(tokens, 1, 256),
        high_res_1chw=(),
    )
    memory = AttendedMemory(
        maskmem_bchw=[
            torch.randn(num_objects, 64, SIDE, SIDE).to(torch.bfloat16) for _ in range(3)
        ],
        temporal_positions=[0, 6, 5],
        obj_ptr_bc=[torch.randn(num_objects, 256) for _ in range(num_ptrs)],
        ptr_ages=[[age + 1] * num_objects for age in range(num_ptrs)],
        max_ptr_age=15,
    )
    with model.running():
        return model.with_memory(features, memory)


@pytest.fixture
def attended(monkeypatch):
    """The number of memory tokens of each call of `attend`."""
    calls: list[int] = []

    def listen(q_nc, k_lc, memory_lm):
        calls.append(len(k_lc))
        return shared.attend(q_nc, k_lc, memory_lm)

    monkeypatch.setattr(attention, "attend", listen)
    return calls


@pytest.mark.parametrize(("num_objects", "num_ptrs"), [(1, 3), (3, 3), (2, 0)])
def test_fused_features_are_those_of_the_package(
    model, num_objects, num_ptrs, attended, monkeypatch
):
    """One object, several, and memory without pointers; differences are those of rounding."""
    monkeypatch.setattr(shared, "_QUERIES_AT_ONCE", 100)  # of 144: the last block is shorter

    fast = fuse(model, num_objects, num_ptrs=num_ptrs)

    num_tokens = 3 * SIDE * SIDE + 4 * num_ptrs
    assert attended == [num_tokens] * 4 * num_objects  # layers
    plain = fuse(plainly(model), num_objects, num_ptrs=num_ptrs)
    assert len(attended) == 4 * num_objects
    torch.testing.assert_close(fast, plain, atol=ATOL, rtol=0)


def test_objects_in_a_batch_have_the_bits_of_each_alone(model):
    """What else is tracked changes nothing."""
    torch.manual_seed(7)
    features = ImageFeatures(torch.randn(144, 1, 256), torch.randn(144, 1, 256), ())
    maskmems = torch.randn(3, 2, 64, SIDE, SIDE).bfloat16()

    def fused(rows):
        memory = AttendedMemory([maskmems[rows, i] for i in range(2)], [0, 6], [], [], 15)
        with model.running():
            return model.with_memory(features, memory)

    assert torch.equal(fused(slice(0, 3))[1:2], fused(slice(1, 2)))


def test_bfloat16_goes_the_way_of_the_package(model, attended):
    """Folding is for float32: in narrow arithmetic the package's kernels are faster."""
    narrow = Sam2Model(model._net, compute=choose_compute("cpu", "bfloat16"), fingerprint="test")

    assert torch.equal(fuse(narrow, 2), fuse(plainly(model, "bfloat16"), 2))
    assert not attended


@pytest.mark.parametrize(
    "name", ["v_proj.weight", "v_proj.bias", "out_proj.weight", "out_proj.bias"]
)
def test_changed_weights_are_folded_anew(model, name):
    """A projection that was changed after the first frame is not the old one."""
    before = fuse(model, 1)
    with torch.no_grad():
        model._net.memory_attention.layers[0].cross_attn_image.get_parameter(name).mul_(2)

    after = fuse(model, 1)

    assert not torch.allclose(before, after, atol=0.001)
    torch.testing.assert_close(after, fuse(plainly(model), 1), atol=ATOL, rtol=0)
