"""ONNX files: what is refused, what passes through, what is written."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import CASES, draw
from onnx_support import flipped, graph, run, single

from holdfast.abft.onnx import copy, protect_onnx
from holdfast.abft.onnx.protect import METADATA
from holdfast.core.errors import DataError, StorageError, UsageError

FLOAT = TensorProto.FLOAT


def two_layers(opset=18):
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["y"], name="second"),
    ]
    constants = {"w1": draw(1, 32, 3, 3, 3), "b1": draw(2, 32), "w2": draw(3, 5, 32, 1, 1)}
    return graph(nodes, {"x": (FLOAT, ["n", 3, 6, 6])}, {"y": FLOAT}, constants, opset)


def test_the_file_is_valid_keeps_its_interface_and_names_its_layers(tmp_path):
    onnx.save(two_layers(), tmp_path / "in.onnx")
    _, reports = protect_onnx(tmp_path / "in.onnx", tmp_path / "out.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.onnx", "out.onnx"]
    onnx.checker.check_model(str(tmp_path / "out.onnx"), full_check=True)
    model = onnx.load(tmp_path / "out.onnx")
    assert {node.domain for node in model.graph.node} == {""}
    assert [item.name for item in model.graph.input] == ["x"]
    assert [item.name for item in model.graph.output] == ["y", "holdfast_deviation"]
    properties = {item.key: item.value for item in model.metadata_props}
    assert [layer["layer"] for layer in json.loads(properties[METADATA])["layers"]] == ["first", "second"]
    assert [report.layer for report in reports] == ["first", "second"]
    x = draw(0, 4, 3, 6, 6)
    np.testing.assert_allclose(run(model, {"x": x})["y"], run(two_layers(), {"x": x})["y"], atol=1e-5)


def damage(model, name, at, bit):
    """Flip a bit of a stored tensor."""
    stored = next(item for item in model.graph.initializer if item.name == name)
    values = numpy_helper.to_array(stored).copy()
    values[at] = flipped(values[at], bit)
    stored.CopyFrom(numpy_helper.from_array(values, name))


@pytest.mark.parametrize("bit", [30, 23])
@pytest.mark.parametrize(
    ("name", "kernels"), [("2d", 0), ("gemm", 1), ("matmul, tokens", 1), ("transposed", 1)]
)
def test_a_damaged_weight_shows_because_its_checksum_is_stored(name, kernels, bit):
    model, feeds = CASES[name]()
    clean = run(model, feeds)["y"]
    reported, corrected = protect_onnx(model)[0], protect_onnx(model, correct=True)[0]
    weight = next(item for item in model.graph.initializer if item.name == "w")
    ats = [tuple(m if axis == kernels else 0 for axis in range(len(weight.dims))) for m in (1, 2)]
    for protected in (reported, corrected):
        damage(protected, "w", ats[0], bit)
    assert run(reported, feeds)["holdfast_deviation"][0] > 1
    found = run(corrected, feeds)  # the fault is in one output, which the stored checksums still know
    assert found["holdfast_corrected"].tolist() == [1]
    np.testing.assert_allclose(found["y"], clean, atol=1e-4)
    damage(corrected, "w", ats[1], bit)
    found = run(corrected, feeds)
    assert found["holdfast_corrected"].tolist() == [2]  # tried, and of no help
    assert found["holdfast_deviation"][0] > 1


def test_a_damaged_checksum_shows():
    model, feeds = CASES["2d"]()
    protected, _ = protect_onnx(model)
    stored = next(item for item in protected.graph.initializer if "Cw1" in item.name)
    values = numpy_helper.to_array(stored).copy()
    values.flat[3] = flipped(values.flat[3], 27)
    stored.CopyFrom(numpy_helper.from_array(values, stored.name))
    assert run(protected, feeds)["holdfast_deviation"][0] > 1


@pytest.mark.parametrize("opset", [13, 14, 17, 18, 21])
@pytest.mark.parametrize("name", ["2d", "gemm", "gemm, no bias", "matmul, both sides computed"])
def test_every_opset_from_13_works(name, opset):
    model, feeds = CASES[name]()
    model.opset_import[0].version = opset
    for correct in (False, True):
        protected, _ = protect_onnx(model, correct=correct)
        assert protected.opset_import[0].version == opset
        assert run(protected, feeds)["holdfast_deviation"][0] <= 0.5


def test_an_older_opset_is_converted():
    protected, _ = protect_onnx(two_layers(opset=11))
    assert protected.opset_import[0].version == 13
    assert (run(protected, {"x": draw(0, 2, 3, 6, 6)})["holdfast_deviation"] <= 0.5).all()


def test_an_opset_that_cannot_be_converted_is_refused(monkeypatch):
    def no_adapter(model, version):
        raise RuntimeError("No Adapter For Scan")

    monkeypatch.setattr(onnx.version_converter, "convert_version", no_adapter)
    with pytest.raises(UsageError, match="opset 13 or later, got 11, which cannot be converted"):
        protect_onnx(two_layers(opset=11))


def test_what_is_no_plain_onnx_model_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    for content in (b"hello", b"", b"\x08\x07"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="expected an ONNX model"):
            protect_onnx(path)
    with pytest.raises(DataError, match="none there"):
        protect_onnx(tmp_path / "none.onnx")
    protected, _ = protect_onnx(two_layers())
    with pytest.raises(UsageError, match="protected already"):
        protect_onnx(protected)
    invalid = two_layers()
    invalid.graph.node[0].attribute.append(helper.make_attribute("strides", [1]))
    with pytest.raises(DataError, match="valid ONNX model"):
        protect_onnx(invalid)


def test_nothing_is_written_where_nothing_can_be(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StorageError):
        protect_onnx(two_layers(), blocked / "out.onnx")
    plain = graph([helper.make_node("Relu", ["x"], ["y"])], {"x": (FLOAT, [2])}, {"y": FLOAT})
    with pytest.raises(UsageError, match="can be checked"):
        protect_onnx(plain, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def branching():
    """Two Convs (one with computed weights), an If around a MatMul, an operator of another domain."""
    inner = helper.make_graph(
        [helper.make_node("MatMul", ["f", "m"], ["i"])],
        "then",
        [],
        [helper.make_tensor_value_info("i", FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["f"], ["j"])],
        "else",
        [],
        [helper.make_tensor_value_info("j", FLOAT, None)],
    )
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="plain"),
        helper.make_node("Conv", ["x", "k"], ["c"], name="computed"),
        helper.make_node("Add", ["a", "c"], ["s"]),
        helper.make_node("Gelu", ["s"], ["g"], name="foreign", domain="com.microsoft"),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("If", ["flag"], ["y"], name="choice", then_branch=inner, else_branch=other),
        helper.make_node("MatMul", ["q", "m"], ["z"], name="double"),
    ]
    inputs = {
        "x": (FLOAT, [2, 3, 4, 4]),
        "k": (FLOAT, [4, 3, 3, 3]),
        "flag": (TensorProto.BOOL, []),
        "q": (FLOAT, [16]),
    }
    constants = {"w": draw(0, 4, 3, 3, 3), "m": draw(1, 16, 16)}
    model = graph(nodes, inputs, {"y": (FLOAT, [2, 16]), "z": FLOAT}, constants, domains=("com.microsoft",))
    feeds = {"x": draw(2, 2, 3, 4, 4), "k": draw(3, 4, 3, 3, 3), "flag": np.array(True), "q": draw(4, 16)}
    return model, feeds  # fmt: skip


def test_what_is_not_known_passes_through_and_is_reported(tmp_path):
    model, feeds = branching()
    protected, reports = protect_onnx(model)
    reasons = {report.layer: report.reason for report in reports}
    assert reasons.pop("plain") is None
    assert "computed" in reasons["computed"]
    assert "com.microsoft" in reasons["foreign"]
    assert "MatMul" in reasons["choice"]
    assert "vector" in reasons["double"]
    expected, found = run(model, feeds), run(protected, feeds)
    for name in ("y", "z"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
    assert found["holdfast_deviation"].shape == (1,)
    _, same = protect_onnx(model, tmp_path / "out.onnx", dry_run=True)
    assert same == reports
    assert not (tmp_path / "out.onnx").exists()


def test_weights_behind_shape_changes_and_dequantisation_are_constant():
    quantised = np.random.default_rng(0).integers(-100, 100, (12, 30)).astype(np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
        helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]),
        helper.make_node("Identity", ["t"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="m"),
    ]
    model = graph(nodes, {"x": (FLOAT, ["n", 30])}, {"y": FLOAT}, {"q": quantised, "s": np.float32(0.02)})
    protected, _ = protect_onnx(model)
    x = {"x": draw(1, 3, 30)}
    assert run(protected, x)["holdfast_deviation"][0] <= 0.5
    stored = next(item for item in protected.graph.initializer if item.name == "q")
    damaged = quantised.copy()
    damaged[3, 4] ^= 4
    stored.CopyFrom(numpy_helper.from_array(damaged, "q"))
    assert run(protected, x)["holdfast_deviation"][0] > 1


def test_functions_are_inlined():
    model = single("Conv", {"w": draw(0, 4, 3, 3, 3)}, draw(1, 1, 3, 5, 5))
    body = helper.make_function(
        "own",
        "Block",
        ["x", "w"],
        ["y"],
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        [helper.make_opsetid("", 18)],
    )
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[0].op_type, model.graph.node[0].domain = "Block", "own"
    protected, reports = protect_onnx(model)
    assert [report.type for report in reports] == ["Conv"]
    assert run(protected, {"x": draw(1, 1, 3, 5, 5)})["holdfast_deviation"][0] <= 0.5


def test_weights_in_another_file_stay_in_another_file(tmp_path):
    onnx.save(
        two_layers(), tmp_path / "in.onnx", save_as_external_data=True, location="in.data", size_threshold=0
    )
    protect_onnx(tmp_path / "in.onnx", tmp_path / "out.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"in.onnx", "in.data", "out.onnx", "out.onnx.data"}
    (tmp_path / "moved").mkdir()
    copy(tmp_path / "out.onnx", tmp_path / "moved" / "m.onnx")
    assert {path.name for path in (tmp_path / "moved").iterdir()} == {"m.onnx", "m.onnx.data"}
    for path in (tmp_path / "out.onnx", tmp_path / "moved" / "m.onnx"):
        active = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert (active.run(["holdfast_deviation"], {"x": draw(0, 2, 3, 6, 6)})[0] <= 0.5).all()
    (tmp_path / "in.data").unlink()
    with pytest.raises(DataError, match="expected an ONNX model"):
        protect_onnx(tmp_path / "in.onnx")


def test_the_source_is_left_as_it_is():
    model = two_layers()
    before = model.SerializeToString()
    protect_onnx(model, correct=True)
    assert model.SerializeToString() == before
