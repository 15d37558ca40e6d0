"""A traced model as a flat list of steps."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn

from holdfast.abft.events import Guard
from holdfast.abft.fused.layer import FusedLayer
from holdfast.abft.fused.steps import FusedStep, PlainStep, filled
from holdfast.abft.fused.workspace import Buffer, Workspace
from holdfast.kernels.native import Kernels
from holdfast.models.chains import Chain


class Program:
    """Call it with the model's arguments.

    Values live in numbered slots. A slot that a fused layer reads or adds has a carry, the sum of the value
    over the batch: the step that makes the value fills it, or else the first that needs it.
    """

    def __init__(
        self, model: nn.Module, graph: fx.Graph, chains: list[Chain], guard: Guard, kernels: Kernels
    ) -> None:
        by_last = {chain.last: chain for chain in chains}
        inner = {node for chain in chains for node in chain.nodes[:-1]}
        nodes = [node for node in graph.nodes if node not in inner]
        reads = {node: _reads(node, by_last) for node in nodes}
        last_use = {read: node for node in nodes for read in reads[node]}
        carries = _carries(nodes, chains)
        self._slots = {node: index for index, node in enumerate(nodes)}
        self._carries = 1 + max(carries.values(), default=-1)
        self._free: list[Workspace] = []
        self._inputs: list[int] = []
        self._steps: list[FusedStep | PlainStep] = []
        self.layers: list[FusedLayer] = []
        for node in nodes:
            drops = tuple(self._slots[read] for read in reads[node] if last_use[read] is node)
            if node in by_last:
                layer = FusedLayer(by_last[node], guard, kernels)
                self.layers.append(layer)
                self._steps.append(FusedStep(self._slots, layer, carries, drops))
            elif node.op == "placeholder":
                self._inputs.append(self._slots[node])
            elif node.op == "output":
                self._output = node
            else:
                self._steps.append(PlainStep(self._slots, node, model, drops))
        self.checks = True
        """False only to measure what the checks cost: then nothing is checked."""

    @property
    def inputs(self) -> int:
        """How many arguments the model takes."""
        return len(self._inputs)

    def runs(self, module: nn.Module) -> bool:
        """Whether ``module`` is called as a whole, hooks and all."""
        return any(isinstance(step, PlainStep) and step.call is module for step in self._steps)

    def __call__(self, *args: Tensor, wary: bool = False) -> Any:
        """What the model returns; ``wary``: leave chains that are not as they were to their modules.

        Raises FaultError, InputDamaged.
        """
        values: list[Any] = [None] * len(self._slots)
        sums: list[Buffer | None] = [None] * len(self._slots)
        for slot, value in zip(self._inputs, args, strict=True):
            values[slot] = value
        try:
            workspace = self._free.pop()
        except IndexError:
            workspace = Workspace(self._carries)
        try:
            if wary:
                for step in self._steps:
                    step.run_warily(values, sums, workspace)
            elif self.checks:
                for step in self._steps:
                    step.run(values, sums, workspace)
            else:
                for step in self._steps:
                    step.unchecked(values)
        finally:
            self._free.append(workspace)
        return filled(self._output.args[0], self._slots, values)


def _reads(node: fx.Node, by_last: dict[fx.Node, Chain]) -> list[fx.Node]:
    """The nodes whose values the step of ``node`` needs."""
    chain = by_last.get(node)
    if chain is None:
        return node.all_input_nodes
    return [chain.source] if chain.residual is None else [chain.source, chain.residual]


def _carries(nodes: list[fx.Node], chains: list[Chain]) -> dict[fx.Node, int]:
    """A buffer for the sum of every value that a chain reads; shared by values that never live together."""
    order = {node: index for index, node in enumerate(nodes)}
    until: dict[fx.Node, int] = {}
    for chain in chains:
        for node in (chain.source, chain.residual):
            if node is not None:
                until[node] = max(until.get(node, 0), order[chain.last])
        if chain.residual is not None:  # the pass compares a residual with its sum only where it makes one
            until.setdefault(chain.last, order[chain.last])
    found: dict[fx.Node, int] = {}
    busy: dict[int, int] = {}  # buffer: the last step that needs it
    for node in nodes:
        if node in until:
            free = (index for index, last in busy.items() if last < order[node])
            found[node] = next(free, len(busy))
            busy[found[node]] = until[node]
    return found
