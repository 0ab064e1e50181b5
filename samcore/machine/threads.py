"""How many threads a model computes with on a CPU."""

import functools

import torch

LEAST_SIDE = 256
"""Side of the model's input, in pixels, from which several threads gain.

Below it an operation is over before a second thread has woken up: `nano` at 128 px tracks 160
frames in 3.5 s on one thread and in 4.8 s on two that sleep while they wait. Two that spin in place
of sleeping take 2.9 to 3.7 s, twice the CPU time, and beside any other busy process 11 s.
"""


def fit_threads(image_size: int) -> int:
    """Set how many threads this process computes with on a CPU to what is fastest for a model: one
    for a small model, else as many as at the first call.

    Args:
        image_size: Side of the model's input in pixels.

    Returns:
        The number of threads.
    """
    usual = _usual_threads()
    threads = usual if image_size >= LEAST_SIDE else 1
    torch.set_num_threads(threads)
    return threads


@functools.cache
def _usual_threads() -> int:
    return torch.get_num_threads()
