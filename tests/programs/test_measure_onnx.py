"""Program measure-onnx on a network of one product, whose answers are known."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from holdfast.core.errors import StepError
from holdfast.core.result import read_records
from holdfast.programs.measure_onnx import run

OPTIONS = {
    "data": None,
    "batch": 4,
    "repeats": 3,
    "threads": 1,
    "parallel": False,
    "optimization": "ORT_ENABLE_ALL",
    "faults": 0,
    "tolerance": 1e-3,
    "limit": None,
    "seed": 0,
}


@pytest.fixture
def network(tmp_path):
    """Logits are the four pixels times ``weight``."""

    def make(weight):
        shape = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 2, 2])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", weight.shape[1]])
        nodes = [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        ]
        stored = [numpy_helper.from_array(weight.astype(np.float32), "w")]
        graph = helper.make_graph(nodes, "g", [shape], [logits], stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return make


def measured(out):
    return {record.metric: record for record in read_records(out / "records.jsonl")}


def test_latency_and_the_script_that_is_left(network, tmp_path):
    model = network(np.eye(4)[:, :3])
    run(tmp_path, model=model, **OPTIONS)
    found = measured(tmp_path)
    assert found["latency"].value == pytest.approx(4 * found["latency_per_image"].value)
    assert found["latency"].interval is not None
    assert found["logit_difference"].value == 0
    assert "silent_sdc_rate" not in found
    np.save(tmp_path / "images.npy", np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2))
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "images.npy")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "2 images" in done.stdout
    assert np.load(tmp_path / "logits.npy").tolist() == [[0, 1, 2], [4, 5, 6]]


def test_bit_flips_of_what_decides_nothing_and_of_what_decides(network, tmp_path):
    # With one class nothing can change; with two that tie but for a hair, much does.
    run(tmp_path, model=network(np.ones((4, 1))), **{**OPTIONS, "faults": 30})
    calm = measured(tmp_path)["silent_sdc_rate"].value
    hair = np.ones((4, 2))
    hair[:, 1] += 1e-6
    run(tmp_path, model=network(hair), **{**OPTIONS, "faults": 30})
    assert calm < 0.2 < measured(tmp_path)["silent_sdc_rate"].value


def test_a_difference_above_the_tolerance_is_a_wrong_result(network, tmp_path):
    with pytest.raises(StepError, match="wrong result"):
        run(tmp_path, model=network(np.full((4, 2), np.nan)), **OPTIONS)
    assert not (tmp_path / "records.jsonl").exists()
