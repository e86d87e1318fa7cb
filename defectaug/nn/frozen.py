"""A module applied as it is: gradients pass through it to its inputs, none reaches its weights."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.func import functional_call


def held(module: nn.Module, *inputs: Any) -> Any:
    """``module(*inputs)`` with its parameters cut from the graph."""
    return functional_call(module, {name: weight.detach() for name, weight in module.named_parameters()}, inputs)
