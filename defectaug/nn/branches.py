"""The one place that picks a domain's output branch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from defectaug.nn.blocks import linear

PAD = 4
"""Rows of a branch are filled up to a multiple of this: every new shape costs oneDNN a tenth of a second of
compiling per convolution."""


def pick(branches: Tensor, domain: Tensor) -> Tensor:
    """(N, K, ...) outputs of all K branches and (N,) domains to the (N, ...) outputs of the chosen ones."""
    return branches[torch.arange(len(domain), device=domain.device), domain]


class BranchedConv1x1(nn.Module):
    """A 1x1 convolution per domain: (N, c_in, H, W) and (N,) to (N, c_out, H, W)."""

    def __init__(self, c_in: int, c_out: int, domains: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.shape = (domains, c_out)
        self.conv = nn.Conv2d(c_in, domains * c_out, 1)
        nn.init.normal_(self.conv.weight, std=gain / c_in**0.5)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        return pick(self.conv(x).unflatten(1, self.shape), domain)


class BranchedLinear(nn.Module):
    """A linear layer per domain: (N, c_in) and (N,) to (N, c_out)."""

    def __init__(self, c_in: int, c_out: int, domains: int) -> None:
        super().__init__()
        self.shape = (domains, c_out)
        self.linear = linear(c_in, domains * c_out)

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        return pick(self.linear(x).unflatten(1, self.shape), domain)


class Branches(nn.Module):
    """A whole module per domain; each runs on its own rows alone, so that none waits for another's."""

    def __init__(self, make: Callable[[], nn.Module], domains: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(make() for _ in range(domains))

    def forward(self, domain: Tensor, *rows: Tensor | list[Tensor]) -> Tensor:
        """(N,) domains and arguments that are (N, ...) tensors, or lists of them."""
        order: list[int] = []
        parts = []
        numbers = domain.tolist()  # the one transfer from a GPU
        for number in sorted(set(numbers)):
            where = [row for row, other in enumerate(numbers) if other == number]
            padded = torch.tensor(where + where[:1] * (-len(where) % PAD), device=domain.device)
            inputs = [[t[padded] for t in r] if isinstance(r, list) else r[padded] for r in rows]
            parts.append(self.branches[number](*inputs)[: len(where)])
            order += where
        return torch.cat(parts)[torch.tensor(order).argsort().to(domain.device)]
