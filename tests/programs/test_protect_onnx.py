"""``holdfast protect`` on ONNX files and, for the list of layers, on torch model files."""

import json
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from holdfast import models
from holdfast.programs import model_files


@pytest.fixture
def runner(make_runner):
    made = make_runner()
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="checked"),
        helper.make_node("Conv", ["x", "k"], ["b"], name="unchecked"),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["n", 3, 6, 6]), ("k", [4, 3, 3, 3]), ("y", ["n", 4, 4, 4]))
    ]
    graph = helper.make_graph(nodes, "g", infos[:2], infos[2:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, made.folder / "in.onnx")
    return made


def test_the_named_file_is_written_and_nothing_else(runner):
    found = runner("protect", "in.onnx", "-o", "deep/out.onnx", "--correct", "--json")
    (skipped,) = found.pop("unprotected")
    assert (skipped["layer"], skipped["reason"]) == ("unchecked", "its weights are computed")
    assert found == {"model": "deep/out.onnx", "protected_layers": 1, "layers": 2}
    assert [path.name for path in (runner.folder / "deep").iterdir()] == ["out.onnx"]
    active = onnxruntime.InferenceSession(
        runner.folder / "deep" / "out.onnx", providers=["CPUExecutionProvider"]
    )
    feeds = {"x": np.ones((2, 3, 6, 6), np.float32), "k": np.ones((4, 3, 3, 3), np.float32)}
    names = [item.name for item in active.get_outputs()]
    assert names == ["y", "holdfast_deviation", "holdfast_corrected"]
    assert active.run(names, feeds)[1][0] <= 1


def test_a_folder_gets_the_model_the_layers_and_a_record(runner):
    runner("protect", "--model", "in.onnx", "--out", "out", "--json")
    assert {path.name for path in (runner.folder / "out").iterdir()} >= {
        "model.onnx",
        "layers.json",
        "records.jsonl",
    }
    layers = json.loads((runner.folder / "out" / "layers.json").read_text())
    assert [(layer["layer"], layer["protected"]) for layer in layers] == [
        ("checked", True),
        ("unchecked", False),
    ]


def test_a_dry_run_lists_the_layers_and_writes_nothing(runner):
    layers = runner("protect", "in.onnx", "-o", "out.onnx", "--dry-run", "--json")
    assert [layer["reason"] for layer in layers] == [None, "its weights are computed"]
    assert not (runner.folder / "out.onnx").exists()
    model = models.create("cnn", in_channels=1, classes=2, size=8)
    model_files.save(model, runner.folder / "m.safetensors", "cnn")
    layers = runner("protect", "--dry-run", "m.safetensors", "--json")
    assert {layer["type"] for layer in layers} == {"Conv2d", "Linear"}
    assert all(layer["protected"] for layer in layers)


def test_unsupported_layers_of_a_torch_model_are_listed_with_the_reason():
    from holdfast import protect
    from holdfast.programs.protect import _layers

    model = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 1), torch.nn.BatchNorm1d(3), torch.nn.LSTM(4, 5))
    listed = {layer["layer"]: layer for layer in _layers(protect(model))}
    assert listed["0"]["protected"]
    assert not listed["2"]["protected"]
    assert "LSTM" in listed["2"]["reason"]
    assert "1" not in listed


def failing(runner, *words):
    """The exit code of a command that fails, and its last line."""
    command = runner.command("protect", *words)
    done = subprocess.run(
        command, cwd=runner.folder, env=runner.environment, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "code", "evidence"),
    [
        (("bad.onnx", "-o", "out.onnx"), 4, "expected an ONNX model"),
        (("none.onnx", "-o", "out.onnx"), 2, "none.onnx"),
        (("m.safetensors", "--correct"), 2, "expected an .onnx file"),
    ],
)
def test_errors_are_one_clear_line(runner, words, code, evidence):
    (runner.folder / "bad.onnx").write_text("hello")
    (runner.folder / "m.safetensors").write_text("hello")
    found, line = failing(runner, *words)
    assert found == code
    assert evidence in line
    assert not (runner.folder / "out.onnx").exists()
