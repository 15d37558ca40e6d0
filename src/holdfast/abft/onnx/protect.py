"""``protect_onnx``: an ONNX model that checks its products itself, in standard operators."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto, helper

from holdfast.abft.onnx import files
from holdfast.abft.onnx.builder import PREFIX, Builder
from holdfast.abft.onnx.check import deviation
from holdfast.abft.onnx.constants import Known
from holdfast.abft.onnx.convolution import Convolution
from holdfast.abft.onnx.correction import correct as add_correction
from holdfast.abft.onnx.integer import ConvInteger, MatMulInteger
from holdfast.abft.onnx.layer import Layer, Unprotected
from holdfast.abft.onnx.matrix import Matrix
from holdfast.core.errors import UsageError

DEVIATION, CORRECTED = "holdfast_deviation", "holdfast_corrected"
METADATA = "holdfast.protection"
_REASONS = {
    "QLinearConv": "its output is requantised, and so not linear",
    "QLinearMatMul": "its output is requantised, and so not linear",
    "QGemm": "its output is requantised, and so not linear",
}
_OTHER_PRODUCTS = ("Attention", "BitLinear", "DeformConv", "Einsum", "GRU", "LSTM", "RNN", *_REASONS)


@dataclass(frozen=True)
class LayerReport:
    """What was found of one node: its name, operator, and why it is not protected (None: it is)."""

    layer: str
    type: str
    reason: str | None = None

    @property
    def protected(self) -> bool:
        """Whether the layer is checked."""
        return self.reason is None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "layer": self.layer,
            "type": self.type,
            "protected": self.protected,
            "reason": self.reason,
        }


def protect_onnx(
    source: str | Path | ModelProto,
    target: str | Path | None = None,
    *,
    correct: bool = False,
    dry_run: bool = False,
) -> tuple[ModelProto, list[LayerReport]]:
    """Return ``source`` with a checksum test on every product, and what is protected; write it to ``target``.

    Protected are Conv, ConvTranspose, Gemm and MatMul in float32, ConvInteger and MatMulInteger exactly. The
    new output ``holdfast_deviation`` (layers,) float32 says for each protected layer, in the order of the
    reports, how large its deviation is in units of its threshold: at most 1 where all is well; +Inf where
    something is not finite. With ``correct`` a faulty layer is corrected or computed again, the deviation is
    that of the corrected output, and ``holdfast_corrected`` (layers,) int64 says what was done: 0 nothing, 1
    one block a position corrected (CoC), 2 computed again. Everything else passes through; what multiplies
    and is not checked is reported with the reason. The file is written atomically; ``dry_run`` only reports.

    Raises DataError for what is no ONNX model, UsageError for one that is protected already, has nothing to
    protect or an opset that cannot be converted to 13, StorageError.
    """
    model, external = files.load(source)
    known = Known(model)
    layers, reports = find_layers(model, known)
    if dry_run:
        return model, reports
    if not layers:
        raise UsageError("protect", expected="a Conv, Gemm or MatMul that can be checked", got="none")
    _rewrite(model, layers, correct)
    protected = [report for report in reports if report.protected]
    details = {"correct": correct, "layers": [asdict(report) for report in protected]}
    helper.set_model_props(model, {**_properties(model), METADATA: json.dumps(details)})
    files.check(model, "the protected model")
    if target is not None:
        files.save(model, Path(target), external)
    return model, reports


def find_layers(model: ModelProto, known: Known) -> tuple[list[Layer], list[LayerReport]]:
    """The layers that can be checked, in the order of the graph, and a report on all that multiply."""
    norms: dict[str, str] = {}
    makers: dict[str, Callable[[NodeProto, str], Layer]] = {
        "Conv": lambda node, name: Convolution.of(node, name, known, norms),
        "ConvTranspose": lambda node, name: Convolution.of(node, name, known, norms),
        "Gemm": lambda node, name: Matrix.of(node, name, known),
        "MatMul": lambda node, name: Matrix.of(node, name, known),
        "ConvInteger": lambda node, name: ConvInteger.of(node, name, known),
        "MatMulInteger": lambda node, name: MatMulInteger.of(node, name, known),
    }
    layers, reports = [], []
    for node in model.graph.node:
        standard = node.domain in ("", "ai.onnx")
        name = node.name or node.output[0]
        if standard and node.op_type in makers:
            try:
                layers.append(makers[node.op_type](node, name))
                reports.append(LayerReport(name, node.op_type))
            except Unprotected as verdict:
                reports.append(LayerReport(name, node.op_type, str(verdict)))
        elif reason := _reason(node, standard, set(makers)):
            reports.append(LayerReport(name, node.op_type, reason))
    known.forget()
    return layers, reports


def _reason(node: NodeProto, standard: bool, known: set[str]) -> str | None:
    """Why ``node`` is passed through, if it may multiply."""
    if not standard:
        return f"operator of the domain {node.domain}"
    if node.op_type in _OTHER_PRODUCTS:
        return _REASONS.get(node.op_type, "operator not covered")
    products = known.union(_OTHER_PRODUCTS)
    inside = [item.op_type for item in files.inner_nodes(node) if item.op_type in products or item.domain]
    return f"its branches and bodies are not entered ({', '.join(sorted(set(inside)))})" if inside else None


def _rewrite(model: ModelProto, layers: list[Layer], correct: bool) -> None:
    """Add the checks to the graph, behind their layers."""
    graph = model.graph
    g = Builder(files.opset(model))
    by_output = {layer.node.output[0]: layer for layer in layers}
    deviations: list[str] = []
    actions: list[str] = []
    for node in list(graph.node):
        layer = by_output.get(node.output[0]) if node.output else None
        if layer is None:
            g.nodes.append(node)
            continue
        g.scope = f"{len(deviations)}"
        out = node.output[0]
        if correct:
            layer.node = node
            node.output[0] = f"{PREFIX}{g.scope}/raw"
        g.nodes.append(node)
        tau = layer.tau(g)
        found = deviation(g, (layer.delta(g, node.output[0]), tau))
        if correct:
            found, action = add_correction(g, layer, node.output[0], tau, found, out)
            actions.append(action)
        deviations.append(found)
    g.op("Concat", *deviations, out=DEVIATION, axis=0)
    graph.output.append(helper.make_tensor_value_info(DEVIATION, TensorProto.FLOAT, [len(layers)]))
    if correct:
        g.op("Concat", *actions, out=CORRECTED, axis=0)
        graph.output.append(helper.make_tensor_value_info(CORRECTED, TensorProto.INT64, [len(layers)]))
    del graph.node[:]
    graph.node.extend(g.nodes)
    graph.initializer.extend(g.initializers)


def _properties(model: ModelProto) -> dict[str, str]:
    return {item.key: item.value for item in model.metadata_props}


__all__ = ["CORRECTED", "DEVIATION", "METADATA", "LayerReport", "protect_onnx"]
