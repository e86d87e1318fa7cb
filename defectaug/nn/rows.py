"""Which rows of a batch this process holds, where several processes train on one batch together.

Every process draws the random numbers of the whole batch and takes those of its own rows; a term of the objective is
the sum of what the processes contribute. So a step of many processes is the step of one, to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """A set of rows and where they lie.

    Args:
        owned: for each process the numbers (n,) of its rows in the set, in the order in which it holds them.
        process: number of this process.
    """

    owned: tuple[Tensor, ...]
    process: int = 0

    @staticmethod
    def split(count: int, process: int = 0, processes: int = 1) -> Rows:
        """The rows 0 to ``count`` dealt in turn: any stretch of them lies as evenly on the processes."""
        return Rows(tuple(torch.arange(count)[first::processes] for first in range(processes)), process)

    @property
    def processes(self) -> int:
        return len(self.owned)

    @property
    def mine(self) -> Tensor:
        """Numbers (n,) of this process's rows."""
        return self.owned[self.process]

    @property
    def count(self) -> int:
        """Rows of the whole set."""
        return sum(map(len, self.owned))

    @property
    def share(self) -> float:
        """Share of the rows that this process holds: what its mean contributes to the mean of all."""
        return len(self.mine) / self.count if self.count else 0.0

    def __add__(self, other: Rows) -> Rows:
        """The rows of ``other`` after these; each process holds them in this order."""
        both = zip(self.owned, other.owned, strict=True)
        return Rows(tuple(torch.cat([a, b + self.count]) for a, b in both), self.process)

    def alike(self, count: int) -> Rows:
        """Another set of ``count`` rows in equal parts on the same processes."""
        return Rows.split(count, self.process, self.processes)

    def pick(self, chosen: Tensor) -> tuple[Rows, Tensor]:
        """The rows that ``chosen`` (M,) numbers as a set of their own, in that order, and the places (m,) of this
        process's rows of it among those that it holds."""
        owner = torch.empty(self.count, dtype=torch.long)
        place = torch.empty(self.count, dtype=torch.long)
        for process, rows in enumerate(self.owned):
            owner[rows], place[rows] = process, torch.arange(len(rows))
        owned = (owner[chosen] == process for process in range(self.processes))
        picked = Rows(tuple(theirs.nonzero().flatten() for theirs in owned), self.process)
        return picked, place[chosen[picked.mine]]

    def take(self, whole: Tensor) -> Tensor:
        """This process's rows of a tensor (count, ...)."""
        return whole if self.processes == 1 else whole[self.mine.to(whole.device)]

    def gather(self, x: Tensor) -> Tensor:
        """The rows of all processes (count, ...) from each one's own (n, ...).

        Differentiable where every process computes the same from the result and contributes an equal part of it.
        """
        return x if self.processes == 1 else _Gather.apply(x, self)

    def collect(self, x: Tensor) -> Tensor:
        """:meth:`gather` without a gradient."""
        longest = max(map(len, self.owned))
        padded = torch.cat([x, x.new_zeros(longest - len(x), *x.shape[1:])]).contiguous()
        parts = [torch.empty_like(padded) for _ in self.owned]
        dist.all_gather(parts, padded)
        whole = x.new_empty(self.count, *x.shape[1:])
        for rows, part in zip(self.owned, parts, strict=True):
            whole[rows.to(x.device)] = part[: len(rows)]
        return whole


class _Gather(torch.autograd.Function):
    """Rows of all processes. Each gets back the gradient of its own rows, times the number of processes: the others,
    which contribute as much to the same value, do not send theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Rows) -> Tensor:
        ctx.rows = rows
        return rows.collect(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.rows.take(grads[0]) * ctx.rows.processes, None
