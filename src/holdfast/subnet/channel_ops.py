"""What operations do with channels: which stay themselves, which are mixed, and by which weights."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardtanh)
_SAME = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d)
_RELU = (functional.relu, torch.relu, "relu")
_ADD = (operator.add, operator.iadd, torch.add, "add", "add_")


@dataclass(frozen=True)
class Kind:
    """What a node does with channels.

    With ``ties`` each channel of its value is made of the same one of every source (``flatten``: of a
    channel's places). With ``reads`` (M, C) it mixes them, row o reading those where it is True. With neither
    it is not known. ``constant`` says what constants (C,) of the sources, NaN for none, become.
    """

    name: str
    ties: bool = False
    reads: Tensor | None = None
    constant: Callable[..., Tensor] = lambda *sources: torch.full_like(sources[0], torch.nan)
    module: nn.Module | None = None


def kind_of(node: fx.Node, model: nn.Module, nodes: Sequence[fx.Node]) -> Kind:
    """The kind of ``node`` of the graph ``nodes`` of ``model``, which is in eval mode."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        if sum(other.op == "call_module" and other.target == node.target for other in nodes) > 1:
            return _of_module(module) if not list(module.parameters()) else Kind("unknown")
        return _of_module(module)
    if node.target in _RELU:
        return Kind("relu", ties=True, constant=torch.relu)
    if node.target in _ADD and len(node.all_input_nodes) == 2 and len(node.args) == 2 and not node.kwargs:
        return Kind("add", ties=True, constant=torch.add)
    if node.target in ("flatten", torch.flatten) and node.args[1:] == (1,):
        return Kind("flatten", ties=True, constant=_same)
    if node.target in ("mean", torch.mean) and node.args[1:] in (((2, 3),), ([2, 3],)):
        return Kind("mean", ties=True, constant=_same)
    return Kind("unknown")


def _of_module(module: nn.Module) -> Kind:
    if isinstance(module, _NORMS) and module.running_mean is not None:
        return Kind("norm", ties=True, constant=lambda c: _normalised(module, c), module=module)
    if isinstance(module, _ACTIVATIONS):
        return Kind("activation", ties=True, constant=lambda c: module(c.clone()), module=module)
    if isinstance(module, nn.AvgPool2d) and module.padding in (0, (0, 0)):
        return Kind("pool", ties=True, constant=_same, module=module)
    if isinstance(module, _SAME):
        return Kind("same", ties=True, constant=_same, module=module)
    if not isinstance(module, nn.Conv2d | nn.Linear):
        return Kind("unknown")
    used = module.weight.detach().flatten(2).ne(0).any(2) if module.weight.dim() > 2 else module.weight.ne(0)
    bias = torch.zeros(len(used)) if module.bias is None else module.bias.detach()
    groups = module.groups if isinstance(module, nn.Conv2d) else 1
    if groups == 1:
        return Kind("product", reads=used, constant=lambda c: _product(used, bias, c), module=module)
    if groups == len(used) == module.in_channels:
        own = used[:, 0]
        return Kind(
            "depthwise",
            ties=True,
            constant=lambda c: torch.where(own & (c != 0), torch.nan, bias),
            module=module,
        )
    return Kind("unknown")


def _same(constant: Tensor) -> Tensor:
    return constant


def _normalised(norm: nn.Module, constant: Tensor) -> Tensor:
    shape = (1, -1, 1, 1) if isinstance(norm, nn.BatchNorm2d) else (1, -1)
    made: Tensor = norm(constant.view(shape))
    return made.reshape(-1)


def _product(used: Tensor, bias: Tensor, constant: Tensor) -> Tensor:
    """Rows that read nothing but zeros have their bias; what others have is not looked into."""
    return torch.where((used & (constant != 0)[None]).any(1), torch.nan, bias)
