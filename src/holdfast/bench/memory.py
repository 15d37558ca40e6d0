"""Size of a model: parameters, and bytes of everything that has to be stored."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from holdfast.core.result import Label, Record


def count_parameters(model: nn.Module) -> int:
    """Number of trainable and fixed parameters, shared ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def state_bytes(model: nn.Module) -> int:
    """Bytes of parameters and buffers, also of buffers that are kept out of the state dict."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def size(model: nn.Module, *, labels: Mapping[str, Label] | None = None) -> list[Record]:
    """Records ``parameters`` and ``size`` (bytes of parameters and buffers in memory)."""
    found = {"parameters": (count_parameters(model), "1"), "size": (state_bytes(model), "B")}
    return [
        Record(metric=metric, value=value, unit=unit, direction="lower", labels=dict(labels or {}))
        for metric, (value, unit) in found.items()
    ]
