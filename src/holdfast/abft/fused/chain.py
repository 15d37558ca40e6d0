"""Chains that oneDNN's packed products and the native pass can do."""

from __future__ import annotations

import torch
from torch import fx, nn

from holdfast.abft.layers import ProtectedConv, ProtectedLayer, ProtectedLinear
from holdfast.models.chains import Chain, find_chains


def fast_chains(graph: fx.Graph, model: nn.Module) -> list[Chain]:
    """The chains of ``graph`` that begin with a protected layer which the fast path can do."""
    return find_chains(graph, model, _fusible)


def _fusible(layer: nn.Module) -> bool:
    if not isinstance(layer, ProtectedLayer):
        return False
    inner = layer.fault_site
    weight = inner._parameters.get("weight")
    if weight is None or not weight.is_cpu or weight.dtype is not torch.float32:
        return False
    if isinstance(layer, ProtectedLinear):
        return type(inner).forward is nn.Linear.forward
    if not isinstance(layer, ProtectedConv) or type(inner).forward is not nn.Conv2d.forward:
        return False
    symmetric = all(before == after for before, after in layer.window().padding)
    return symmetric and inner.padding_mode == "zeros" and isinstance(inner, nn.Conv2d)
