"""How much is done at once: frames in the image encoder, objects in a batch.

The defaults follow from the kind of device and the size of the model's input alone. They are part
of a result's key, so they must be the same whatever else the machine does. What is free at the
moment only decides on which rung of the ladder (`samcore/run/oom_ladder.py`) a piece of work
begins, which the result records.
"""

import psutil

from samcore.machine.rung import Rung

BYTES_PER_TOKEN = 40_000
"""About what an object in a batch takes for each token of the picture, counted from the layers'
widths and not measured: in float32 with 256 channels, keys, turned keys and values of seven
memories, and the hidden layer. A picture of 1024 px has 4096 tokens."""
BYTES_PER_PROMPT_TOKEN = 20_000
"""About what a prompt takes in the mask decoder for each token of the picture: the picture's tokens
with keys and values, and the maps that masks are made of."""
BYTES_PER_PICTURE_TOKEN = 100_000
"""About what a picture takes in the largest image encoder (Hiera-L), whose first layers have 16
tokens of 144 channels for each of these."""
_STRIDE = 16
_CPU_BUDGET = 640 << 20
"""For a batch of objects on a CPU: there a larger one gains no time and costs page faults."""
_MOST_OBJECTS = {"cpu": 16, "cuda": 64, "mps": 16}
_MOST_FRAMES = {"cpu": 1, "cuda": 8, "mps": 2}
_MOST_PICTURES = {"cpu": 4, "cuda": 8, "mps": 2}
"""On a CPU four small pictures at once take a tenth less time than one, and more gain nothing
(`tests/bench/images.py`). Frames of videos stay one by one there, which is part of results."""
_MOST_PROMPTS = 64


def default_batches(device_type: str, image_size: int) -> tuple[int, int]:
    """Frames that the encoder takes at once, and objects that run as one batch.

    A GPU is launch-bound at batch one. On a CPU batching frames gains nothing and costs cache;
    batching objects saves dispatch, which is most of a small picture's time and little of a large
    one's.

    Args:
        device_type: cpu, cuda or mps.
        image_size: Side of the model's input in pixels.
    """
    objects = _MOST_OBJECTS.get(device_type, 16)
    if device_type == "cpu":
        while objects > 1 and batch_bytes(objects, image_size) > _CPU_BUDGET:
            objects //= 2
    return _MOST_FRAMES.get(device_type, 1), objects


def picture_batches(
    device_type: str, image_size: int, *, free_bytes: int | None = None
) -> tuple[int, int]:
    """Single pictures that the encoder takes at once, and prompts that the decoder takes at once.

    Results of pictures do not depend on it but for rounding, so what is free may decide.

    Args:
        device_type: cpu, cuda or mps.
        image_size: Side of the model's input in pixels.
        free_bytes: Memory of the device that is free, of which half is used; None if nobody knows.
    """
    tokens = (image_size // _STRIDE) ** 2
    budget = _CPU_BUDGET if device_type == "cpu" else None
    if free_bytes is not None:
        budget = free_bytes // 2 if budget is None else min(budget, free_bytes // 2)
    pictures, prompts = _MOST_PICTURES.get(device_type, 1), _MOST_PROMPTS
    while budget is not None and pictures > 1:
        if pictures * tokens * BYTES_PER_PICTURE_TOKEN <= budget:
            break
        pictures //= 2
    while budget is not None and prompts > 1:
        if prompts * tokens * BYTES_PER_PROMPT_TOKEN <= budget:
            break
        prompts //= 2
    return pictures, prompts


def batch_bytes(num_objects: int, image_size: int) -> int:
    """About the memory that a batch of objects takes on the device, beside the model."""
    return num_objects * (image_size // _STRIDE) ** 2 * BYTES_PER_TOKEN


def fits(rung: Rung, *, num_objects: int, free_bytes: int | None) -> bool:
    """Whether a rung's batch of objects may fit into what is free; None if nobody knows."""
    if free_bytes is None:
        return True
    batch = min(rung.object_batch, max(1, num_objects))
    return batch == 1 or batch_bytes(batch, rung.image_size) <= free_bytes


def free_bytes(device: str) -> int | None:
    """Memory of a device that is free now; None if it does not say.

    Args:
        device: As in a run's settings, such as `cuda:0`.
    """
    if device == "cpu":
        return int(psutil.virtual_memory().available)
    if device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            return None
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds for later use is ours, too.
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return None
