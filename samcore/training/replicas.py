"""Processes that train one model together, each on its share of every step's batches."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed

from samcore.errors import InputError
from samcore.training.config import TrainConfig


@dataclass(frozen=True, slots=True)
class Replicas:
    """This process among those that `torchrun` started; by itself it is the first of one."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the log and the checkpoints."""
        return self.rank == 0

    def numbers(self, batches: int) -> range:
        """Which of a step's batches are this process's."""
        return range(self.rank, batches, self.count)

    def add_up(self, parameters: list[torch.nn.Parameter]) -> None:
        """Add up the gradients of all processes, in place.

        A parameter that no process used keeps no gradient.
        """
        if self.count == 1:
            return
        used = torch.tensor([float(p.grad is not None) for p in parameters])
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([part.flatten() for part in parts] + [used])
        torch.distributed.all_reduce(flat)
        sums = torch.split(flat, [*(p.numel() for p in parameters), len(used)])
        for parameter, total, users in zip(parameters, sums, sums[-1].tolist(), strict=False):
            parameter.grad = total.view_as(parameter) if users else None


@contextmanager
def joined(config: TrainConfig, *, device: torch.device) -> Iterator[Replicas]:
    """Join the processes that `torchrun` started; without it this process is alone.

    Raises:
        InputError: No step has so many batches as there are processes, or they are on a GPU.
    """
    if not torch.distributed.is_torchelastic_launched():
        yield Replicas()
        return
    torch.distributed.init_process_group("gloo")
    try:
        count = torch.distributed.get_world_size()
        check_count(config, count, device=device)
        yield Replicas(torch.distributed.get_rank(), count)
    finally:
        torch.distributed.destroy_process_group()


def check_count(config: TrainConfig, count: int, *, device: torch.device) -> None:
    """Refuse processes that could not work together.

    Raises:
        InputError: See `joined`.
    """
    if count > 1 and device.type != "cpu":
        raise InputError("several processes train on CPUs alone: start one process for a GPU")
    most = max(phase.batches for phase in config.phases)
    if count > most:
        raise InputError(
            f"{count} processes, and the recipe has at most {most} batches in a step: start {most} "
            f"processes, or give phases batches: {count}"
        )
