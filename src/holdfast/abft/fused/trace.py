"""The graph of a protected model, by torch.fx."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from threading import get_ident
from typing import Any

from torch import fx, nn

from holdfast.abft.transparent import Transparent
from holdfast.models.chains import Chain

_PURE = (nn.Identity, nn.Dropout, nn.Dropout2d)
_VIEWS = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)
_IN_PLACE_OPERATORS = {
    getattr(operator, name) for name in dir(operator) if name.startswith("i") and name[1:] in dir(operator)
}


class _Tracer(fx.Tracer):
    """While it traces, torch.fx patches every module of the process: calls of other threads pass through."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A call by this thread is traced."""
        if get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        """An attribute read by this thread is traced."""
        if get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Protected layers stay whole."""
        return isinstance(m, Transparent) or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> fx.Graph:
    """The graph of ``model`` in eval mode, without what only passes its input on.

    Raises whatever the model raises when it is traced.
    """
    graph = _Tracer().trace(model)
    for node in list(graph.nodes):
        if node.op == "call_module" and type(model.get_submodule(node.target)) in _PURE:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    return graph


def settled(chains: list[Chain], graph: fx.Graph, model: nn.Module) -> list[Chain]:
    """Those of ``chains`` with no value that a node outside of them may overwrite."""
    while True:
        ends = {chain.last for chain in chains}
        inside = {node for chain in chains for node in chain.nodes}
        writers = [node for node in graph.nodes if node not in inside and _writes(node, model)]
        doubtful = spoiled(writers, model, ends)
        fine = [c for c in chains if not {c.source, c.residual, c.last} & doubtful]
        if len(fine) == len(chains):
            return chains
        chains = fine


def _writes(node: fx.Node, model: nn.Module) -> bool:
    if node.op == "call_method":
        return str(node.target).endswith("_")
    if node.op == "call_module":
        return bool(getattr(model.get_submodule(str(node.target)), "inplace", False))
    if node.op != "call_function":
        return False
    known = (getattr(node.target, "__module__", "") or "").split(".")[0] in ("torch", "_operator", "operator")
    name = getattr(node.target, "__name__", "")
    in_place = node.target in _IN_PLACE_OPERATORS or (name.endswith("_") and not name.endswith("__"))
    return in_place or not known or bool(node.kwargs.get("inplace") or node.kwargs.get("out") is not None)


def _fresh(node: fx.Node, model: nn.Module) -> bool:
    """Whether the value of ``node`` has memory of its own."""
    if node.op != "call_module":
        return False
    module = model.get_submodule(str(node.target))
    return not isinstance(module, _VIEWS) and not getattr(module, "inplace", False)


def spoiled(nodes: Iterable[fx.Node], model: nn.Module, ends: set[fx.Node]) -> set[fx.Node]:
    """Nodes whose values ``nodes`` may overwrite: all they come from, back to fresh memory or ``ends``."""
    found: set[fx.Node] = set()
    todo = [source for node in nodes for source in node.all_input_nodes]
    while todo:
        node = todo.pop()
        if node in found:
            continue
        found.add(node)
        if node not in ends and not _fresh(node, model):
            todo.extend(node.all_input_nodes)
    return found
