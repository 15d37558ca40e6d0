"""What a CMSSW export refuses, what it writes, and the calls that it makes of a transform."""

from __future__ import annotations

import pytest
import torch
from cmssw_support import EGAMMA

from holdfast import models
from holdfast.core.errors import UsageError
from holdfast.data.transforms import Pipeline
from holdfast.export import export_cmssw, to_onnx
from holdfast.export.cmssw import FILES, package_name
from holdfast.export.cmssw_steps import cpp_steps
from holdfast.export.onnx import read_meta

ARGUMENTS = {"package": "RecoE2E/HoldfastTagger", "rows": 40, "columns": 50}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    return models.create("cnn", in_channels=2, classes=2, size=32, width=0.25).eval()


def test_the_whole_package_is_written_below_its_name(model, tmp_path):
    data = {"transform": EGAMMA, "classes": ["photon", "electron"], "channels": ["energy", "hit time"]}
    long = {**ARGUMENTS, "package": "RecoEgamma/ElectronPhotonTaggerOfHoldfast"}
    for arguments in (ARGUMENTS, long):
        made = export_cmssw(model, tmp_path, data={**data, "simulated": True}, **arguments)
        assert made.folder == tmp_path / arguments["package"]
        assert len(made.files) == len(FILES) + 1
        assert all(path.is_file() for path in made.files)
        assert made.network.difference < 1e-5
    folder = tmp_path / ARGUMENTS["package"]
    readme = (folder / "README.md").read_text()
    assert "channel hit time" in readme
    assert "trained on simulated data" in readme
    producer = (folder / "plugins" / "HoldfastTaggerProducer.cc").read_text()
    assert producer.index('"photon",') < producer.index('"electron",')
    assert 'maps.emplace_back("detectorMaps", "hitTime");' in producer
    assert '<flags EDM_PLUGIN="1"/>' in (folder / "plugins" / "BuildFile.xml").read_text()
    for name in ("python/holdfastTagger_cfi.py", "test/holdfastTagger_cfg.py"):
        compile((folder / name).read_text(), name, "exec")
    assert read_meta(folder / "data" / "holdfastTagger.onnx")["transform"] == EGAMMA_AS_WRITTEN


EGAMMA_AS_WRITTEN = Pipeline.from_json(EGAMMA).to_json()


def test_an_onnx_file_brings_its_transform_and_a_new_one_replaces_it(model, tmp_path):
    made = to_onnx(model, tmp_path / "m.onnx", meta={"transform": EGAMMA, "classes": ["photon", "electron"]})
    package = export_cmssw(made.path, tmp_path, **ARGUMENTS)
    assert [step.strip() for step in package.steps] == cpp(EGAMMA)
    package = export_cmssw(made.path, tmp_path, transform=[{"name": "crop", "size": 32}], **ARGUMENTS)
    assert [step.strip() for step in package.steps] == ["image.cropAroundCentre(32);"]


def cpp(transform):
    return [step.strip() for step in cpp_steps(Pipeline.from_json(transform))]


def test_the_calls_hold_the_float_that_python_has():
    assert cpp(EGAMMA) == [
        "image.suppressZeros({0.03f, 0.0f});",
        "image.cropAroundHottest(32, 0);",
        "image.scale({0.02f, 1.0f});",
    ]
    assert cpp([{"name": "compress", "how": "sqrt", "scale": 1e-7}]) == ["image.compressSqrt(1e-07f);"]
    assert cpp([{"name": "normalise", "over": "channel"}, {"name": "normalise"}]) == [
        "image.normaliseChannelsByLargest();",
        "image.normaliseImageByLargest();",
    ]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (None, "model without a transform: expected what its training images went through"),
        ([{"name": "standardise"}], "expected mean and std, fitted"),
        ([{"name": "zero_suppress", "gev": 0.1}], "expected unit_gev"),
        ([{"name": "scale", "factors": [1e39, 1]}], "numbers that a float can hold"),
        ([{"name": "crop", "size": 31}], r"expected steps from maps of 40x50 to images \(2, 32, 32\)"),
        ([], "or a --transform with a crop"),
        ([{"name": "turn"}], "unknown transform"),
    ],
)
def test_a_transform_that_does_not_lead_to_the_model_is_refused(model, tmp_path, transform, message):
    steps = transform
    if transform and transform[0]["name"] not in ("crop", "turn"):
        steps = [*transform, {"name": "crop", "size": 32}]
    with pytest.raises(UsageError, match=message):
        export_cmssw(model, tmp_path, transform=steps, **ARGUMENTS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["HoldfastTagger", "recoE2E/Tagger", "Reco/E2E/Tagger", "Reco/Tag_ger", "R/..", ""]
)
def test_a_name_that_is_no_packages_is_refused(name):
    with pytest.raises(UsageError, match="CMSSW package: expected Subsystem/Package"):
        package_name(name)


def test_classes_must_be_as_many_names_as_logits(model, tmp_path):
    for classes in (["photon"], ["a b", "aB"], ["deviation", "x"]):
        with pytest.raises(UsageError, match="classes: expected 2 different names"):
            export_cmssw(model, tmp_path, data={"transform": EGAMMA, "classes": classes}, **ARGUMENTS)


def test_a_network_with_a_fixed_batch_is_refused(model, tmp_path):
    import onnx

    made = to_onnx(model, tmp_path / "m.onnx")
    fixed = onnx.load(made.path)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(fixed, made.path)
    with pytest.raises(UsageError, match="expected any number of images, got 2 at a time"):
        export_cmssw(made.path, tmp_path, transform=EGAMMA, **ARGUMENTS)
    assert not (tmp_path / "RecoE2E").exists()
