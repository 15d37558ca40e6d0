"""int8 layers are compared exactly: every changed bit of an s32 output counts."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_support import Faulty, flipped, graph, run, single
from onnxruntime.quantization import QuantType, quantize_dynamic

from holdfast.abft.onnx import protect_onnx


def integers(seed, low, high, dtype, *shape):
    return np.random.default_rng(seed).integers(low, high, shape, endpoint=True).astype(dtype)


def convolution(*, m=6, zero="scalar", groups=1, weights=np.int8, **attributes):
    x = integers(0, 0, 255, np.uint8, 2, 12, 7, 6)
    low, high = (0, 255) if weights == np.uint8 else (-128, 127)
    constants = {"w": integers(1, low, high, weights, m, 12 // groups, 3, 3), "xz": np.uint8(113)}
    if zero == "scalar":
        constants["wz"] = weights(5)
    if zero == "each":
        constants["wz"] = integers(2, 0, 9, weights, m)
    attributes["group"] = groups
    return single("ConvInteger", constants, x, ("x", "w", "xz", "wz"), **attributes), {"x": x}


def product(*, rows=5, weights=np.int8, zero=False, left=np.uint8):
    x = integers(0, *((0, 255) if left == np.uint8 else (-128, 127)), left, 2, rows, 40)
    low, high = (0, 255) if weights == np.uint8 else (-128, 127)
    constants = {"w": integers(1, low, high, weights, 40, 9), "xz": left(7)}
    if zero:
        constants["wz"] = integers(2, 0, 9, weights, 9)
    return single("MatMulInteger", constants, x, ("x", "w", "xz", "wz")), {"x": x}


def computed():
    x, w = integers(0, 0, 255, np.uint8, 3, 5, 20), integers(1, 0, 255, np.uint8, 3, 20, 6)
    constants = {"xz": np.uint8(3), "wz": np.uint8(130)}
    return single("MatMulInteger", constants, x, ("x", "k", "xz", "wz"), {"k": w}), {"x": x, "k": w}


CASES = {
    "convolution": lambda: convolution(pads=[1, 1, 1, 1], strides=[2, 1]),
    "no zero point of weights": lambda: convolution(zero="none"),
    "unsigned weights": lambda: convolution(weights=np.uint8, zero="scalar", dilations=[2, 2]),
    "groups": lambda: convolution(groups=3, auto_pad="SAME_UPPER"),
    "a single output": lambda: convolution(m=1, pads=[1, 0, 1, 0]),
    "many outputs": lambda: convolution(m=300, zero="none"),
    "matrix": product,
    "signed matrix": lambda: product(left=np.int8),
    "matrix, zero points": lambda: product(weights=np.uint8, zero=True),
    "both computed": computed,
}


@pytest.mark.parametrize("name", CASES)
def test_every_bit_is_seen_and_corrected(name):
    model, feeds = CASES[name]()
    layer = Faulty(protect_onnx(model, correct=True)[0], feeds)
    expected = run(model, feeds)["y"]
    np.testing.assert_array_equal(layer.clean["y"], expected)
    assert layer.clean["holdfast_deviation"].tolist() == [0]
    raw = layer.raw(0)
    for bit in range(32):
        at = tuple(int(i) for i in np.random.default_rng(bit).integers(0, raw.shape))
        found = layer({0: [(at, flipped(raw[at], bit))]})
        assert found["holdfast_corrected"].tolist() == [1]
        assert found["holdfast_deviation"].tolist() == [0]
        np.testing.assert_array_equal(found["y"], expected)


@pytest.mark.parametrize("name", CASES)
def test_the_smallest_change_is_reported(name):
    model, feeds = CASES[name]()
    layer = Faulty(protect_onnx(model)[0], feeds)
    raw = layer.raw(0)
    at = tuple(size // 2 for size in raw.shape)
    assert layer({0: [(at, raw[at] + 1)]})["holdfast_deviation"].tolist() == [2]


def test_a_row_is_computed_again():
    model, feeds = CASES["convolution"]()
    layer = Faulty(protect_onnx(model, correct=True)[0], feeds)
    found = layer({0: [((1, m, 2, 2), m) for m in range(6)]})
    assert found["holdfast_corrected"].tolist() == [2]
    np.testing.assert_array_equal(found["y"], layer.clean["y"])


def test_a_dynamically_quantised_network_is_exact_in_every_product(tmp_path):
    draw = np.random.default_rng(0).standard_normal
    constants = {
        "w1": draw((16, 3, 3, 3)).astype(np.float32),
        "w2": draw((24, 16, 3, 3)).astype(np.float32),
        "w3": draw((24 * 16, 10)).astype(np.float32),
        "flat": np.array([0, -1]),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="c1"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="c2"),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Reshape", ["d", "flat"], ["e"]),
        helper.make_node("MatMul", ["e", "w3"], ["y"], name="m"),
    ]
    inputs = {"x": (TensorProto.FLOAT, ["n", 3, 8, 8])}
    onnx.save(graph(nodes, inputs, {"y": TensorProto.FLOAT}, constants), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QUInt8)
    model = onnx.load(tmp_path / "int8.onnx")
    x = {"x": draw((2, 3, 8, 8)).astype(np.float32)}
    plain = run(model, x)["y"]
    protected, reports = protect_onnx(model, correct=True)
    assert [(report.type, report.protected) for report in reports] == [
        ("ConvInteger", True),
        ("ConvInteger", True),
        ("MatMulInteger", True),
    ]
    layers = Faulty(protected, x)
    assert layers.clean["holdfast_deviation"].tolist() == [0, 0, 0]
    np.testing.assert_allclose(layers.clean["y"], plain, rtol=1e-5, atol=1e-5)
    for k in range(3):
        raw = layers.raw(k)
        at = tuple(size // 2 for size in raw.shape)
        found = layers({k: [(at, flipped(raw[at], 20))]})
        assert found["holdfast_corrected"].tolist() == [int(i == k) for i in range(3)]
        np.testing.assert_array_equal(found["y"], layers.clean["y"])


def test_requantised_products_pass_through_and_are_reported():
    scale, zero = np.float32(0.1), np.uint8(3)
    constants = {"w": integers(1, 0, 255, np.uint8, 4, 6), "s": scale, "z": zero}
    names = ["x", "s", "z", "w", "s", "z", "s", "z"]
    nodes = [
        helper.make_node("QLinearMatMul", names, ["q"], name="q"),
        helper.make_node("MatMulInteger", ["q", "v"], ["y"], name="m"),
    ]
    constants["v"] = integers(2, 0, 255, np.uint8, 6, 5)
    x = integers(0, 0, 255, np.uint8, 3, 4)
    model = graph(nodes, {"x": (TensorProto.UINT8, x.shape)}, {"y": TensorProto.INT32}, constants)
    protected, reports = protect_onnx(model)
    assert [report.protected for report in reports] == [False, True]
    assert "not linear" in reports[0].reason
    assert run(protected, {"x": x})["holdfast_deviation"].tolist() == [0]
