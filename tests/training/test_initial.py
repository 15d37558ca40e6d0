"""Starting from weights: all that fits, or a refusal that says what does not."""

from __future__ import annotations

import pytest
import torch

from holdfast import models
from holdfast.core.errors import DataError, UsageError
from holdfast.training import start_from


def make(classes=2, size=8, name="cnn", seed=0, **options):
    torch.manual_seed(seed)
    return models.create(name, in_channels=1, classes=classes, size=size, **{"width": 0.5, **options})


@pytest.fixture
def file(tmp_path):
    source = make(seed=1)
    source(torch.rand(64, 1, 8, 8))  # statistics of norms
    models.save(source, tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def test_everything_is_taken_but_the_statistics_of_the_input(file):
    model = make()
    assert start_from(model, file) == []
    ours, theirs = model.state_dict(), models.load(file).state_dict()
    differing = {key for key in ours if not torch.equal(ours[key], theirs[key])}
    assert differing == {
        f"scaling.norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
    }


def test_other_classes_keep_their_own_last_layer(file):
    model = make(classes=5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert start_from(model, file) == ["classifier.bias", "classifier.weight"]
    assert torch.equal(model.classifier.weight, before["classifier.weight"])
    assert torch.equal(model.blocks[0].conv.weight, models.load(file).blocks[0].conv.weight)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": 1.0}, "differs in blocks.0.conv.weight"),
        ({"name": "convnet"}, "a convnet for 1×8×8"),
        ({"norm": "none"}, "differs in blocks"),
    ],
    ids=["width", "family", "norm"],
)
def test_models_that_do_not_fit_are_refused_untouched(file, options, says):
    options = {"width": 0.5, **options}
    model = make(**options) if options.get("name") != "convnet" else make(name="convnet")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UsageError, match=says):
        start_from(model, file)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_damaged_files_are_named(file):
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"m\.safetensors"):
        start_from(make(), file)
