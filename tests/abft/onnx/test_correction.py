"""Soft errors inside ONNX Runtime: seen, located, corrected or computed again, at every optimiser level."""

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnx_cases import CASES, draw
from onnx_support import LEVELS, Faulty, flipped, run, single

from holdfast.abft.onnx import protect_onnx

COC, RECOMPUTED = 1, 2
VALUES = {"large": 1e3, "1e30": 1e30, "-1e38": -1e38, "Inf": np.inf, "NaN": np.nan}


def faulty(name, correct=True, level="all", seed=0):
    model, feeds = CASES[name](seed)
    return Faulty(protect_onnx(model, correct=correct)[0], feeds, level)


def element(shape, seed):
    return tuple(int(i) for i in np.random.default_rng(seed).integers(0, shape))


@pytest.mark.parametrize("name", CASES)
def test_one_spoiled_element_is_corrected_by_coc(name):
    layer = faulty(name)
    for seed, value in enumerate(VALUES.values()):
        at = element(layer.raw(0).shape, seed)
        found = layer({0: [(at, value)]})
        assert found["holdfast_corrected"].tolist() == [COC], (at, value)
        assert found["holdfast_deviation"][0] <= 1
        bound = 1e-4 * np.abs(layer.raw(0)).max()
        np.testing.assert_allclose(found["y"], layer.clean["y"], rtol=0, atol=bound)
        others = np.ones(found["y"].shape, bool)
        others[at] = False
        np.testing.assert_array_equal(found["y"][others], layer.clean["y"][others])


@pytest.mark.parametrize("name", CASES)
def test_without_correction_every_fault_is_reported(name):
    layer = faulty(name, correct=False)
    assert layer.clean["holdfast_deviation"][0] <= 1
    for seed, value in enumerate(VALUES.values()):
        at = element(layer.raw(0).shape, seed)
        found = layer({0: [(at, value)]})["holdfast_deviation"][0]
        assert found > 1
        if not np.isfinite(value):
            assert found == np.inf


@pytest.mark.parametrize("name", CASES)
def test_changes_of_twice_the_threshold_are_seen_everywhere(name):
    layer = faulty(name, correct=False)
    raw = layer.raw(0)
    for seed in range(8):
        at = element(raw.shape, seed)
        large = np.float32(1000 * np.abs(raw).max())
        ratio = layer({0: [(at, large)]})["holdfast_deviation"][0]
        threshold = np.abs(large - raw[at]) / ratio
        for sign in (1, -1):
            spoiled = np.float32(raw[at] + sign * 2 * threshold)
            change = abs(float(spoiled) - float(raw[at])) / threshold
            if change >= 2:
                assert layer({0: [(at, spoiled)]})["holdfast_deviation"][0] > 1, (at, sign)
        # The promise in words: a change of a thousandth of the layer's usual output is never missed.
        assert threshold < 1e-3 * np.sqrt(np.mean(np.square(raw)))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["2d", "one image, one output", "many channels", "gemm", "matmul, tokens"])
def test_no_optimiser_reuses_a_damaged_result(name, level):
    layer = faulty(name, level=level)
    shape = layer.raw(0).shape
    first, last = (0,) * len(shape), tuple(size - 1 for size in shape)
    # Two blocks at a position (or all of a single one) can only be computed again.
    other = (*first[:1], shape[1] - 1, *first[2:]) if len(shape) == 4 else (*first[:-1], shape[-1] - 1)
    hits = {first: np.inf, other: np.nan, last: 3e8}
    found = layer({0: list(hits.items())})
    expected = COC if first == other else RECOMPUTED
    assert found["holdfast_corrected"].tolist() == [expected]
    assert found["holdfast_deviation"][0] <= 1
    np.testing.assert_allclose(found["y"], layer.clean["y"], rtol=1e-5, atol=1e-5)


def test_every_position_is_corrected_on_its_own():
    layer = faulty("2d")
    draws = np.random.default_rng(0)
    n, m, height, width = layer.raw(0).shape
    hits = [
        ((i, int(draws.integers(m)), y, x), draws.choice([50.0, np.inf, np.nan, 1e20]))
        for i in range(n)
        for y in range(height)
        for x in range(width)
    ]
    found = layer({0: hits})
    assert found["holdfast_corrected"].tolist() == [COC]
    np.testing.assert_allclose(found["y"], layer.clean["y"], atol=1e-4)


@pytest.mark.parametrize("channels", [(0, 1), (0, 2), (1, 3), (0, 1, 2, 3, 4, 5), (0, 1, 4, 5)], ids=str)
@pytest.mark.parametrize("error", ["equal", "opposite", "random"])
def test_errors_that_look_like_one_are_computed_again(channels, error):
    layer = faulty("2d")
    raw = layer.raw(0)
    sizes = {
        "equal": np.ones(6),
        "opposite": (-1.0) ** np.arange(6) * np.arange(1, 7),
        "random": draw(1, 6),
    }[error]
    hits = [((1, m, 4, 4), raw[1, m, 4, 4] + np.float32(100 * sizes[m])) for m in channels]
    found = layer({0: hits})
    assert found["holdfast_corrected"].tolist() == [RECOMPUTED]
    np.testing.assert_allclose(found["y"], layer.clean["y"], atol=1e-4)


def test_a_row_of_all_outputs_is_computed_again():
    layer = faulty("2d")
    hits = [((0, m, 2, 2), 1e4) for m in range(layer.raw(0).shape[1])]
    found = layer({0: hits})
    assert found["holdfast_corrected"].tolist() == [RECOMPUTED]
    np.testing.assert_allclose(found["y"], layer.clean["y"], atol=1e-5)


def test_a_column_in_all_images_is_corrected():
    layer = faulty("2d")
    n, _, height, width = layer.raw(0).shape
    hits = [((i, 3, y, x), -77.0) for i in range(n) for y in range(height) for x in range(width)]
    found = layer({0: hits})
    assert found["holdfast_corrected"].tolist() == [COC]
    np.testing.assert_allclose(found["y"], layer.clean["y"], atol=1e-4)


@pytest.mark.parametrize("bit", range(22, 32))
def test_flips_of_high_bits_are_seen_and_corrected(bit):
    layer = faulty("many channels")
    raw = layer.raw(0)
    for seed in range(5):
        at = element(raw.shape, seed)
        found = layer({0: [(at, flipped(raw[at], bit))]})
        assert found["holdfast_corrected"][0] in (COC, RECOMPUTED)
        assert found["holdfast_deviation"][0] <= 1
        np.testing.assert_allclose(found["y"], layer.clean["y"], atol=1e-3)


def test_nan_in_the_input_is_reported_and_not_hidden_by_correction():
    model, feeds = CASES["2d"]()
    x = feeds["x"].copy()
    x[1, 2, 4, 4] = np.nan
    layer = Faulty(protect_onnx(model, correct=True)[0], feeds)
    found = layer(feeds={"x": x})
    assert found["holdfast_deviation"].tolist() == [np.inf]
    assert found["holdfast_corrected"].tolist() == [RECOMPUTED]
    assert np.isnan(found["y"]).any()


def test_errors_that_cancel_exactly_at_a_position_are_beyond_one_sum():
    layer = faulty("2d")
    raw = layer.raw(0)
    hits = [((1, m, 4, 4), raw[1, m, 4, 4] + np.float32(sign * 64)) for m, sign in ((0, 1), (1, -1))]
    assert layer({0: hits})["holdfast_deviation"][0] <= 1  # the documented limit of CoC-D


def with_damaged_input(protected, at, value):
    """``protected`` whose layer reads a damaged input, while its check reads the right one."""
    model = type(protected)()
    model.CopyFrom(protected)
    (layer,) = (node for node in model.graph.node if node.name == "layer")
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([at], np.int64), "hit_at"),
            numpy_helper.from_array(np.array([value], np.float32), "hit_value"),
        ]
    )
    hit = helper.make_node("ScatterND", ["x", "hit_at", "hit_value"], ["x_hit"])
    layer.input[list(layer.input).index("x")] = "x_hit"
    model.graph.node.insert(0, hit)
    return model


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("m", [2, 3, 10, 100, 1000])
@pytest.mark.parametrize("kind", ["Gemm", "MatMul", "left"])
@pytest.mark.parametrize("kernels", ["zero sum", "equal", "random"])
def test_an_input_damaged_between_its_readers_does_not_cancel(kernels, kind, m, correct):
    """The kernels of a trained classifier add up to nothing: so would every error of its input."""
    if kernels == "equal" and m == 2:
        pytest.skip("two kernels cancel with equal or with opposite signs")
    w = draw(0, 64, m)
    if kernels == "zero sum":
        w -= w.mean(1, keepdims=True)
    if kernels == "equal":
        w = np.repeat(w[:, :1], m, 1)
    x = draw(1, 3, 64) if kind != "left" else draw(1, 64, 3)
    constants = {"w": w.T.copy() if kind == "left" else w}
    if kind == "Gemm":
        constants["b"] = draw(2, m)
    model = single(
        kind if kind == "Gemm" else "MatMul", constants, x, ("w", "x") if kind == "left" else ("x", "w", "b")
    )
    protected, _ = protect_onnx(model, correct=correct)
    clean = run(protected, {"x": x})
    assert clean["holdfast_deviation"][0] <= 0.5
    at = (1, 17) if kind != "left" else (17, 1)
    found = run(with_damaged_input(protected, at, x[at] + 0.5), {"x": x})
    if correct:
        assert found["holdfast_corrected"].tolist() == [RECOMPUTED]
        np.testing.assert_array_equal(found["y"], clean["y"])
    assert bool(found["holdfast_deviation"][0] > 1) is not correct
