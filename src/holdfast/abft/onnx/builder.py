"""Writing ONNX nodes: names, initializers, and the two ways in which opsets spell a reduction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

PREFIX = "holdfast/"
_AXES_AS_INPUT_SINCE = {"ReduceSum": 13}  # the other reductions: 18


class Builder:
    """Collects nodes; every output is named ``holdfast/<scope>/<op>_<number>``.

    A branch of an ``If`` gets a builder of its own (``branch``); initializers are all kept by the outermost
    one, which the branches see.
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.scope = ""
        self._root = self
        self._count = 0
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        return self.ops(kind, *inputs, outputs=[out or self.name(kind)], **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: Sequence[str], **attributes: Any) -> list[str]:
        """Add a node with the named outputs."""
        node = helper.make_node(kind, list(inputs), list(outputs), name=outputs[0], **attributes)
        self.nodes.append(node)
        return list(outputs)

    def reduce(self, kind: str, x: str, axes: Sequence[int] = (), keepdims: bool = True) -> str:
        """A reduction over ``axes``, or over all where there are none."""
        keep = int(keepdims)
        if not axes:
            return self.op(kind, x, keepdims=keep)
        if self.opset >= _AXES_AS_INPUT_SINCE.get(kind, 18):
            return self.op(kind, x, self.constant(np.array(axes, np.int64)), keepdims=keep)
        return self.op(kind, x, axes=list(axes), keepdims=keep)

    def cast(self, x: str, to: int) -> str:
        """``x`` as elements of type ``to`` (a TensorProto type)."""
        return self.op("Cast", x, to=to)

    def constant(self, value: NDArray[Any] | float, name: str | None = None) -> str:
        """An initializer; equal ones without a ``name`` are stored once. A bare float is a double."""
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        root = self._root
        key = (array.dtype.str, array.shape, array.tobytes() if name is None else b"")
        if name is None and key in root._shared:
            return root._shared[key]
        unique = self.name(name or "constant")
        root.initializers.append(numpy_helper.from_array(array, unique))
        if name is None:
            root._shared[key] = unique
        return unique

    def name(self, what: str) -> str:
        """A name that nothing else in the graph has."""
        root = self._root
        root._count += 1
        return f"{PREFIX}{root.scope}/{what}_{root._count}"

    def branch(self) -> Builder:
        """A builder of the nodes of a branch."""
        inner = Builder(self.opset)
        inner._root = self._root
        return inner

    def graph(self, outputs: Sequence[tuple[str, int]]) -> GraphProto:
        """The nodes as a branch with the given outputs (name, element type)."""
        infos = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs]
        return helper.make_graph(self.nodes, self.name("branch"), [], infos)
