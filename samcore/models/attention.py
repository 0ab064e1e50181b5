"""Attention to memory with less arithmetic, for the adapters of all families.

Memory tokens M are 64 wide, the values that SAM 2 makes of them 256. Softmax weights S are applied
to M itself, and the two projections that follow are folded into one:

    (S (M Wv' + bv)) Wo' + bo  =  (S M) (Wo Wv)' + (Wo bv + bo)

That is a quarter of the arithmetic with values. Results are the plain way's but for rounding.

Objects are fused one by one: what belongs to one stays in the cache, and no bit of an object
depends on what else is tracked.

It is for CPUs and float32. The plain way has fused kernels, which are faster on GPUs and with
bfloat16.
"""

import torch
from torch import Tensor, nn

from samcore.machine.device import Compute

_QUERIES_AT_ONCE = 256
"""Rows of softmax weights held at a time: the whole matrix would not fit the cache."""


def folding_pays(compute: Compute) -> bool:
    """Whether this module's functions are faster than the plain way, and can be used at all."""
    return compute.device.type == "cpu" and compute.dtype == torch.float32


def rotate(x_lc: Tensor, turns_nc: Tensor) -> None:
    """Rotate pairs of channels by their tokens' places, in place: nothing is copied.

    Args:
        x_lc: Queries, or keys of whole memories: L is a multiple of N.
        turns_nc: A complex number for each place and pair of channels.
    """
    pairs = torch.view_as_complex(x_lc.view(len(x_lc), -1, 2))
    # Every memory has the places of a frame.
    pairs.view(-1, *turns_nc.shape).mul_(turns_nc)


def attend(q_nc: Tensor, k_lc: Tensor, memory_lm: Tensor) -> Tensor:
    """Mean of one object's memory tokens, weighted by softmax, N x 64.

    Args:
        q_nc: Queries of one head.
        k_lc: Keys.
        memory_lm: The tokens that the keys were made of, in the place of values.
    """
    num_queries = len(q_nc)
    q_nc = q_nc * q_nc.shape[-1] ** -0.5
    seen_nm = memory_lm.new_empty(num_queries, memory_lm.shape[-1])
    # One buffer for all blocks: a new one of this size would cost page faults each time.
    buffer = k_lc.new_empty(min(_QUERIES_AT_ONCE, num_queries), len(k_lc))
    for start in range(0, num_queries, _QUERIES_AT_ONCE):
        rows = slice(start, start + _QUERIES_AT_ONCE)
        weights = buffer[: min(_QUERIES_AT_ONCE, num_queries - start)]
        torch.mm(q_nc[rows], k_lc.T, out=weights)
        torch.softmax(weights, dim=-1, out=weights)
        torch.mm(weights, memory_lm, out=seen_nm[rows])
    return seen_nm


def project_folded(seen_nm: Tensor, value: nn.Linear, out: nn.Linear) -> Tensor:
    """Apply the value projection and the output projection as one."""
    # Made for every frame: it costs a thousandth of a frame, and weights may change in between.
    weight = out.weight @ value.weight
    bias = torch.addmv(out.bias, out.weight, value.bias)
    return nn.functional.linear(seen_nm, weight, bias)
