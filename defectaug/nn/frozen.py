"""A module applied with its weights as constants: gradients reach its inputs, none its weights."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.func import functional_call


def frozen(module: nn.Module, *inputs: Any) -> Any:
    """``module(*inputs)`` with its parameters detached from the graph."""
    return functional_call(module, {name: weight.detach() for name, weight in module.named_parameters()}, inputs)
