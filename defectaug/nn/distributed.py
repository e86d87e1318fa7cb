"""Several processes that train one model, as `torchrun` starts them: who they are, and what they tell each other.

Every process holds the whole model and its own rows of the batch (see :mod:`defectaug.nn.rows`). Gradients are added up
in one flat all-reduce an optimiser step; nothing else that is large is sent. The first process alone writes and speaks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from defectaug.errors import ConfigError, PeerError
from defectaug.io.launcher import launched_as
from defectaug.nn.rows import Rows

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """The processes of a run; by default this one alone, for which every method is free.

    Args:
        rank: number of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def parts(self, count: int, share: float = 0.5) -> tuple[Rows, Rows]:
        """A batch of ``count`` rows in two parts, the first with ``share`` of them; this process holds its rows of the
        one, then of the other.

        Raises:
            ConfigError: fewer rows than processes in a part that is not empty.
        """
        first = int(count * share)
        if self.size > 1 and min(first or count, count - first) < self.size:
            raise ConfigError(
                f"run.batch_size is {count}; {self.size} processes need at least one row each that is painted by a "
                "reference, and where run.latent_share is not 0 one by a latent: make it larger."
            )
        return Rows.split(first, self.rank, self.size), Rows.split(count - first, self.rank, self.size)

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Adds up the gradients of all processes, in place; a parameter without one anywhere keeps none."""
        if self.size == 1:
            return
        there = [p.new_tensor(float(p.grad is not None)).flatten() for p in parameters]
        own = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
        flat = torch.cat([*own, *there])
        dist.all_reduce(flat)
        sums = flat[: -len(there)].split([p.numel() for p in parameters])
        for parameter, total, found in zip(parameters, sums, flat[-len(there) :].tolist(), strict=True):
            if found:
                if parameter.grad is None:
                    parameter.grad = torch.empty_like(parameter)
                parameter.grad.copy_(total.view(parameter.shape))

    def sum_values(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """What the processes contribute to some numbers, added up; the names are the same in all of them."""
        if self.size == 1:
            return {name: float(value.detach()) for name, value in values.items()}
        stacked = torch.stack([value.detach().double() for value in values.values()]).cpu()
        dist.all_reduce(stacked)
        return dict(zip(values, stacked.tolist(), strict=True))

    def agree(self, stop: bool, seconds: float) -> tuple[bool, float]:
        """Whether any process wants to stop, and the first one's clock."""
        if self.size == 1:
            return stop, seconds
        said = torch.tensor([float(stop), seconds if self.first else 0.0], dtype=torch.float64)
        dist.all_reduce(said)
        return bool(said[0] > 0), float(said[1])

    def from_first(self, make: Callable[[], T]) -> T:
        """What ``make`` gives the first process, for all of them.

        Raises:
            PeerError: it failed there; the first process raises the error itself.
        """
        if self.size == 1:
            return make()
        box: list[T | None] = [None]
        failed: list[bool] = [True]
        try:
            if self.first:
                box, failed = [make()], [False]
        finally:
            dist.broadcast_object_list(failed, 0, device=torch.device("cpu"))
        if failed[0]:
            raise PeerError("stopped because the first process did; its own message says why")
        dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
        return box[0]  # type: ignore[return-value]

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites tensors with those of the first process."""
        if self.size > 1:
            for tensor in tensors:
                dense = tensor.detach().contiguous()
                dist.broadcast(dense, 0)
                tensor.detach().copy_(dense)


ALONE = Team()
_current = ALONE


def current_team() -> Team:
    """The processes that this one has joined."""
    return _current


def local_rank() -> int:
    """Number of this process on its machine, and so of its GPU; 0 where no launcher says otherwise."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def team_of(device: torch.device) -> Iterator[Team]:
    """Joins the processes that the launcher has started; alone without one.

    Args:
        device: where this process computes; CUDA tensors travel by NCCL, all others by gloo.

    Raises:
        PeerError: another process has stopped.
    """
    rank, size = launched_as()
    if size == 1:
        yield ALONE
        return
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    global _current
    _current = Team(rank, size)
    try:
        yield _current
    except RuntimeError as error:
        if not _is_of_peer(error):
            raise
        raise PeerError("stopped because another process of this run did; its own message says why") from error
    finally:
        _current = ALONE
        dist.destroy_process_group()


def _is_of_peer(error: RuntimeError) -> bool:
    """Whether a collective failed, which it does when a process at its other end has gone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "onnection" in str(error)
