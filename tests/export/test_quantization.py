"""Which form is chosen follows from what was measured; what is measured is real; failures are results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from export_support import never

from holdfast import models
from holdfast.core.errors import UnknownNameError, UsageError
from holdfast.core.result import Interval
from holdfast.export import candidates, choose, quantize
from holdfast.export.onnx import logits, session
from holdfast.export.quantization import Measured


def interval(low: float, high: float) -> Interval:
    return Interval(low=low, high=high, method="made up")


BASE = Measured("float32", "onnxruntime", Path("f"), 100, 0.0, None, 1.0)
STATIC = Measured(
    "onnx-static", "onnxruntime", Path("s"), 40, 3e-4, interval(-1e-4, 7e-4), 0.8, 0.8, interval(0.78, 0.82)
)
SLOW = replace(STATIC, name="onnx-dynamic", bytes=30, ms=4.0, ratio=4.0, ratio_interval=interval(3.9, 4.1))
POOR = replace(STATIC, name="onnx-float16", ms=0.1, loss=0.0019, interval=interval(0.0017, 0.0021))
FAILED = Measured("torchao-pt2e", "inductor", failure="RuntimeError: no")
FORMS = [BASE, STATIC, SLOW, POOR, FAILED]


def test_the_fastest_with_a_shown_loss_is_chosen_for_speed():
    choice = choose(FORMS)
    assert choice.chosen is STATIC
    assert "0.00030 [-0.00010, 0.00070] of at most 0.002" in choice.reason
    assert "40 B instead of 100 B, 0.80 [0.78, 0.82] times" in choice.reason
    assert choice.verdicts == {
        "float32": "the reference",
        "onnx-static": "chosen",
        "onnx-dynamic": "not shown to be faster: 4.00 [3.90, 4.10] times the time of float32 in onnxruntime",
        "onnx-float16": "loses 0.00190 [0.00170, 0.00210]: not shown to be at most 0.002",
        "torchao-pt2e": "failed: RuntimeError: no",
    }


def test_a_slower_form_is_taken_only_if_size_is_the_aim():
    assert choose([BASE, SLOW], "speed").chosen is BASE
    assert choose([BASE, SLOW], "speed").reason == "No other form is faster with a loss of at most 0.002."
    assert choose(FORMS, "size").chosen is SLOW
    assert choose(FORMS, "size").verdicts["onnx-static"] == "good, but not the smallest"


def test_a_form_that_is_not_shown_to_be_faster_is_refused():
    perhaps = replace(STATIC, ratio_interval=interval(0.7, 1.0))
    assert choose([BASE, perhaps]).chosen is BASE


def test_faster_than_its_own_float32_may_be_slower_than_the_reference():
    eager = replace(STATIC, name="torch-bfloat16", runtime="torch", ms=1.5)
    assert choose([BASE, eager]).chosen is BASE
    assert choose([BASE, replace(eager, ms=0.9)]).chosen.name == "torch-bfloat16"
    # A slow moment of float32 does not outweigh the pairs.
    assert choose([replace(BASE, ms=0.5), STATIC]).chosen is STATIC


def test_size_takes_nothing_that_is_larger():
    assert choose([BASE, replace(STATIC, bytes=100)], "size").chosen is BASE


def test_another_gate_and_aim():
    assert choose(FORMS, gate=0.01).chosen is POOR
    with pytest.raises(UsageError, match="aim: expected one of speed, size, got 'both'"):
        choose(FORMS, "both")


@pytest.fixture(scope="module")
def digits():
    """A model, batches to calibrate with, and batches that it is right about in most cases."""
    torch.manual_seed(1)
    model = models.create("cnn", in_channels=1, classes=2, size=8, width=0.25)
    rng = np.random.default_rng(0)
    images = rng.random((96, 1, 8, 8), dtype=np.float32)
    with torch.no_grad():
        model.train()(torch.from_numpy(images))
        found = model.eval()(torch.from_numpy(images))
    order = (found[:, 1] - found[:, 0]).numpy()
    labels = (order + 0.1 * order.std() * rng.standard_normal(96) > np.median(order)).astype(np.int64)
    return model, [images[:32], images[32:]], [(images[:64], labels[:64]), (images[64:], labels[64:])]


def test_forms_are_built_measured_and_failures_are_results(digits, tmp_path, monkeypatch):
    model, calibration, test = digits

    def broken(workshop):
        raise ValueError("does not build\nat all")

    made = dict(candidates.CANDIDATES)
    made["torchao-pt2e"] = replace(made["torchao-pt2e"], runtime="torch", build=broken)
    monkeypatch.setattr(candidates, "CANDIDATES", made)
    found = quantize(model, tmp_path, calibration=calibration, test=test, pairs=5)
    assert [form.name for form in found] == ["float32", *made]
    assert found[-1].failure == "ValueError: does not build"
    for form in found[1:-1]:
        assert form.failure is None, form
        assert form.bytes == form.path.stat().st_size
        assert form.interval.low <= form.loss <= form.interval.high
        assert form.ratio > 0
    static = found[2]
    layers = [node for node in onnx.load(static.path).graph.node if node.op_type in candidates.PRODUCTS]
    # The first reads the images, whose small energies 8 bits would lose.
    assert candidates.first_products(onnx.load(static.path).graph) == [layers[0].name]
    assert layers[0].input[1] in {item.name for item in onnx.load(static.path).graph.initializer}
    assert layers[1].input[1].endswith("_DequantizeLinear_Output")
    x = calibration[0]
    difference = np.abs(logits(session(static.path), x) - logits(session(found[0].path), x)).max()
    assert 0 < difference < 0.2
    program = torch.export.load(found[4].path).module()
    assert (
        np.abs(
            program(torch.from_numpy(x)).detach().numpy() - model(torch.from_numpy(x)).detach().numpy()
        ).max()
        < 0.2
    )


def test_a_form_whose_logits_are_not_finite_fails(digits, tmp_path, monkeypatch):
    model, calibration, test = digits

    def broken(workshop):
        return candidates.Built(workshop.onnx, lambda images: np.full((len(images), 2), np.nan, np.float32))

    made = {"nan": candidates.Candidate("nan", "onnxruntime", broken)}
    monkeypatch.setattr(candidates, "CANDIDATES", made)
    found = quantize(model, tmp_path, calibration=calibration, test=test, pairs=5)
    assert found[1].failure.startswith("DataError: quantised model: expected finite logits")


def test_a_form_that_takes_too_long_fails_and_the_others_are_measured(digits, tmp_path, monkeypatch):
    model, calibration, test = digits
    made = {
        "never": candidates.Candidate("never", "onnxruntime", never),
        "onnx-float16": candidates.CANDIDATES["onnx-float16"],
    }
    monkeypatch.setattr(candidates, "CANDIDATES", made)
    settings = {"calibration": calibration, "test": test, "pairs": 5}
    slow = quantize(model, tmp_path, names=["never"], limit_s=0.1, **settings)
    assert slow[1] == Measured("never", "onnxruntime", failure="TimeoutError: it took longer than 0.1 s")
    here = quantize(model, tmp_path, names=["onnx-float16"], **settings)
    there = quantize(model, tmp_path, names=["onnx-float16"], limit_s=300, **settings)
    assert (there[1].failure, there[1].loss, there[1].interval) == (None, here[1].loss, here[1].interval)


def test_bad_input(digits, tmp_path):
    model, calibration, test = digits
    with pytest.raises(UnknownNameError, match="onnx-statik"):
        quantize(model, tmp_path, calibration=calibration, test=test, names=["onnx-statik"])
    with pytest.raises(UsageError, match="limit_s: expected a positive"):
        quantize(model, tmp_path, calibration=calibration, test=test, limit_s=0.0)
    with pytest.raises(UsageError, match="images to test with"):
        quantize(model, tmp_path, calibration=calibration, test=[])
    with pytest.raises(UsageError, match="images to calibrate"):
        quantize(model, tmp_path, calibration=[], test=test)


@pytest.mark.slow
def test_torchao_quantises_and_compiles(digits, tmp_path):
    pytest.importorskip("torchao")
    model, calibration, test = digits
    found = quantize(model, tmp_path, calibration=calibration, test=test, names=["torchao-pt2e"], pairs=5)
    assert found[1].failure is None, found[1].failure
    assert found[1].bytes > 0
