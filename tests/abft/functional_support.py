"""Modules that multiply by torch's functions, and what guards them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.abft.events import Guard
from holdfast.abft.functional import Attached, attach
from holdfast.abft.weights import Keeper

X = (3, 5, 8)
"""The shape of an input for ``Products``."""


class Products(nn.Module):
    """Whatever ``function`` does with the input and the parameters."""

    def __init__(
        self, function: Callable[[Products, Tensor], Tensor], dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator).to(dtype))

        self.function = function
        self.weight, self.bias, self.stack = parameter(6, 8), parameter(6), parameter(3, 8, 5)
        self.kernel, self.filter = parameter(4, 5, 3), parameter(5, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def attached(model: nn.Module, *args: Tensor, on_fault: Any = "correct") -> tuple[Attached, Guard]:
    guard = Guard(on_fault)
    with torch.no_grad():
        return attach(model, guard, Keeper(model), args), guard


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(x)
    return out
