"""What a program is made of: each step reads and writes numbered slots of values, or the arena."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, fx

from holdfast.kernels.native import Kernels
from holdfast.subnet.sparse.dense import Product

FORMATS = {False: torch.contiguous_format, True: torch.channels_last}


class NativeStep:
    """Layers and copies that follow each other, as one call of the native core.

    ``given``: the slots of the tensors that its copies read, and whether their channels are last in memory.
    """

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self.program = kernels.sparse_program()
        self.given: list[tuple[int, bool]] = []
        self.layers: list[str] = []
        """The layer that each step of the core is there for."""

    def slot(self, slot: int, channels_last: bool) -> int:
        """The number under which the core knows the tensor in ``slot``."""
        if (slot, channels_last) not in self.given:
            self.given.append((slot, channels_last))
        return self.given.index((slot, channels_last))

    def run(self, values: list[Any], arena: int) -> None:
        """Do it, on the arena at an address."""
        tensors = self._tensors(values)
        self._kernels.sparse_run(self.program, arena, [tensor.data_ptr() for tensor in tensors])

    def time(self, values: list[Any], arena: int) -> dict[str, float]:
        """Do it; returns the seconds that each layer took."""
        tensors, found = self._tensors(values), dict.fromkeys(self.layers, 0.0)
        took = self._kernels.sparse_time(self.program, arena, [tensor.data_ptr() for tensor in tensors])
        for layer, seconds in zip(self.layers, took, strict=True):
            found[layer] += seconds
        return found

    def _tensors(self, values: list[Any]) -> list[Tensor]:
        return [values[slot].contiguous(memory_format=FORMATS[last]) for slot, last in self.given]


class DenseStep:
    """A layer by its product."""

    def __init__(self, name: str, product: Product, source: int, residual: int, slot: int) -> None:
        self._name, self._product = name, product
        self._source, self._residual, self._slot = source, residual, slot

    def run(self, values: list[Any], arena: int) -> None:
        """Put the layer's output into its slot."""
        residual = None if self._residual < 0 else values[self._residual]
        values[self._slot] = self._product(values[self._source], residual)

    def time(self, values: list[Any], arena: int) -> dict[str, float]:
        """The same; returns the seconds that the layer took."""
        begin = perf_counter()
        self.run(values, arena)
        return {self._name: perf_counter() - begin}


class TorchStep:
    """A node that runs as it is."""

    def __init__(self, slots: Mapping[fx.Node, int], node: fx.Node, constants: dict[str, Any]) -> None:
        self._slots, self._node, self._slot = slots, node, slots[node]
        self.call: Callable[..., Any]
        if node.op == "call_module":
            self.call = constants[str(node.target)]
        elif node.op == "call_method":
            self.call = lambda this, *args, **kwargs: getattr(this, str(node.target))(*args, **kwargs)
        elif node.op == "get_attr":
            self.call = lambda: constants[str(node.target)]
        else:
            self.call = node.target  # type: ignore[assignment]

    def run(self, values: list[Any], arena: int) -> None:
        """Put the node's value into its slot."""

        def filled(arguments: Any) -> Any:
            return fx.node.map_arg(arguments, lambda node: values[self._slots[node]])

        values[self._slot] = self.call(*filled(self._node.args), **filled(self._node.kwargs))

    def time(self, values: list[Any], arena: int) -> dict[str, float]:
        """The same; no layer took any time."""
        self.run(values, arena)
        return {}


Step = NativeStep | DenseStep | TorchStep
