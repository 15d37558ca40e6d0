"""ONNX files: what a CMSSW release reads, the logits of PyTorch, and clear errors."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from holdfast import models
from holdfast.core.errors import DataError, UnknownNameError, UsageError
from holdfast.export.cmssw_release import RELEASES, check_readable, find_release
from holdfast.export.onnx import compare, inspect, logits, read_meta, session, to_onnx
from holdfast.export.portable import make_portable


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    return models.create("cnn", in_channels=2, classes=3, size=9, width=0.25).eval()


def test_any_batch_gives_pytorchs_logits(model, tmp_path):
    meta = {"transform": [], "classes": ["a", "b", "ä"]}
    made = to_onnx(model, tmp_path / "m.onnx", meta=meta)
    assert (made.opset, made.ir) == (17, 8)
    assert 0 <= made.difference < 1e-5
    assert read_meta(made.path) == meta
    active = session(made.path)
    for n in (1, 2, 5):
        x = np.random.default_rng(n).random((n, 2, 9, 9), dtype=np.float32)
        with torch.inference_mode():
            expected = model(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(logits(active, x), expected, rtol=0, atol=1e-5)


def test_another_models_file_is_told_apart(model, tmp_path):
    made = to_onnx(models.create("cnn", in_channels=2, classes=3, size=9, width=0.25), tmp_path / "m.onnx")
    with pytest.raises(DataError, match="expected the logits that PyTorch has"):
        compare(model, made.path, np.ones((2, 2, 9, 9), np.float32))


def test_a_model_that_cannot_be_exported_leaves_nothing(tmp_path):
    with pytest.raises(UsageError, match=r"expected a model made by models\.create"):
        to_onnx(torch.nn.Linear(2, 2), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_what_is_no_onnx_file_is_an_error(tmp_path):
    (tmp_path / "m.onnx").write_text("hello")
    for read in (inspect, read_meta):
        with pytest.raises(DataError, match="expected an ONNX model"):
            read(tmp_path / "m.onnx")
    with pytest.raises(DataError, match="expected what ONNX Runtime runs"):
        session(tmp_path / "m.onnx")


def graph(path, *, opset=17, ir=8, kind=TensorProto.FLOAT, domain=""):
    """A file of one node."""
    info = [helper.make_tensor_value_info(name, kind, ["n", 2]) for name in ("x", "y")]
    node = helper.make_node("Identity", ["x"], ["y"], domain=domain)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    made = helper.make_model(
        helper.make_graph([node], "g", info[:1], info[1:]), opset_imports=opsets, ir_version=ir
    )
    onnx.save(made, path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"opset": 21}, "expected opset <= 20, got 21; export the model anew"),
        ({"ir": 10}, "expected IR version <= 9, got 10"),
        ({"kind": TensorProto.INT64}, "input x: expected float32"),
        ({"domain": "com.microsoft"}, "expected standard operators, got those of com.microsoft"),
    ],
)
def test_what_a_release_refuses_is_refused(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        check_readable(graph(tmp_path / "m.onnx", **changes), find_release("CMSSW_14_0_X"))


def test_the_newest_that_a_release_reads_passes(tmp_path):
    for release in RELEASES.values():
        check_readable(graph(tmp_path / "m.onnx", opset=release.opset, ir=release.ir), release)
    with pytest.raises(UsageError, match=r"CMSSW_13_3_X with ONNX Runtime 1\.14\.1: expected opset <= 18"):
        check_readable(graph(tmp_path / "m.onnx", opset=20), find_release("CMSSW_13_3_X"))


def test_a_release_is_found_by_any_of_its_names():
    assert find_release("CMSSW_14_0_7_patch1") is RELEASES["CMSSW_14_0_X"]
    for name in ("CMSSW_99_0_X", "14_0_X", ""):
        with pytest.raises(UnknownNameError, match="unknown CMSSW release"):
            find_release(name)


def test_a_portable_file_asks_for_nothing_that_it_does_not_need(tmp_path):
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "y")]
    nodes = [
        helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
        helper.make_node("ReduceL2", ["d"], ["r"], axes=[1], keepdims=1, name="norm"),
        helper.make_node("Cast", ["r"], ["s"], to=TensorProto.FLOAT),
        helper.make_node("ReduceL2", ["x"], ["t"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["s", "t", "s"], ["y"], axis=1),
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 5)]
    made = helper.make_model(
        helper.make_graph(nodes, "g", info[:1], info[1:]), opset_imports=opsets, ir_version=8
    )
    path = tmp_path / "m.onnx"
    onnx.save(made, path)
    x = np.array([[3, 4, 0], [-1, 2, 2]], np.float32)
    make_portable(path)
    found = onnx.load(path)
    onnx.checker.check_model(found, full_check=True)
    assert [(item.domain, item.version) for item in found.opset_import] == [("", 17)]
    kinds = [node.op_type for node in found.graph.node]
    assert kinds == ["Cast", "ReduceSumSquare", "Sqrt", "Cast", "ReduceL2", "Concat"]
    np.testing.assert_allclose(logits(session(path), x), [[5, 5, 5], [3, 3, 3]])
