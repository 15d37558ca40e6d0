"""Structured pruning: channels that no result depends on are taken out of a packed network.

A channel is dead if its value is 0 everywhere, or if nothing that reaches the logits reads it. Values are
followed forward through the graph, a channel at a time, where they are the same at every place: an output
channel of a convolution without weights is 0, the norm after it (0 - mean)/σ, its ReLU the larger of that and
0. What is read is followed backward from the logits. Channels that additions tie to each other, those of a
residual stream, are taken out together: where all of them are dead.

The logits stay the same up to rounding. So a channel with a constant other than 0 stays: a padded convolution
that reads it has another sum at the border, and its share cannot be moved into statistics of 16 bits exactly.
Channels also stay where an operation that is not known here sees them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from holdfast.subnet.channel_ops import Kind, kind_of
from holdfast.subnet.packed import Packed, PackedLayer


def without_dead_channels(packed: Packed) -> Packed:
    """The network of ``packed`` without its dead channels, and without weights that only dead ones have.

    Its logits are those of ``packed`` up to rounding, its layers smaller; each keeps one channel at least.
    """
    model = packed.to_module()
    flow = Flow(model, (packed.config.in_channels, packed.config.size, packed.config.size))
    layers = [_narrowed(layer, flow) for layer in packed.layers]
    stats = {}
    for name, value in packed.stats.items():
        keep = flow.norms.get(name.rpartition(".")[0])
        stats[name] = value if keep is None else value.reshape(-1)[keep]
    return replace(packed, layers=tuple(layers), stats=stats)


def _narrowed(layer: PackedLayer, flow: Flow) -> PackedLayer:
    if layer.name not in flow.layers:
        return layer
    cut = flow.layers[layer.name]
    matters = cut.matter.reshape(*cut.matter.shape, *[1] * (layer.mask.ndim - 2))
    mask = (layer.mask & matters)[cut.rows][:, cut.columns]
    signs = np.zeros(layer.mask.shape, dtype=np.bool_)
    signs[layer.mask] = layer.signs
    smaller = replace(layer, mask=mask, signs=signs[cut.rows][:, cut.columns][mask])
    if cut.rows.all() and cut.columns.all():
        return smaller
    return replace(smaller, rows=_within(layer.rows, cut.rows), columns=_within(layer.columns, cut.columns))


def _within(before: NDArray[np.bool_] | None, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``keep``, which chooses from what ``before`` left, as a choice from all."""
    if before is None:
        return keep
    found = np.zeros_like(before)
    found[np.flatnonzero(before)[keep]] = True
    return found


@dataclass(frozen=True)
class Cut:
    """What is left of a layer: its rows and columns, and the (row, column) pairs whose weights matter."""

    rows: NDArray[np.bool_]
    columns: NDArray[np.bool_]
    matter: NDArray[np.bool_]


@dataclass
class _Value:
    """A node's value: ``constant`` (C,) is what a channel has everywhere, NaN where places differ.

    ``needed`` (C,): whether the logits depend on it. ``stream`` is the number of what it is tied to,
    ``times`` the number of features a channel of the stream has here.
    """

    constant: Tensor
    needed: Tensor
    stream: int
    times: int = 1


@dataclass
class _Stream:
    """Channels of values tied to each other; ``fixed`` if all must stay."""

    values: list[_Value] = field(default_factory=list)
    fixed: bool = False

    def keep(self) -> NDArray[np.bool_]:
        """Which channels stay: those that are needed somewhere, one at least."""
        channels = max(value.needed.numel() // value.times for value in self.values)
        kept = torch.full((channels,), self.fixed)
        for value in self.values:
            kept |= value.needed.view(channels, value.times).any(1)
        if not kept.any():
            kept[0] = True
        return kept.numpy()


class Flow:
    """Which channels of ``model``, in eval mode, depend on its input (C, H, W), and the logits on them.

    ``layers`` says what is left of each convolution and linear layer, ``norms`` which channels of each norm.
    """

    def __init__(self, model: nn.Module, shape: tuple[int, ...]) -> None:
        self.model = model
        self.values: dict[fx.Node, _Value] = {}
        self.streams: dict[int, _Stream] = {}
        graph = fx.Tracer().trace(model)
        with torch.no_grad():
            ShapeProp(fx.GraphModule(model, graph)).propagate(torch.zeros(1, *shape))
            nodes = list(graph.nodes)
            self.kinds = {node: kind_of(node, model, nodes) for node in nodes}
            for node in nodes:
                self._forward(node)
            for node in reversed(nodes):
                self._backward(node)
        self.layers, self.norms = self._cuts(nodes)

    def _forward(self, node: fx.Node) -> None:
        channels = _channels(node)
        if channels is None:
            self._fix(node)
            return
        sources = [self.values[each] for each in node.all_input_nodes if each in self.values]
        kind = self.kinds[node]
        if kind.ties and kind.name != "flatten" and any(s.needed.numel() != channels for s in sources):
            kind = self.kinds[node] = Kind("unknown")
        needed = torch.zeros(channels, dtype=torch.bool)
        if kind.ties:
            times = channels // sources[0].constant.numel() if kind.name == "flatten" else 1
            constant = kind.constant(*[s.constant.repeat_interleave(times) for s in sources])
            self.values[node] = _Value(constant, needed, sources[0].stream, sources[0].times * times)
            self.streams[sources[0].stream].values.append(self.values[node])
            for other in sources[1:]:
                self._tie(sources[0].stream, other.stream)
            return
        if kind.reads is not None:
            constant = kind.constant(sources[0].constant)
        else:
            constant = torch.full((channels,), torch.nan)
        number = len(self.streams)
        self.values[node] = _Value(constant, needed, number)
        self.streams[number] = _Stream([self.values[node]])
        if kind.reads is None:
            self._fix(node)

    def _fix(self, node: fx.Node) -> None:
        """Let nothing change that ``node`` reads or makes."""
        for each in (node, *node.all_input_nodes):
            if each in self.values:
                self.streams[self.values[each].stream].fixed = True

    def _tie(self, one: int, other: int) -> None:
        if one == other:
            return
        gone = self.streams[other]
        for value in gone.values:
            value.stream = one
        self.streams[one].values += gone.values
        self.streams[one].fixed |= gone.fixed
        gone.values = []

    def _backward(self, node: fx.Node) -> None:
        sources = [self.values[each] for each in node.all_input_nodes if each in self.values]
        kind, value = self.kinds[node], self.values.get(node)
        if value is not None and kind.ties:
            for source in sources:
                times = value.needed.numel() // source.needed.numel()
                source.needed |= value.needed.view(-1, times).any(1)
        elif value is not None and kind.reads is not None:
            read = (kind.reads & value.needed[:, None]).any(0)
            sources[0].needed |= read & (sources[0].constant != 0)
        else:
            for source in sources:
                source.needed[:] = True

    def _cuts(self, nodes: list[fx.Node]) -> tuple[dict[str, Cut], dict[str, NDArray[np.bool_]]]:
        layers: dict[str, Cut] = {}
        norms: dict[str, NDArray[np.bool_]] = {}
        keep = {number: s.keep() for number, s in self.streams.items() if s.values}
        for node in nodes:
            kind = self.kinds[node]
            if node not in self.values or kind.module is None:
                continue
            value, name = self.values[node], str(node.target)
            rows = np.repeat(keep[value.stream], value.times)
            if isinstance(kind.module, nn.modules.batchnorm._BatchNorm):
                norms[name] = rows
            elif kind.reads is not None:
                source = self.values[node.all_input_nodes[0]]
                columns = np.repeat(keep[source.stream], source.times)
                matter = (value.needed[:, None] & (source.constant != 0)[None]).numpy()
                layers[name] = Cut(rows, columns, matter)
            elif kind.name == "depthwise":
                matter = value.needed[:, None].numpy()
                layers[name] = Cut(rows, np.ones(1, dtype=np.bool_), matter)
        return layers, norms


def _channels(node: fx.Node) -> int | None:
    meta: Any = node.meta.get("tensor_meta")
    shape: tuple[int, ...] = tuple(getattr(meta, "shape", ()))
    return shape[1] if len(shape) > 1 else None
