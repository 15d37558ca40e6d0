"""From the nodes of a network to the steps of a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from holdfast.kernels.native import Kernels
from holdfast.subnet.sparse.dense import dense_layer
from holdfast.subnet.sparse.graph import Layer, Network
from holdfast.subnet.sparse.layout import LANES, Kind, Layout, Window
from holdfast.subnet.sparse.memory import Place
from holdfast.subnet.sparse.steps import DenseStep, NativeStep, Step, TorchStep
from holdfast.subnet.sparse.values import Values

METHODS = ("planes", "lanes", "dense")


@dataclass(frozen=True)
class Choice:
    """How a layer runs: ``method`` is one of METHODS; ``tile`` vectors of sums stay in registers."""

    method: str = "planes"
    tile: int = 4


class Builder:
    """``steps`` for batches of ``images``; ``views`` says which values are in the arena, and where.

    The steps point to the tensors in ``keep``.
    """

    def __init__(
        self,
        network: Network,
        images: int,
        kernels: Kernels | None,
        choices: Mapping[str, Choice],
        slots: Mapping[fx.Node, int],
    ) -> None:
        self.steps: list[Step] = []
        self.views: dict[fx.Node, Place] = {}
        self.keep: list[Tensor] = []
        self._network, self._images, self._kernels, self._slots = network, images, kernels, slots
        self._choices = {node: choices[layer.name] for node, layer in network.layers.items()}
        self._current = ""
        dense = {node for node, choice in self._choices.items() if choice.method == "dense"}
        self._values = Values(network, images, slots, dense, self._next)
        last = {read: node for node in network.nodes for read in network.reads(node)}
        for node in network.nodes:
            self._add(node)
            for read in network.reads(node):
                if last[read] is node:
                    # What torch makes of a value may be a view of it.
                    self._values.release(read, any(u in slots and u not in self._choices for u in read.users))

    @property
    def floats(self) -> int:
        """Size of the arena."""
        return self._values.arena.floats

    def _add(self, node: fx.Node) -> None:
        layer = self._network.layers.get(node)
        if layer is None:
            if node.op not in ("placeholder", "output"):
                self.steps.append(TorchStep(self._slots, node, self._network.constants))
        elif self._choices[node].method == "dense":
            product = dense_layer(layer, self._images, self._network.size(layer.source))
            residual = -1 if layer.residual is None else self._slots[layer.residual]
            slots = self._slots[layer.source], residual, self._slots[node]
            self.steps.append(DenseStep(layer.name, product, *slots))
        else:
            self._current = layer.name
            self._sums(layer, self._choices[node])

    def _next(self) -> NativeStep:
        """Where the next step of the core goes to."""
        assert self._kernels is not None  # without it all layers are dense
        step = self.steps[-1] if self.steps else None
        if not isinstance(step, NativeStep):
            step = NativeStep(self._kernels)
            self.steps.append(step)
        step.layers.append(self._current)
        return step

    def _sums(self, layer: Layer, choice: Choice) -> None:
        weights, values = layer.weights, self._values
        assert weights is not None
        kind: Kind = "lanes" if choice.method == "lanes" else "planes"
        layout = values.layout(kind, layer.node)
        source, phases = values.input(layer, layout)
        residual = None if layer.residual is None else values.place(layer.residual, layout)
        out = self.views[layer.node] = values.new(layer.node, layout)
        tensors = [
            torch.from_numpy(weights.start),
            torch.from_numpy(weights.offsets(layer.window, source.layout, phases)),
            layer.scale,
            layer.shift,
        ]
        inside = layout.inside() if kind == "planes" else torch.empty(0)
        self.keep += [*tensors, inside]
        self._next().program.sums(
            [tensor.data_ptr() for tensor in tensors],
            inside.data_ptr(),  # 0 where it is empty
            _grid(layer.window, source.layout, layout),
            weights.outputs,
            weights.kept,
            source.start,
            -1 if residual is None else residual.start,
            out.start,
            layout.plane,
            choice.tile,
            *layer.bounds,
        )


def _grid(window: Window, source: Layout, out: Layout) -> list[int]:
    """Rows, columns, and the steps of both in the input and the output; see native/src/sparse.hpp."""
    if out.kind == "planes":
        return [1, out.count, 0, 0, 0, 0]
    down, right = window.stride
    in_row, out_row = down * source.row * LANES, out.row * LANES
    if right == 1:
        return [out.height, out.width * LANES, in_row, 0, out_row, 0]
    return [out.height, out.width, in_row, right * LANES, out_row, LANES]
