"""Small models compute on one thread, and larger ones on all again."""

import torch

from samcore.machine.threads import LEAST_SIDE, _usual_threads, fit_threads


def test_a_small_model_takes_one_thread_and_a_larger_one_all_again() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    _usual_threads.cache_clear()
    try:
        assert fit_threads(LEAST_SIDE) == 2
        assert fit_threads(LEAST_SIDE - 1) == torch.get_num_threads() == 1
        assert fit_threads(LEAST_SIDE) == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
        _usual_threads.cache_clear()
