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
_STRIDE = 16
_CPU_BUDGET = 640 << 20
"""For a batch of objects on a CPU: there a larger one gains no time and costs page faults."""
_MOST_OBJECTS = {"cpu": 16, "cuda": 64, "mps": 16}
_MOST_FRAMES = {"cpu": 1, "cuda": 8, "mps": 2}


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
