"""Graphs to protect, and soft errors inside ONNX Runtime: damage that extra inputs describe."""

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper, shape_inference

LEVELS = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_ELEMENT = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32}


def session(model, level="all"):
    """A session on the CPU with one thread."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = LEVELS[level]
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(model, feeds, level="all"):
    """All outputs by name."""
    active = session(model, level)
    names = [item.name for item in active.get_outputs()]
    return dict(zip(names, active.run(names, feeds), strict=True))


def graph(nodes, inputs, outputs, constants=(), opset=18, domains=()):
    """A checked model; ``inputs`` maps names to (type, shape), ``constants`` names to arrays."""
    made = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(name, *what) for name, what in inputs.items()],
        [
            helper.make_tensor_value_info(name, *(what if isinstance(what, tuple) else (what, None)))
            for name, what in outputs.items()
        ],
        [
            numpy_helper.from_array(np.ascontiguousarray(value), name)
            for name, value in dict(constants).items()
        ],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(made, opset_imports=imports, ir_version=9)
    model = shape_inference.infer_shapes(model)  # gives the outputs their shapes
    checker.check_model(model)
    return model


def single(kind, constants, x, inputs=("x", "w", "b"), extra=(), opset=18, **attributes):
    """One node ``kind`` of the name ``layer`` and output ``y``; ``extra`` are more computed inputs."""
    kinds = {np.dtype(t): helper.np_dtype_to_tensor_dtype(np.dtype(t)) for t in ("f4", "u1", "i1", "f8")}
    computed = {"x": x, **dict(extra)}
    declared = {
        name: (kinds[value.dtype], ["n", *value.shape[1:]] if name == "x" else value.shape)
        for name, value in computed.items()
    }
    names = [name if name in constants or name in computed else "" for name in inputs]
    while names and not names[-1]:
        names.pop()
    node = helper.make_node(kind, names, ["y"], name="layer", **attributes)
    out = TensorProto.INT32 if "Integer" in kind else TensorProto.FLOAT
    return graph([node], declared, {"y": out}, constants, opset)


def injectable(protected):
    """``protected`` with damage behind every layer, described by the inputs of ``fault``.

    A node between layer k and everything that reads its output writes the values ``fault_k_values`` at the
    flat indices ``fault_k_at`` (F, 1) of the output; F = 0 leaves it alone. It is transient: what computes
    the layer again, in a branch, is not damaged. Returns the model and the names of the layers' raw outputs.
    """
    model = type(protected)()
    model.CopyFrom(protected)
    nodes, raws = [], []
    for node in model.graph.node:
        nodes.append(node)
        if node.name.startswith("holdfast") or node.op_type not in PRODUCTS:
            continue
        out, k = node.output[0], len(raws)
        node.output[0] = f"{out}_intact"
        kind = TensorProto.INT32 if "Integer" in node.op_type else TensorProto.FLOAT
        intact, flat, hit, shape = (f"{out}_{what}" for what in ("intact", "flat", "hit", "shape"))
        at, values = f"fault_{k}_at", f"fault_{k}_values"
        nodes += [
            helper.make_node("Shape", [intact], [shape]),
            helper.make_node("Reshape", [intact, "fault_flat"], [flat]),
            helper.make_node("ScatterND", [flat, at, values], [hit], name=f"fault_{k}"),
            helper.make_node("Reshape", [hit, shape], [out]),
        ]
        model.graph.input.append(helper.make_tensor_value_info(at, TensorProto.INT64, ["f", 1]))
        model.graph.input.append(helper.make_tensor_value_info(values, kind, ["f"]))
        raws.append((f"{out}_intact", kind))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1]), "fault_flat"))
    for name, kind in raws:
        model.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    return model, [name for name, _ in raws]


PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "MatMulInteger")


class Faulty:
    """A protected model in a session, and ways to damage the outputs of its layers."""

    def __init__(self, protected, feeds, level="all"):
        model, self.raws = injectable(protected)
        self.session = session(model, level)
        self.feeds = feeds
        self.names = [item.name for item in self.session.get_outputs()]
        kinds = {item.name: item.type for item in self.session.get_inputs()}
        self.types = [
            np.int32 if "int32" in kinds[f"fault_{k}_values"] else np.float32 for k in range(len(self.raws))
        ]
        self.clean = self()

    def __call__(self, faults=None, feeds=None):
        """Outputs by name with ``faults``: {layer: [(index, value), …]}."""
        fed = dict(feeds or self.feeds)
        for k, kind in enumerate(self.types):
            hits = (faults or {}).get(k, [])
            flat = [np.ravel_multi_index(at, self.raw(k).shape) for at, _ in hits]
            fed[f"fault_{k}_at"] = np.array(flat, np.int64).reshape(len(hits), 1)
            fed[f"fault_{k}_values"] = np.array([value for _, value in hits], kind)
        return dict(zip(self.names, self.session.run(self.names, fed), strict=True))

    def raw(self, layer):
        """The fault-free output of a layer."""
        return self.clean[self.raws[layer]]


def flipped(value, bit):
    """``value`` with one bit flipped, in its own type."""
    array = np.array(value)
    return (array.view(f"u{array.itemsize}") ^ np.array(1 << bit, f"u{array.itemsize}")).view(array.dtype)[()]
