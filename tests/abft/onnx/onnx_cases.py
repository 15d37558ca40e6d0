"""Layers of every kind that is protected: name → (model, feeds), made from a seed."""

from functools import partial

import numpy as np
from onnx import TensorProto, helper
from onnx_support import graph, single

CONVOLUTIONS = {
    # name: (images, channels, size, outputs, kernel, attributes, bias)
    "1d": (2, 5, (17,), 4, (3,), {"pads": [1, 1]}, True),
    "2d": (3, 4, (9, 8), 6, (3, 3), {"pads": [1, 1, 1, 1]}, True),
    "3d": (2, 3, (5, 6, 4), 5, (2, 3, 2), {}, False),
    "one image, one output": (1, 3, (6, 6), 1, (3, 3), {}, True),
    "1x1": (2, 7, (5, 5), 9, (1, 1), {}, True),
    "one pixel": (2, 16, (1, 1), 3, (1, 1), {}, False),
    "few channels": (2, 3, (20, 20), 16, (7, 7), {"strides": [2, 2], "pads": [3, 3, 3, 3]}, False),
    "many channels": (1, 32, (7, 7), 70, (3, 3), {"pads": [1, 1, 1, 1]}, True),
    "blocks that do not divide": (1, 16, (4, 4), 77, (3, 3), {}, True),
    "strides": (2, 12, (11, 13), 8, (3, 3), {"strides": [2, 3], "pads": [0, 1, 2, 1]}, True),
    "dilations": (2, 12, (12, 12), 8, (3, 3), {"dilations": [2, 3], "pads": [2, 2, 2, 2]}, False),
    "same upper": (2, 10, (7, 9), 8, (3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, True),
    "same lower": (2, 10, (7, 9), 8, (2, 2), {"auto_pad": "SAME_LOWER"}, True),
    "valid": (2, 10, (7, 9), 8, (3, 3), {"auto_pad": "VALID"}, False),
    "groups": (2, 24, (8, 8), 18, (3, 3), {"group": 3, "pads": [1, 1, 1, 1]}, True),
    "depthwise": (2, 32, (9, 9), 32, (3, 3), {"group": 32, "pads": [1, 1, 1, 1]}, True),
    "depthwise, two each": (1, 48, (6, 6), 96, (3, 3), {"group": 48}, False),
}
TRANSPOSED = {
    "transposed": (2, 6, (5, 5), 4, (3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}, True),
    "transposed, groups": (
        2, 6, (5, 4), 8, (3, 2), {"group": 2, "strides": [2, 1], "output_padding": [1, 0]}, True
    ),
    "transposed 1d": (1, 3, (9,), 5, (4,), {"strides": [3], "dilations": [2]}, False),
    "transposed 3d": (1, 2, (3, 3, 3), 3, (2, 2, 2), {}, True),
}  # fmt: skip
GEMMS = {
    # name: (rows, K, M, attributes, shape of the bias)
    "gemm": (4, 30, 12, {}, (12,)),
    "gemm, one row": (1, 64, 10, {"transB": 1}, (10,)),
    "gemm, transposed": (5, 20, 7, {"transA": 1, "transB": 1, "alpha": -0.5, "beta": 2.0}, (1, 7)),
    "gemm, no bias": (3, 40, 600, {"transB": 1}, None),
    "gemm, scalar bias": (3, 8, 5, {"beta": -3.0}, (1,)),
    "gemm, bias of all": (4, 8, 5, {"alpha": 3.0}, (4, 5)),
    "gemm, bias of rows": (4, 8, 5, {}, (4, 1)),
}


def draw(seed, *shape):
    """Normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def convolution(name, seed=0):
    """A Conv or ConvTranspose of the tables."""
    transposed = name in TRANSPOSED
    n, c, size, m, kernel, attributes, bias = (TRANSPOSED if transposed else CONVOLUTIONS)[name]
    groups = attributes.get("group", 1)
    shape = (c, m // groups, *kernel) if transposed else (m, c // groups, *kernel)
    constants = {"w": draw(seed, *shape)}
    if bias:
        constants["b"] = draw(seed + 1, m)
    x = draw(seed + 2, n, c, *size)
    kind = "ConvTranspose" if transposed else "Conv"
    return single(kind, constants, x, **attributes), {"x": x}


def gemm(name, seed=0):
    """A Gemm of the table."""
    n, k, m, attributes, bias = GEMMS[name]
    constants = {"w": draw(seed, *((m, k) if attributes.get("transB") else (k, m)))}
    if bias:
        constants["b"] = draw(seed + 1, *bias)
    x = draw(seed + 2, *((k, n) if attributes.get("transA") else (n, k)))
    return single("Gemm", constants, x, **attributes), {"x": x}


def matmul(name, seed=0):
    """A MatMul: constant on a side, in batches, or computed on both sides."""
    if name == "both sides computed":
        a, b = draw(seed, 2, 3, 10, 8), draw(seed + 1, 2, 3, 8, 12)
        return single("MatMul", {}, a, ("x", "k"), {"k": b}), {"x": a, "k": b}
    if name == "constant on the left":
        x = draw(seed, 2, 8, 5)
        return single("MatMul", {"w": draw(seed + 1, 11, 8)}, x, ("w", "x")), {"x": x}
    shape = {"matrix": (4, 9), "tokens": (2, 7, 9), "batched weights": (2, 3, 7, 9)}[name]
    weight = draw(seed, *((3, 9, 300) if name == "batched weights" else (9, 13)))
    x = draw(seed + 1, *shape)
    return single("MatMul", {"w": weight}, x, ("x", "w")), {"x": x}


def computed_gemm(seed=0):
    """A Gemm whose three operands are all computed, with alpha and beta."""
    values = {"x": draw(seed, 4, 9), "w": draw(seed + 1, 6, 9), "b": draw(seed + 2, 6)}
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="layer", transB=1, alpha=0.25, beta=3.0)
    inputs = {name: (TensorProto.FLOAT, value.shape) for name, value in values.items()}
    return graph([node], inputs, {"y": TensorProto.FLOAT}), values


MATMULS = ("matrix", "tokens", "batched weights", "constant on the left", "both sides computed")
CASES = {
    **{name: partial(convolution, name) for name in (*CONVOLUTIONS, *TRANSPOSED)},
    **{name: partial(gemm, name) for name in GEMMS},
    **{f"matmul, {name}": partial(matmul, name) for name in MATMULS},
    "gemm, all computed": computed_gemm,
}
