"""``export onnx``, ``export cmssw`` and ``quantize`` as programs: files, records, reasons."""

from __future__ import annotations

import json

import pytest
import torch

from holdfast import models
from holdfast.core.errors import UsageError
from holdfast.core.result import read_records
from holdfast.export import candidates
from holdfast.export.onnx import inspect, read_meta
from holdfast.programs import export_cmssw, quantize

STEPS = [{"name": "crop", "size": 8}]
CMSSW = {"package": "My/Digits", "cmssw": "CMSSW_14_0_X", "rows": 12, "columns": 12, "channels": None}


@pytest.fixture
def digits(tmp_path):
    torch.manual_seed(0)
    model = models.create("cnn", in_channels=1, classes=10, size=8)
    data = {"transform": STEPS, "classes": [f"digit {n}" for n in range(10)]}
    models.save(model, tmp_path / "m.safetensors", {"name": "digits", "data": data})
    return tmp_path / "m.safetensors"


def test_the_transform_of_the_model_file_reaches_the_package(digits, tmp_path):
    export_cmssw.run(tmp_path / "out", model=digits, transform=None, **CMSSW)
    folder = tmp_path / "out" / "src" / "My" / "Digits"
    assert "image.cropAroundCentre(8);" in (folder / "src" / "DigitsPreprocessor.cc").read_text()
    assert '"digit9",' in (folder / "plugins" / "DigitsProducer.cc").read_text()
    found = {record.metric: record for record in read_records(tmp_path / "out" / "records.jsonl")}
    assert found["logit_difference"].value < 1e-5
    assert found["file_bytes"].value == (folder / "data" / "digits.onnx").stat().st_size
    with pytest.raises(UsageError, match="expected a list of steps"):
        export_cmssw.run(tmp_path / "other", model=digits, transform={"name": "crop"}, **CMSSW)


def test_an_onnx_file_knows_what_the_model_file_knew(digits, tmp_path):
    export_cmssw.run_onnx(tmp_path, model=digits)
    assert read_meta(tmp_path / "model.onnx")["transform"] == STEPS
    export_cmssw.run(tmp_path / "out", model=tmp_path / "model.onnx", transform=None, **CMSSW)
    assert (tmp_path / "out" / "src" / "My" / "Digits" / "plugins" / "DigitsProducer.cc").exists()


def test_quantize_keeps_one_file_and_says_why(digits, tmp_path, monkeypatch):
    def broken(workshop):
        raise RuntimeError("no such processor")

    made = {name: candidates.CANDIDATES[name] for name in ("onnx-dynamic", "onnx-static")}
    made["broken"] = candidates.Candidate("broken", "onnxruntime", broken)
    monkeypatch.setattr(candidates, "CANDIDATES", made)
    settings = {"data": "digits", "candidates": None, "batch": 2, "pairs": 5, "calibration": 64, "limit": 100}
    settings["limit_s"] = None  # a form made up here does not reach another process
    quantize.run(tmp_path, model=digits, aim="size", gate=1.0, seed=0, **settings)
    choice = json.loads((tmp_path / "choice.json").read_text())
    assert choice["chosen"] in ("onnx-dynamic", "onnx-static")
    assert [path.name for path in (tmp_path / "chosen").iterdir()] == [choice["file"]]
    assert (inspect(tmp_path / "chosen" / choice["file"]).opset, len(choice["rows"])) == (17, 4)
    assert choice["rows"][3][-1] == "failed: RuntimeError: no such processor"
    records = read_records(tmp_path / "records.jsonl")
    (failed,) = [record for record in records if record.labels["form"] == "broken"]
    assert (failed.status, failed.value, failed.message) == (
        "failed",
        None,
        "RuntimeError: no such processor",
    )
    loss = [record for record in records if record.metric == "accuracy_loss" and record.value is not None]
    assert len(loss) == 2
    assert all(record.interval.method == "paired normal" for record in loss)
    assert not (tmp_path / "candidates").exists()
