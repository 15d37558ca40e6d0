"""Fault-free layers stay below their thresholds, whatever the numbers are, and the answers stay the same."""

import numpy as np
import pytest
from onnx_cases import CASES, draw
from onnx_support import run, session, single

from holdfast.abft.onnx import protect_onnx


def deviations(model, feeds):
    protected, _ = protect_onnx(model)
    return run(protected, feeds)["holdfast_deviation"]


@pytest.mark.parametrize("name", CASES)
def test_a_layer_answers_as_before_and_raises_no_alarm(name):
    model, feeds = CASES[name]()
    expected = run(model, feeds)["y"]
    for correct in (False, True):
        protected, reports = protect_onnx(model, correct=correct)
        assert [report.reason for report in reports] == [None]
        found = run(protected, feeds)
        np.testing.assert_allclose(found["y"], expected, rtol=1e-5, atol=1e-5)
        assert found["holdfast_deviation"].dtype == np.float32
        assert found["holdfast_deviation"].shape == (1,)
        assert 0 <= found["holdfast_deviation"][0] <= 0.5
        if correct:
            assert found["holdfast_corrected"].tolist() == [0]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scale", [1e-18, 1e-9, 1e-3, 1e5, 1e16])
def test_inputs_of_any_scale_raise_no_alarm(name, scale):
    model, feeds = CASES[name](seed=3)
    feeds = {key: value * np.float32(scale) for key, value in feeds.items()}
    assert deviations(model, feeds) <= 0.5


def ramp(*shape):
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def constant(*shape):
    return np.full(shape, 0.1, np.float32)


def spike(*shape):
    x = draw(0, *shape) * np.float32(1e-6)
    x.flat[x.size // 2] = 1e6
    return x


def alternating(*shape):
    return (np.arange(int(np.prod(shape))) % 2 * 2 - 1).reshape(shape).astype(np.float32)


def alike(m, *shape):
    """``m`` equal kernels."""
    return np.broadcast_to(draw(5, *shape), (m, *shape)).copy()


def up_then_down(m):
    return np.sign(m / 2 - 0.5 - np.arange(m))[:, None, None, None]


INPUTS = {
    "constant": constant,
    "positive": lambda *shape: np.abs(draw(1, *shape)),
    "ramp": ramp,
    "spike": spike,
    "zeros": lambda *shape: np.zeros(shape, np.float32),
    "alternating": alternating,
    "offset": lambda *shape: draw(2, *shape) + 1000,
    "tiny": lambda *shape: draw(2, *shape) * np.float32(1e-30),
}
WEIGHTS = {
    "random": lambda m, *shape: draw(3, m, *shape),
    "constant": constant,
    "equal kernels": alike,
    "positive": lambda m, *shape: np.abs(draw(4, m, *shape)),
    "opposite pairs": lambda m, *shape: alike(m, *shape) * (-1) ** np.arange(m)[:, None, None, None],
    "rising": lambda m, *shape: alike(m, *shape) * np.arange(m)[:, None, None, None],
    "up, then down": lambda m, *shape: alike(m, *shape) * up_then_down(m),
}  # fmt: skip
BIASES = {"none": None, "equal": lambda m: np.full(m, 0.3, np.float32), "large": lambda m: 1e4 + draw(6, m)}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_hostile_numbers_raise_no_alarm(inputs, weights):
    worst = {}
    for m, channels, size, kernel in (
        (5, 3, 8, 1),
        (63, 2, 5, 1),
        (64, 16, 6, 3),
        (512, 8, 3, 1),
        (300, 3, 7, 3),
    ):
        x = INPUTS[inputs](2, channels, size, size).astype(np.float32)
        kernels = WEIGHTS[weights](m, channels, kernel, kernel).astype(np.float32)
        matrix = kernels.reshape(m, -1)
        rows = INPUTS[inputs](3, matrix.shape[1]).astype(np.float32)
        for bias in BIASES:
            more = {"b": BIASES[bias](m).astype(np.float32)} if BIASES[bias] else {}
            convolution = single("Conv", {"w": kernels, **more}, x)
            worst["conv", m, bias] = float(deviations(convolution, {"x": x})[0])
            product = single("Gemm", {"w": matrix, **more}, rows, transB=1)
            worst["gemm", m, bias] = float(deviations(product, {"x": rows})[0])
        computed = single("MatMul", {}, rows, ("x", "k"), {"k": matrix.T.copy()})
        worst["computed", m] = float(deviations(computed, {"x": rows, "k": matrix.T})[0])
    assert max(worst.values()) <= 0.8, {key: value for key, value in worst.items() if value > 0.8}


def test_a_batch_of_any_size_is_judged_image_by_image():
    model, feeds = CASES["2d"]()
    protected, _ = protect_onnx(model)
    active = session(protected)
    single_deviations = []
    images = draw(9, 7, *feeds["x"].shape[1:]) * (
        10.0 ** np.arange(-3, 4, dtype=np.float32)[:, None, None, None]
    )
    for image in images:
        single_deviations.append(active.run(["holdfast_deviation"], {"x": image[None]})[0][0])
    together = active.run(["holdfast_deviation"], {"x": images})[0][0]
    assert together == pytest.approx(max(single_deviations), rel=0.5)
    assert together <= 0.5
