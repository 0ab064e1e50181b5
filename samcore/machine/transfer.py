"""Move tensors between main memory and a device without waiting more often than need be."""

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device. Nothing waits for a GPU: what it does next waits for the tensor.

    From pageable memory a copy to a GPU waits until the GPU has done all that it was given before.
    """
    if tensor.device.type == "cpu" and device.type == "cuda":
        # torch reuses pinned memory only once the copy has ended.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def fetch(tensor: Tensor) -> Tensor:
    """A tensor in main memory; one wait for a GPU, which writes there by itself."""
    if tensor.device.type != "cuda":
        return tensor.cpu()
    here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    here.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return here
