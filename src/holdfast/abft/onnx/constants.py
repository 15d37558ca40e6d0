"""What is known of a graph's tensors before it runs: constants, ranks, and which are never negative."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

_FOLDED = ("Cast", "DequantizeLinear", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_POSITIVE = ("Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus", "Sqrt")
_KEEPS_SIGN = (
    "Add", "AveragePool", "Concat", "Dropout", "Expand", "Flatten", "Gather", "GlobalAveragePool",
    "GlobalMaxPool", "Identity", "MaxPool", "Mul", "Pad", "ReduceMean", "Reshape", "Slice", "Split",
    "Squeeze", "Sum", "Transpose", "Unsqueeze",
)  # fmt: skip


class Known:
    """Knows the tensors of ``model``'s main graph by name."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self._opsets = list(model.opset_import)
        self._stored = {item.name: item for item in graph.initializer}
        self._made_by = {name: node for node in graph.node for name in node.output}
        self._values: dict[str, NDArray[Any] | None] = {}
        self._positive: dict[str, bool] = {}
        self.kinds, self.ranks = _types(model)

    def value(self, name: str) -> NDArray[Any] | None:
        """The tensor's value if it does not depend on the graph's inputs; None otherwise.

        Follows chains of shape changes, casts and dequantisation, so that the value is what computes.
        """
        if name not in self._values:
            self._values[name] = self._evaluated(name)
        return self._values[name]

    def forget(self) -> None:
        """Drop the values that were looked up."""
        self._values.clear()

    def _evaluated(self, name: str) -> NDArray[Any] | None:
        if name in self._stored:
            return numpy_helper.to_array(self._stored[name])
        node = self._made_by.get(name)
        if node is None or node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type == "Constant":
            return self._computed(node, {})
        if node.op_type not in _FOLDED:
            return None
        inputs = {each: self.value(each) for each in node.input if each}
        if any(value is None for value in inputs.values()):
            return None
        if node.op_type == "DequantizeLinear":  # the evaluator has it from opset 19 on only
            return _dequantised(node, [inputs[each] for each in node.input if each])
        return self._computed(node, inputs)

    def _computed(self, node: NodeProto, inputs: dict[str, Any]) -> NDArray[Any]:
        evaluator = ReferenceEvaluator(_alone(node, self._opsets))
        results: Any = evaluator.run(None, inputs)
        return np.asarray(results[0])

    def never_negative(self, name: str) -> bool:
        """Whether the tensor is at least 0 by what computed it."""
        stack = [name]
        while stack:  # deep networks would exhaust a recursion
            top = stack[-1]
            if top in self._positive:
                stack.pop()
                continue
            node = self._made_by.get(top)
            if node is None or node.op_type not in _KEEPS_SIGN:
                self._positive[top] = self._positive_by_itself(top, node)
                continue
            inputs = [each for each in node.input[: self._data_inputs(node)] if each]
            unknown = [each for each in inputs if each not in self._positive]
            if unknown:
                stack += unknown
            else:
                self._positive[top] = all(self._positive[each] for each in inputs)
        return self._positive[name]

    def _positive_by_itself(self, name: str, node: NodeProto | None) -> bool:
        if node is None or node.op_type == "Constant":
            value = self.value(name)
            return value is not None and value.dtype.kind in "fiu" and bool((value >= 0).all())
        if node.op_type == "Clip":
            low = self.value(node.input[1]) if len(node.input) > 1 and node.input[1] else None
            return low is not None and bool((low >= 0).all())
        return node.op_type in _POSITIVE

    def _data_inputs(self, node: NodeProto) -> int:
        """How many of the first inputs end up in the output."""
        if node.op_type in ("Add", "Concat", "Mul", "Sum"):
            return len(node.input)
        if node.op_type == "Pad" and len(node.input) > 2 and node.input[2]:
            fill = self.value(node.input[2])
            return 1 if fill is not None and (fill >= 0).all() else len(node.input)
        return 1


def _dequantised(node: NodeProto, values: list[Any]) -> NDArray[Any] | None:
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    x, factor, *zero = values
    if attributes.get("block_size"):
        return None
    shape = [1] * x.ndim
    if factor.ndim:
        shape[attributes.get("axis", 1)] = -1
    offset = zero[0].astype(np.int32).reshape(shape if zero[0].ndim else ()) if zero else 0
    return np.asarray((x.astype(np.int32) - offset).astype(factor.dtype) * factor.reshape(shape))


def _alone(node: NodeProto, opsets: list[Any]) -> ModelProto:
    infos = [helper.make_empty_tensor_value_info(name) for name in node.input if name]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    return helper.make_model(helper.make_graph([node], "constant", infos, outputs), opset_imports=opsets)


def _types(model: ModelProto) -> tuple[dict[str, int], dict[str, int]]:
    """Element type and rank of the tensors for which shape inference finds them."""
    inferred: GraphProto = model.graph
    if model.ByteSize() < 1 << 30:  # inference copies the model as one message
        inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    kinds, ranks = {}, {}
    for item in (*inferred.value_info, *inferred.input, *inferred.output):
        tensor = item.type.tensor_type
        if tensor.elem_type:
            kinds[item.name] = tensor.elem_type
        if tensor.HasField("shape"):
            ranks[item.name] = len(tensor.shape.dim)
    for stored in model.graph.initializer:
        kinds[stored.name], ranks[stored.name] = stored.data_type, len(stored.dims)
    return kinds, ranks
