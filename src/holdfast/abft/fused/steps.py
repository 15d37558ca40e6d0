"""The steps of a program: nodes that run as they are, and chains."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from holdfast.abft.fused.layer import FusedLayer
from holdfast.abft.fused.workspace import Buffer, Workspace


def filled(args: Any, slots: dict[fx.Node, int], values: list[Any]) -> Any:
    """``args`` of a node with the values of the nodes in it."""
    return fx.node.map_arg(args, lambda node: values[slots[node]])


class PlainStep:
    """A node that runs as it is."""

    def __init__(
        self, slots: dict[fx.Node, int], node: fx.Node, model: nn.Module, drops: tuple[int, ...]
    ) -> None:
        self._slots, self._node, self._drops = slots, node, drops
        self._slot = slots[node]
        self.call: Callable[..., Any]
        if node.op == "call_module":
            self.call = model.get_submodule(str(node.target))
        elif node.op == "call_method":
            self.call = lambda this, *args, **kwargs: getattr(this, str(node.target))(*args, **kwargs)
        elif node.op == "get_attr":
            self.call = lambda: operator.attrgetter(str(node.target))(model)
        else:
            self.call = node.target  # type: ignore[assignment]
        # By far the most common form needs no walk through the arguments.
        alone = len(node.args) == 1 and not node.kwargs and isinstance(node.args[0], fx.Node)
        self._source = slots[node.args[0]] if alone else -1  # type: ignore[index]

    def run(self, values: list[Any], sums: list[Buffer | None], workspace: Workspace) -> None:
        """Put the node's value into its slot."""
        self.unchecked(values)

    run_warily = run

    def unchecked(self, values: list[Any]) -> None:
        """The same; there is nothing to check."""
        if self._source >= 0:
            values[self._slot] = self.call(values[self._source])
        else:
            args = filled(self._node.args, self._slots, values)
            kwargs = filled(self._node.kwargs, self._slots, values)
            values[self._slot] = self.call(*args, **kwargs)
        for slot in self._drops:
            values[slot] = None


class FusedStep:
    """A chain."""

    def __init__(
        self,
        slots: dict[fx.Node, int],
        layer: FusedLayer,
        carries: dict[fx.Node, int],
        drops: tuple[int, ...],
    ) -> None:
        chain = layer.chain
        self._layer, self._chain, self._drops = layer, chain, drops
        self._source, self._slot = slots[chain.source], slots[chain.last]
        self._source_carry = carries[chain.source]
        self._residual = -1 if chain.residual is None else slots[chain.residual]
        self._carry = carries.get(chain.last, -1)

    def run(self, values: list[Any], sums: list[Buffer | None], workspace: Workspace) -> None:
        """Put the chain's output into its slot, and its sum over the batch beside it."""
        layer = self._layer
        x = layer.arranged(values[self._source])
        residual, beside = None, None
        if self._residual >= 0:
            residual = layer.arranged(values[self._residual])
            beside = sums[self._residual]
        source = sums[self._source]
        if source is None:
            source = workspace.carries[self._source_carry]
            n = x.shape[0]
            length = x.numel() // n
            layer.kernels.carry_sum(x.data_ptr(), n, length, source.reserve(length))
            sums[self._source] = source
        result = workspace.carries[self._carry] if self._carry >= 0 else None
        values[self._slot] = layer.run(x, residual, source, beside, result, workspace)
        sums[self._slot] = result
        for slot in self._drops:
            values[slot] = None

    def run_warily(self, values: list[Any], sums: list[Buffer | None], workspace: Workspace) -> None:
        """The same, by the chain's own modules where one has a hook or weights that have been written."""
        if self._layer.as_built():
            self.run(values, sums, workspace)
            return
        residual = None if self._residual < 0 else values[self._residual]
        values[self._slot] = self._chain.unfused(values[self._source], residual)
        for slot in self._drops:
            values[slot] = None

    def unchecked(self, values: list[Any]) -> None:
        """The chain's output without any check."""
        layer = self._layer
        residual = None if self._residual < 0 else layer.arranged(values[self._residual])
        values[self._slot] = layer.unchecked(layer.arranged(values[self._source]), residual)
        for slot in self._drops:
            values[slot] = None
