"""The processes of one training run: a single one, or those that `torchrun` started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Float64
from torch import Tensor

from allinone.model.device import choose_device
from allinone.train.signals import TrainingInterrupted


@dataclass(frozen=True)
class World:
    """The place of this process among the processes of a run."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and logs."""
        return self.rank == 0

    def mean(self, numbers: Float64[Tensor, " M"]) -> Float64[Tensor, " M"]:
        """Return the mean over the processes, bit for bit the same in each of them."""
        if self.size > 1:
            dist.all_reduce(numbers)
            numbers = numbers / self.size
        return numbers

    def any(self, is_true: bool) -> bool:
        """Return whether it is true in any process; the same in each of them."""
        return self.mean(torch.tensor([is_true], dtype=torch.float64, device=self.device)).item() > 0

    def wait(self) -> None:
        """Wait until every process has come here."""
        self.any(False)


@contextmanager
def join_world(device: str | None = None) -> Iterator[World]:
    """Join the other processes of a run that torchrun started, if there are any; may be nested.

    The default `device` is the GPU with the number of this process on its machine, or the CPU where torch finds none.
    """
    place = choose_device(device)
    if place.type == "cuda" and place.index is None:
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if dist.is_available() and dist.is_initialized():
        yield World(dist.get_rank(), dist.get_world_size(), place)
    elif int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo")  # gloo works on CPUs
        agreed = False
        try:
            yield World(dist.get_rank(), dist.get_world_size(), place)
            agreed = True
        except TrainingInterrupted:
            # All processes raise this one at the same step.
            agreed = True
            raise
        finally:
            # After an error in one process, NCCL would wait for others that may never get here.
            if agreed or dist.get_backend() == "gloo":
                dist.destroy_process_group()
    else:
        yield World(0, 1, place)
