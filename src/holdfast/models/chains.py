"""Chains: a convolution or Linear with what follows it, found in the graph of a model."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from holdfast.core.protocols import fault_site
from holdfast.models.fold import is_foldable

Activation = tuple[str, float]
"""One of ``kernels.native.ACTIVATIONS`` and its bound or slope."""
NONE: Activation = ("none", 0.0)
Check = Callable[[nn.Module], bool]
_RELU = (functional.relu, torch.relu, torch.relu_, "relu", "relu_")
_ADD = (operator.add, torch.add, "add")
_ADD_IN_PLACE = (operator.iadd, "add_")


@dataclass
class Chain:
    """product → [norm] → [+ residual] → [activation] → [max pool], each the only reader of the one before.

    No pool after a residual.

    ``nodes`` of the graph in order, ``residual`` the node that is added. ``activate`` does what the node of
    the activation does, hooks included, to a tensor.
    """

    layer: Any
    nodes: list[fx.Node]
    norm: nn.BatchNorm2d | None = None
    norm_name: str = ""
    residual: fx.Node | None = None
    activation: Activation = NONE
    activate: Callable[[Tensor], Tensor] | None = None
    pool: nn.MaxPool2d | None = None

    @property
    def source(self) -> fx.Node:
        """The node that the product reads."""
        node = self.nodes[0].args[0]
        assert isinstance(node, fx.Node)
        return node

    @property
    def last(self) -> fx.Node:
        """The node whose value the chain makes."""
        return self.nodes[-1]

    @property
    def windows(self) -> tuple[int, ...]:
        """Kernel, stride and padding of the pool, two of each; a kernel of 0 where there is none."""
        if self.pool is None:
            return (0, 0, 1, 1, 0, 0)
        return (*_pair(self.pool.kernel_size), *_pair(self.pool.stride), *_pair(self.pool.padding))

    @property
    def modules(self) -> list[nn.Module]:
        """All modules that the chain stands for, and the layer that a protected one wraps."""
        found: list[nn.Module] = [self.layer, fault_site(self.layer)]
        if self.norm is not None:
            found.append(self.norm)
        if isinstance(self.activate, nn.Module):
            found.append(self.activate)
        if self.pool is not None:
            found.append(self.pool)
        return found

    def unfused(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """The same by the modules themselves."""
        y: Tensor = self.layer(x)
        if self.norm is not None:
            y = self.norm(y)
        if residual is not None:
            y = y + residual
        y = y if self.activate is None else self.activate(y)
        return y if self.pool is None else self.pool(y)


def find_chains(
    graph: fx.Graph,
    model: nn.Module,
    fusible: Check,
    foldable: Check = is_foldable,
    pools: bool = True,
) -> list[Chain]:
    """All chains of ``graph``, in its order; no node is in two. A chain runs where its last node stands.

    ``fusible`` says which layers begin one, ``foldable`` which norms belong to it; ``pools``: pools do too.
    """
    taken: set[fx.Node] = set()
    chains: list[Chain] = []
    for node in graph.nodes:
        if node.op != "call_module" or not fusible(layer := model.get_submodule(node.target)):
            continue
        if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], fx.Node):
            continue
        chain = Chain(layer, [node])
        _take_norm(chain, model, foldable)
        _take_residual(chain, taken)
        _take_activation(chain, model)
        if pools:
            _take_pool(chain, model)
        chains.append(chain)
        taken.add(chain.last)
    return chains


def _next(node: fx.Node) -> fx.Node | None:
    """The only reader of ``node``."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def _take_norm(chain: Chain, model: nn.Module, foldable: Check) -> None:
    node = _next(chain.last)
    if node is None or node.op != "call_module" or node.args != (chain.last,) or node.kwargs:
        return
    norm = model.get_submodule(str(node.target))
    if foldable(norm):
        chain.norm, chain.norm_name = norm, str(node.target)  # type: ignore[assignment]
        chain.nodes.append(node)


def _take_residual(chain: Chain, taken: set[fx.Node]) -> None:
    node = _next(chain.last)
    if node is None or len(node.args) != 2 or node.kwargs or node.op not in ("call_function", "call_method"):
        return
    a, b = node.args
    if node.target in _ADD and b is chain.last:
        a, b = b, a
    if node.target not in (*_ADD, *_ADD_IN_PLACE) or a is not chain.last or b is a:
        return
    if isinstance(b, fx.Node) and not _follows(node, taken):
        chain.residual = b
        chain.nodes.append(node)


def _follows(node: fx.Node, taken: set[fx.Node]) -> bool:
    """Whether another chain has ``node`` already, at its end or just before its activation."""
    return node in taken or _next(node) in taken


def _take_activation(chain: Chain, model: nn.Module) -> None:
    node = _next(chain.last)
    if node is None or not node.args or node.args[0] is not chain.last:
        return
    found = _of_module(node, model) if node.op == "call_module" else _of_function(node)
    if found is not None:
        chain.activation, chain.activate = found
        chain.nodes.append(node)


def _take_pool(chain: Chain, model: nn.Module) -> None:
    node = _next(chain.last)
    kind, slope = chain.activation
    increasing = kind != "leaky" or slope >= 0  # then it may come after the maximum as well
    if node is None or node.op != "call_module" or chain.residual is not None or not increasing:
        return
    pool = model.get_submodule(str(node.target))
    if type(pool) is not nn.MaxPool2d or pool.ceil_mode or pool.return_indices or node.args != (chain.last,):
        return
    if _pair(pool.dilation) == (1, 1):
        chain.pool = pool
        chain.nodes.append(node)


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


Found = tuple[Activation, Callable[[Tensor], Tensor]] | None


def _of_module(node: fx.Node, model: nn.Module) -> Found:
    module = model.get_submodule(str(node.target))
    kinds: dict[type[nn.Module], Callable[[Any], Activation]] = {
        nn.ReLU: lambda _: ("relu", 0.0),
        nn.ReLU6: lambda _: ("clamp", 6.0),
        nn.LeakyReLU: lambda m: ("leaky", float(m.negative_slope)),
    }
    make = kinds.get(type(module))
    return None if make is None else (make(module), module)


def _of_function(node: fx.Node) -> Found:
    if node.target in _RELU:
        return ("relu", 0.0), functional.relu
    rest = {**dict(zip(("negative_slope", "inplace"), node.args[1:], strict=False)), **node.kwargs}
    if node.target is functional.relu6:
        return ("clamp", 6.0), functional.relu6
    if node.target is functional.leaky_relu:
        slope = rest.get("negative_slope", 0.01)
        if isinstance(slope, int | float):
            return ("leaky", float(slope)), lambda x: functional.leaky_relu(x, slope)
    return None
