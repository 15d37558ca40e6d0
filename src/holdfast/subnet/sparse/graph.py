"""The layers of a network and what runs between them, by torch.fx."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, fx, nn

from holdfast.core.errors import UsageError
from holdfast.models.chains import Chain, find_chains
from holdfast.models.fold import folded, is_foldable, norm_scale
from holdfast.subnet.sparse.layout import Window
from holdfast.subnet.sparse.weights import SparseWeights

_BOUNDS = {"none": (-torch.inf, torch.inf), "relu": (0.0, torch.inf)}


@dataclass(frozen=True)
class Layer:
    """product → [norm] → [+ residual] → [bounds]: one layer, whose output is its node's value.

    ``scale`` and ``shift`` (M,) float32 are applied to the sums of ``weights``. Where the weights are not all
    of one size, ``weights`` is None and ``dense`` has them, with the norm folded in.
    """

    name: str
    node: fx.Node
    source: fx.Node
    residual: fx.Node | None
    window: Window
    weights: SparseWeights | None
    scale: Tensor
    shift: Tensor
    bounds: tuple[float, float]
    dense: Tensor | None
    groups: int
    linear: bool
    shape: tuple[int, ...]
    """That of the weights."""

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight, with the norm folded in, and bias of the product."""
        if self.weights is None:
            assert self.dense is not None
            return self.dense, self.shift
        signs = self.weights.dense().reshape(self.shape)
        return signs * self.scale.reshape(-1, *[1] * (len(self.shape) - 1)), self.shift


@dataclass(frozen=True)
class Network:
    """The nodes of a model in order, those within a layer left out; ``shapes`` (C, …) of tensors.

    ``constants``: the modules and attributes that nodes outside of layers name.
    """

    nodes: Sequence[fx.Node]
    constants: dict[str, Any]
    layers: dict[fx.Node, Layer]
    shapes: dict[fx.Node, tuple[int, ...]]

    def reads(self, node: fx.Node) -> list[fx.Node]:
        """The nodes whose values that of ``node`` is made of."""
        layer = self.layers.get(node)
        if layer is None:
            return node.all_input_nodes
        return [layer.source] if layer.residual is None else [layer.source, layer.residual]

    @property
    def output(self) -> tuple[int, ...]:
        """Shape of what the model returns, the batch left out."""
        return self.shapes[next(node.args[0] for node in self.nodes if node.op == "output")]  # type: ignore[index]

    def size(self, node: fx.Node) -> tuple[int, int, int]:
        """Channels, height and width of a value that a layer reads or makes."""
        shape = self.shapes[node]
        channels, high, wide = shape if len(shape) == 3 else (shape[0], 1, 1)
        return channels, high, wide


def network(
    model: nn.Module, shape: tuple[int, ...], weights: Mapping[str, SparseWeights] | None = None
) -> Network:
    """The network of ``model``, in eval mode, for inputs (N, *``shape``).

    ``weights``: those of layers, by name, whose own need not be there (on the meta device).

    Raises UsageError for a model that returns anything but one tensor, and whatever it raises when it is
    traced or run.
    """
    graph = fx.Tracer().trace(model)
    for node in list(graph.nodes):
        if node.op == "call_module" and isinstance(
            model.get_submodule(str(node.target)), nn.Identity | nn.modules.dropout._DropoutNd
        ):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    shapes = _Shapes(fx.GraphModule(model, graph)).of(torch.zeros(1, *shape))
    made = next(node.args[0] for node in graph.nodes if node.op == "output")
    if not isinstance(made, fx.Node) or made not in shapes:
        raise UsageError("a compiled network", expected="one tensor as its output", got=type(made).__name__)
    chains = [c for c in find_chains(graph, model, _fusible, _foldable, pools=False) if _regular(c, shapes)]
    inner = {node for chain in chains for node in chain.nodes}
    layers = {}
    for chain in chains:
        if chain.activation[0] == "leaky":  # the only one that is not a pair of bounds: left to torch
            inner.discard(chain.nodes.pop())
            chain.activation = ("none", 0.0)
        layers[chain.last] = _layer(chain, weights or {})
    nodes = [node for node in graph.nodes if node not in inner or node in layers]
    constants: dict[str, Any] = {
        str(node.target): operator.attrgetter(str(node.target))(model)
        for node in nodes
        if node.op in ("call_module", "get_attr") and node not in layers
    }
    return Network(nodes, constants, layers, shapes)


def _layer(chain: Chain, given: Mapping[str, SparseWeights]) -> Layer:
    inner, norm, name = chain.layer, chain.norm, str(chain.nodes[0].target)
    linear = isinstance(inner, nn.Linear)
    window = Window() if linear else Window(inner.kernel_size, inner.stride, inner.padding, inner.dilation)
    groups = 1 if linear else inner.groups
    weights = given.get(name) or SparseWeights.of(inner.weight, groups)
    outputs = len(inner.weight)
    # Beside kept weights only the bias is asked for: that of a layer without inputs.
    none = SimpleNamespace(weight=torch.empty(outputs, 0), bias=inner.bias)
    weight, bias = folded(inner if weights is None else none, norm)
    scale = torch.ones(outputs, dtype=torch.float64) if norm is None else norm_scale(norm)
    kind, bound = chain.activation
    return Layer(
        name,
        chain.last,
        chain.source,
        chain.residual,
        window,
        weights,
        (scale * (1.0 if weights is None else weights.scale)).to(torch.float32),
        torch.zeros(outputs) if bias is None else bias.to(torch.float32),
        (0.0, bound) if kind == "clamp" else _BOUNDS[kind],
        weight.clone() if weights is None else None,
        groups,
        linear,
        tuple(inner.weight.shape),
    )


def _fusible(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.dtype is not torch.float32:
        return False
    if not weight.is_cpu and not weight.is_meta:
        return False
    if type(module) is nn.Linear:
        return True
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and isinstance(module.padding, tuple)


def _foldable(module: nn.Module) -> bool:
    return is_foldable(module) or (
        type(module) is nn.BatchNorm1d and module.running_mean is not None and not module.training
    )


def _regular(chain: Chain, shapes: dict[fx.Node, tuple[int, ...]]) -> bool:
    """Whether a layer reads maps or vectors, and what it adds is of its own shape."""
    dimensions = 1 if isinstance(chain.layer, nn.Linear) else 3
    own = shapes.get(chain.last)
    return (
        len(shapes.get(chain.source, ())) == dimensions
        and own is not None
        and len(own) == dimensions
        and (chain.residual is None or shapes.get(chain.residual) == own)
    )


class _Shapes(fx.Interpreter):
    """Records the shape of every tensor, the batch left out."""

    def of(self, x: Tensor) -> dict[fx.Node, tuple[int, ...]]:
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        with torch.inference_mode():
            self.run(x)
        return self.shapes

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        weight = getattr(self.fetch_attr(target), "weight", None)
        if not isinstance(weight, Tensor) or not weight.is_meta:
            return super().call_module(target, args, kwargs)
        away = tuple(value.to("meta") if isinstance(value, Tensor) else value for value in args)
        return torch.zeros_like(super().call_module(target, away, kwargs), device="cpu")

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor) and value.dim() > 0:
            self.shapes[n] = tuple(value.shape[1:])
        return value
