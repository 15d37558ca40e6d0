"""The values of a network in the arena of a program, and the copies that layers need of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

import torch
from torch import fx

from holdfast.subnet.sparse.graph import Layer, Network
from holdfast.subnet.sparse.layout import Kind, Layout, Need, Size, Window, need, phase_size
from holdfast.subnet.sparse.memory import Arena, Place
from holdfast.subnet.sparse.steps import NativeStep


class Values:
    """Where each value is. ``next_step`` gives the native step that a copy is added to.

    ``slots`` number the values; those made by ``dense`` nodes are torch's, with their channels last.
    """

    def __init__(
        self,
        network: Network,
        images: int,
        slots: Mapping[fx.Node, int],
        dense: set[fx.Node],
        next_step: Callable[[], NativeStep],
    ) -> None:
        self._network, self._images, self._slots, self._next = network, images, slots, next_step
        self._last = dense if torch.backends.mkldnn.is_available() else set()  # type: ignore[no-untyped-call]
        self._needs: dict[tuple[Kind, Size], list[Need]] = defaultdict(list)
        for layer in network.layers.values():
            size = network.size(layer.source)[1:]
            # In planes a layer's input is laid out as its output, in lanes as it is needed.
            self._needs["planes", layer.window.output(size)].append(need(layer.window, size, "planes"))
            self._needs["lanes", size].append(need(layer.window, size, "lanes"))
        self._places: dict[fx.Node, list[Place]] = defaultdict(list)
        self._apart: dict[tuple[fx.Node, Layout, Window], Place] = {}
        self.arena = Arena()

    def layout(self, kind: Kind, node: fx.Node) -> Layout:
        """How the value of ``node`` lies where it is read and written in ``kind``."""
        channels, high, wide = self._network.size(node)
        return Layout.of(kind, self._images, channels, (high, wide), self._needs[kind, (high, wide)])

    def new(self, node: fx.Node, layout: Layout) -> Place:
        """A place for the value of ``node``, which a layer makes."""
        place = self.arena.take(layout)
        self._places[node].append(place)
        return place

    def place(self, node: fx.Node, layout: Layout) -> Place:
        """The value of ``node`` in ``layout``; copied there if it is not yet."""
        for place in self._places[node]:
            if place.layout == layout:
                return place
        place = self.arena.take(layout)
        self._copy(node, place, Window(), (0, 0), 0, 1)
        self._places[node].append(place)
        return place

    def input(self, layer: Layer, output: Layout) -> tuple[Place, list[Size]]:
        """The input of ``layer`` for an ``output`` laid out so, and the phases it is taken apart into."""
        channels, *here = self._network.size(layer.source)
        if output.kind == "lanes":
            return self.place(layer.source, self.layout("lanes", layer.source)), [(0, 0)]
        if layer.window.stride == (1, 1) and here == [output.height, output.width]:
            return self.place(layer.source, output.holding(channels)), [(0, 0)]
        phases = layer.window.phases()
        layout = output.holding(channels * len(phases))
        key = (layer.source, layout, layer.window)
        if key not in self._apart:
            self._apart[key] = self.arena.take(layout, (layer.window, *here))
            for index, phase in enumerate(phases):
                self._copy(layer.source, self._apart[key], layer.window, phase, index, len(phases))
        return self._apart[key], phases

    def release(self, node: fx.Node, keep: bool) -> None:
        """Nobody reads the value of ``node`` any more; ``keep``: something may still point to it."""
        places = self._places.pop(node, [])
        for place in [] if keep else places:
            self.arena.give_back(place)
        for key in [key for key in self._apart if key[0] is node]:
            self.arena.give_back(self._apart.pop(key))

    def _copy(self, node: fx.Node, to: Place, window: Window, phase: Size, index: int, phases: int) -> None:
        """Phase number ``index`` of ``phases`` of the value of ``node``, put to its channels of ``to``."""
        channels, high, wide = self._network.size(node)
        places, step = self._places[node], self._next()
        if places:
            slot, at, source = -1, places[0].start, places[0].layout.strides
        else:
            last = node in self._last and len(self._network.shapes[node]) == 3
            slot, at = step.slot(self._slots[node], last), 0
            whole = channels * high * wide
            source = (whole, 1, wide * channels, channels) if last else (whole, high * wide, wide, 1)
        size = phase_size(window, (high, wide), phase)
        sizes = (self._images, channels, *size)
        at += phase[0] * source[2] + phase[1] * source[3]
        source = (source[0], source[1], source[2] * window.stride[0], source[3] * window.stride[1])
        image, channel, row, column = to.layout.strides
        target = (image, channel * phases, row, column)
        order = sorted(range(4), key=lambda axis: (-target[axis], sizes[axis]))
        step.program.copy(
            slot,
            at,
            to.start + index * channel,
            *([steps[axis] for axis in order] for steps in (sizes, source, target)),
        )
