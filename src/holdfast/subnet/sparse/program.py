"""A network for batches of one size: native steps over one piece of memory, and torch in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx

from holdfast.kernels.native import Kernels
from holdfast.subnet.sparse.build import Builder, Choice
from holdfast.subnet.sparse.graph import Network


class Program:
    """Call it with a batch (N, C, H, W) of ``images``; several threads may at once."""

    def __init__(
        self, network: Network, images: int, kernels: Kernels | None, choices: Mapping[str, Choice]
    ) -> None:
        self._network, self._images = network, images
        self._slots = {node: index for index, node in enumerate(network.nodes)}
        builder = Builder(network, images, kernels, choices, self._slots)
        self._steps, self._views, self._floats = builder.steps, builder.views, builder.floats
        self._keep = builder.keep
        self._input = next(self._slots[node] for node in network.nodes if node.op == "placeholder")
        self._output = next(node.args[0] for node in network.nodes if node.op == "output")
        self._workspaces: list[tuple[Tensor, list[Any]]] = []

    @property
    def nbytes(self) -> int:
        """Bytes of the arena of one call at a time."""
        return 4 * self._floats

    def __call__(self, x: Tensor) -> Any:
        """What the model returns, in memory of its own."""
        with self._workspace() as (arena, values):
            values[self._input] = x
            at = arena.data_ptr()
            for step in self._steps:
                step.run(values, at)
            return fx.node.map_arg(self._output, lambda node: _own(values[self._slots[node]], arena))

    def time(self, x: Tensor) -> dict[str, float]:
        """The seconds that each layer took, with the copies that it needs."""
        found: dict[str, float] = defaultdict(float)
        with self._workspace() as (arena, values):
            values[self._input] = x
            for step in self._steps:
                for layer, seconds in step.time(values, arena.data_ptr()).items():
                    found[layer] += seconds
        return found

    @contextmanager
    def _workspace(self) -> Iterator[tuple[Tensor, list[Any]]]:
        try:
            workspace = self._workspaces.pop()
        except IndexError:
            workspace = self._new()
        arena, values = workspace
        try:
            yield arena, list(values)
        finally:
            self._workspaces.append(workspace)

    def _new(self) -> tuple[Tensor, list[Any]]:
        with torch.inference_mode(False):  # it will be used outside as well
            arena = torch.zeros(self._floats)
        values: list[Any] = [None] * len(self._slots)
        for node, place in self._views.items():
            view = place.layout.view(arena, place.at)
            values[self._slots[node]] = view if len(self._network.shapes[node]) == 3 else view[:, :, 0, 0]
        return arena, values


def _own(value: Any, arena: Tensor) -> Any:
    if isinstance(value, Tensor) and value.untyped_storage().data_ptr() == arena.untyped_storage().data_ptr():
        return value.clone(memory_format=torch.contiguous_format)
    return value
