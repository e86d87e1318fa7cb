"""Several processes that train one model, as `torchrun` starts them.

Every process holds the whole model and computes the means of its own part of the batch; gradients are averaged in one
flat all-reduce an optimiser step. Without a launcher every function here is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from defectaug.errors import ConfigError, PeerError
from defectaug.io.launcher import launched_as

T = TypeVar("T")


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0; the first one alone writes and prints."""
    return dist.get_rank() if processes() > 1 else 0


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Joins the processes that the launcher has started; does nothing without one.

    Args:
        device: where this process computes; CUDA tensors travel by NCCL, all others by gloo.

    Raises:
        PeerError: another process has stopped.
    """
    if launched_as()[1] == 1:
        yield
        return
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield
    except RuntimeError as error:
        if not _is_of_peer(error):
            raise
        raise PeerError("stopped because another process of this run did; its own message says why") from error
    finally:
        dist.destroy_process_group()


def _is_of_peer(error: RuntimeError) -> bool:
    """Whether a collective failed, which it does when a process at its other end has gone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "onnection" in str(error)


def local_rows(batch_size: int, latent_share: float) -> list[int]:
    """Rows of the batch that this process computes: of K processes each takes every K-th, and so its part of those that
    latents and of those that references guide.

    Raises:
        ConfigError: the batch has no equal parts, or some process would have no row of a kind.
    """
    count, guided = processes(), int(batch_size * latent_share)
    if count > 1 and (batch_size % count or min(guided or count, batch_size - guided) < count):
        raise ConfigError(
            f"run.batch_size is {batch_size}; {count} processes need equal parts of it with at least one row each that "
            "is painted by a reference, and where run.latent_share is not 0 one by a latent: make it a larger multiple."
        )
    return list(range(rank(), batch_size, count))


def local_guided(count: int, latent_share: float) -> int:
    """How many of this process's ``count`` rows are guided by latents, its first ones."""
    return len(range(rank(), int(count * processes() * latent_share), processes()))


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Averages the gradients over all processes, in place. A parameter without a gradient in some process counts as one
    with zeros there; without one in any, it keeps none."""
    if processes() == 1:
        return
    present = [p.new_tensor([float(p.grad is not None)]) for p in parameters]
    own = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
    flat = torch.cat([*own, *present])
    dist.all_reduce(flat)
    sums = flat[: -len(present)].split([p.numel() for p in parameters])
    for parameter, total, found in zip(parameters, sums, flat[-len(present) :].tolist(), strict=True):
        if found:
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
            parameter.grad.copy_(total.view(parameter.shape) / processes())


def descend(optimizer: Optimizer, loss: Tensor) -> None:
    """A step by the gradients of all processes, on average."""
    if loss.requires_grad:  # not where no row has any of the terms
        loss.backward()  # type: ignore[no-untyped-call]
    average_gradients([p for group in optimizer.param_groups for p in group["params"]])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def average_values(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars by name, averaged over all processes, in one transfer from the device. All have the same names."""
    if not values:
        return {}
    stacked = torch.stack([value.detach().double() for value in values.values()]).cpu()
    if processes() > 1:
        dist.all_reduce(stacked)
        stacked /= processes()
    return dict(zip(values, stacked.tolist(), strict=True))


def gather_rows(x: Tensor) -> Tensor:
    """The whole batch (K n, ...) in its order from the rows (n, ...) of each of K processes; without a gradient."""
    if processes() == 1:
        return x
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(processes())]
    dist.all_gather(parts, x.contiguous())
    return torch.stack(parts, dim=1).flatten(0, 1)  # row i of process k is row i K + k, as in local_rows


def agree(stop: bool, seconds: float) -> tuple[bool, float]:
    """Whether any process wants to stop, and the first one's clock."""
    if processes() == 1:
        return stop, seconds
    shared = torch.tensor([float(stop), 0.0 if rank() else seconds], dtype=torch.float64)
    dist.all_reduce(shared)
    return bool(shared[0] > 0), float(shared[1])


def from_first(make: Callable[[], T]) -> T:
    """What ``make`` returns in the first process, for all of them.

    Raises:
        PeerError: it failed there; the first process raises the error itself.
    """
    if processes() == 1:
        return make()
    box: list[T | None] = [None]
    failed = [True]
    try:
        if rank() == 0:
            box, failed = [make()], [False]
    finally:
        dist.broadcast_object_list(failed, 0, device=torch.device("cpu"))
    if failed[0]:
        raise PeerError("stopped because the first process did; its own message says why")
    dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
    return box[0]  # type: ignore[return-value]


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Overwrites tensors with those of the first process."""
    if processes() == 1:
        return
    for tensor in tensors:
        dense = tensor.detach().contiguous()
        dist.broadcast(dense, 0)
        tensor.detach().copy_(dense)
