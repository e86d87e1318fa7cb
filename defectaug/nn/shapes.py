"""Networks as names and shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_DRAWS = (Tensor.normal_, Tensor.uniform_)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Networks that are built within it take no memory and have no values, first weights included.

    Drawing those on the meta device does nothing, in as much time as building the whole network takes otherwise.
    """
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    """Leaves out what initialises a tensor in place."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: tuple[Any, ...] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        options = options or {}
        if function in _DRAWS or getattr(function, "__module__", None) == torch.nn.init.__name__:
            return arguments[0] if arguments else options["tensor"]
        return function(*arguments, **options)
