"""A packed network as the steps of the exported C, norms and activations folded into what they follow."""

from __future__ import annotations

import operator
from collections import Counter
from math import prod
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from holdfast.core.errors import UsageError
from holdfast.export.c_folding import affine_of, scaling_of, statistics_of, windows_of
from holdfast.export.c_products import convolution, linear, shortcut
from holdfast.export.c_steps import Activation, Maps, Pointwise, Pool, Product, Step
from holdfast.models.resnet import PadShortcut
from holdfast.models.scaling import InputScaling
from holdfast.subnet import Packed

_SAME = (nn.Identity, nn.Dropout, nn.Flatten)
_SAME_CALLS = (torch.flatten, "flatten", "contiguous")
_ACTIVATIONS: dict[Any, Activation] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    functional.relu: "relu",
    functional.relu6: "relu6",
    torch.relu: "relu",
    "relu": "relu",
}
_ADD = (operator.add, operator.iadd, torch.add, "add", "add_")
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def steps_of(packed: Packed) -> list[Step]:
    """The steps that make logits from one image, in order; the last one's ``out`` are the logits.

    Raises UsageError that names what C export cannot do.
    """
    config = packed.config
    model = packed.to_module()
    try:
        graph = _Tracer().trace(model)
        traced = fx.GraphModule(model, graph)
        ShapeProp(traced).propagate(torch.zeros(1, config.in_channels, config.size, config.size))
    except Exception as error:
        raise _cannot(f"model {config.name!r}", f"no graph without branches: {error}") from error
    return _Lowering(packed, traced).run()


class _Tracer(fx.Tracer):
    """Keeps whole what has a step of its own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, InputScaling | PadShortcut) or super().is_leaf_module(m, module_qualified_name)


class _Lowering:
    """Walks once through a graph; ``maps`` are what each node makes, ``makers`` the step that makes each."""

    def __init__(self, packed: Packed, traced: fx.GraphModule) -> None:
        self.packed, self.traced = packed, traced
        self.layers = {layer.name: layer for layer in packed.layers}
        self.steps: list[Step] = []
        self.maps: dict[fx.Node, Maps] = {}
        self.makers: dict[Maps, Step] = {}
        self.readers: Counter[fx.Node] = Counter()

    def run(self) -> list[Step]:
        nodes = list(self.traced.graph.nodes)
        for node in nodes:
            if not self._same(node):
                self.readers.update(self._resolved(each) for each in node.all_input_nodes)
        for node in nodes:
            if node.op == "output":
                (result,) = node.all_input_nodes
                logits = self.maps[result]
            elif node.op != "get_attr":
                self.maps[node] = self._lower(node)
        if self.makers.get(logits) is not self.steps[-1]:
            raise self._refuse(node, "an output that is not made last")
        for step in self.steps:
            if isinstance(step, Product):
                assert step.source is not None
                step.source.pad = tuple(map(max, step.source.pad, step.padding))  # type: ignore[assignment]
        return self.steps

    def _lower(self, node: fx.Node) -> Maps:
        if node.op == "placeholder":
            _, channels, height, width = _shape(node)
            return self._add(Pointwise(Maps(channels, height, width), None, "input"))
        if self._same(node):
            return self._arg(node, 0)
        module = self.traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        what: Any = node.target if module is None else type(module)
        if isinstance(module, InputScaling):
            return self._scaling(node, module)
        if isinstance(module, nn.Conv2d | nn.Linear):
            return self._product(node, module)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            return self._norm(node, module)
        if isinstance(module, PadShortcut):
            return self._add(shortcut(module, self._arg(node, 0), _shape(node), str(node.target)))
        if isinstance(module, _POOLS) or node.target in ("mean", torch.mean):
            return self._pool(node, module)
        if what in _ACTIVATIONS:
            return self._activation(node, _ACTIVATIONS[what])
        if what in _ADD and len(node.args) == 2 and len(node.all_input_nodes) == 2 and not node.kwargs:
            return self._residual(node)
        raise self._refuse(node, str(getattr(what, "__name__", what)))

    def _scaling(self, node: fx.Node, module: InputScaling) -> Maps:
        step = self._open(node)
        if step is None or step.source is not None or step.scale is not None:
            raise self._refuse(node, "InputScaling of anything but the image")
        step.scale, step.shift = scaling_of(module)
        step.compress = module.compress == "sqrt"
        return step.out

    def _product(self, node: fx.Node, module: nn.Conv2d | nn.Linear) -> Maps:
        source, layer, seed = self._arg(node, 0), self.layers[str(node.target)], self.packed.seed
        try:
            if isinstance(module, nn.Linear):
                return self._add(linear(layer, source, _shape(node.all_input_nodes[0]), seed))
            return self._add(convolution(module, layer, source, _shape(node)[2:], seed))  # type: ignore[arg-type]
        except ValueError as error:
            raise self._refuse(node, str(error)) from None

    def _norm(self, node: fx.Node, module: nn.BatchNorm1d | nn.BatchNorm2d) -> Maps:
        source = self._arg(node, 0)
        if module.num_features != source.channels or module.running_mean is None:
            raise self._refuse(node, f"{type(module).__name__} over other axes, or without statistics")
        scale, shift = affine_of(module)
        step = self._open(node)
        if step is None or step.residual is not None:
            step = self._pointwise(source, str(node.target))
        # Only a product that was just made has nothing but the scale of its layer.
        fresh = isinstance(step, Product) and step.scale is not None and step.shift is None
        step.statistics = statistics_of(module, float(step.scale[0])) if fresh else None  # type: ignore[index]
        ones = np.ones(source.channels)
        step.shift = scale * (0 * ones if step.shift is None else step.shift) + shift
        step.scale = scale * (ones if step.scale is None else step.scale)
        return step.out

    def _activation(self, node: fx.Node, activation: Activation) -> Maps:
        step = self._open(node) or self._pointwise(self._arg(node, 0), activation)
        step.activation = activation
        return step.out

    def _residual(self, node: fx.Node) -> Maps:
        """The sum, taken up by whichever of the two can still take one; that one then runs last."""
        for mine, other in ((0, 1), (1, 0)):
            step, residual = self._open(node, mine), self._arg(node, other)
            if step is not None and step.residual is None and step.source is not None:
                break
        else:
            step, residual = self._pointwise(self._arg(node, 0), node.name), self._arg(node, 1)
        step.residual = residual
        self.steps.remove(step)
        self.steps.append(step)
        return step.out

    def _pool(self, node: fx.Node, module: nn.Module | None) -> Maps:
        source = self._arg(node, 0)
        if module is None:
            axes, *rest = (*node.args[1:], *node.kwargs.values())
            if rest not in ([], [False]) or axes not in ((2, 3), [2, 3], (-2, -1), [-2, -1]):
                raise self._refuse(node, "a mean over other axes than the pixels")
            module = nn.AdaptiveAvgPool2d(1)
        try:
            rows, columns = windows_of(module, (source.height, source.width))
        except ValueError as error:
            raise self._refuse(node, f"{type(module).__name__}: {error}") from None
        kind = "max" if isinstance(module, nn.MaxPool2d) else "mean"
        out = Maps(source.channels, len(rows), len(columns))
        if prod(_shape(node)) != out.pixels:
            raise self._refuse(node, f"{type(module).__name__} of an unknown form")
        return self._add(Pool(out, source, str(node.target), kind, rows, columns))  # type: ignore[arg-type]

    def _open(self, node: fx.Node, index: int = 0) -> Pointwise | None:
        """The step that makes argument ``index``, if ``node`` alone reads it and may be folded into it."""
        argument = node.args[index]
        assert isinstance(argument, fx.Node)
        step = self.makers[self.maps[argument]]
        alone = self.readers[self._resolved(argument)] == 1
        if alone and isinstance(step, Pointwise) and step.activation == "none":
            return step
        return None

    def _pointwise(self, source: Maps, title: str) -> Pointwise:
        step = Pointwise(Maps(source.channels, source.height, source.width), source, title)
        self._add(step)
        return step

    def _add(self, step: Step) -> Maps:
        self.steps.append(step)
        self.makers[step.out] = step
        return step.out

    def _arg(self, node: fx.Node, index: int) -> Maps:
        argument = node.args[index] if index < len(node.args) else None
        if not isinstance(argument, fx.Node) or argument not in self.maps:
            raise self._refuse(node, f"arguments {node.args}")
        return self.maps[argument]

    def _same(self, node: fx.Node) -> bool:
        """Whether ``node`` hands on what it reads."""
        if node.op == "call_module":
            return isinstance(self.traced.get_submodule(str(node.target)), _SAME)
        return node.op in ("call_function", "call_method") and node.target in _SAME_CALLS

    def _resolved(self, node: fx.Node) -> fx.Node:
        while self._same(node):
            node = node.all_input_nodes[0]
        return node

    def _refuse(self, node: fx.Node, what: str) -> UsageError:
        return _cannot(f"model {self.packed.config.name!r}", f"{what} ({node.name})")


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)


def _cannot(what: str, got: str) -> UsageError:
    return UsageError(
        f"C export of {what}",
        expected="convolutions, linear layers, batch norms, ReLU, sums, and maximum or mean pools",
        got=got,
        remedy="use packed.to_module() or packed.compile() for this one",
    )
