"""ONNX files in operators that older ONNX Runtimes have too."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from holdfast.core.errors import DataError
from holdfast.core.paths import write_bytes


def make_portable(path: Path) -> None:
    """Rewrite a file in place so that it asks for nothing that it does not use or that 1.17 lacks.

    Operator sets without a node go (quantisers import all they know, and an older runtime refuses the newest
    of them even so). ReduceL2 of float64, which ONNX Runtime 1.17 does not have and protected networks use,
    becomes ReduceSumSquare and Sqrt. Raises DataError for what is no ONNX model, StorageError.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        types = _types(onnx.shape_inference.infer_shapes(model))
    except Exception as error:  # protobuf's, onnx's own and OSError
        raise DataError(f"ONNX file {path}", expected="an ONNX model", got=str(error)) from error
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        double = node.op_type == "ReduceL2" and types.get(node.input[0]) == TensorProto.DOUBLE
        nodes += _as_root(node) if double else [node]
    if len(nodes) > len(model.graph.node):
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    _drop_unused(model)
    write_bytes(path, model.SerializeToString())


def _as_root(node: NodeProto) -> list[NodeProto]:
    """The square root of a sum of squares, for a norm."""
    squares = NodeProto()
    squares.CopyFrom(node)
    squares.op_type = "ReduceSumSquare"
    squares.output[0] = f"{node.output[0]}/squares"
    return [squares, helper.make_node("Sqrt", [squares.output[0]], list(node.output), f"{node.name}/sqrt")]


def _drop_unused(model: ModelProto) -> None:
    used = {"", "ai.onnx"} | {node.domain for node in model.graph.node}
    kept = [item for item in model.opset_import if item.domain in used or model.functions]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _types(model: ModelProto) -> dict[str, int]:
    graph = model.graph
    values = [*graph.value_info, *graph.input, *graph.output]
    types = {item.name: item.type.tensor_type.elem_type for item in values}
    return types | {item.name: item.data_type for item in graph.initializer}
