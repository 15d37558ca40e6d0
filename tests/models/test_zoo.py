import json

import pytest
import torch
from torch import nn

from holdfast import models
from holdfast.core.errors import DataError, UnknownNameError, UsageError
from holdfast.models import ModelConfig

SHAPES = [(2, 2, 32), (1, 10, 8), (3, 10, 32), (1, 10, 28), (1, 3, 1), (2, 2, 3), (1, 4, 7), (1, 2, 33)]


@pytest.mark.parametrize(("channels", "classes", "size"), SHAPES, ids=lambda n: str(n))
@pytest.mark.parametrize("name", ["cnn", "resnet20"])
def test_any_size_gives_finite_logits_in_both_modes(name, channels, classes, size):
    model = models.create(name, in_channels=channels, classes=classes, size=size)
    x = torch.rand(4, channels, size, size)
    for mode in (True, False):
        logits = model.train(mode)(x)
        assert logits.shape == (4, classes)
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize("stem", [None, "full", "half"])
@pytest.mark.parametrize("norm", ["batch", "batch_no_affine", "none"])
@pytest.mark.parametrize("last_norm", [False, True], ids=["plain", "last_norm"])
@pytest.mark.parametrize("name", ["cnn", "resnet20"])
def test_a_model_is_remade_from_its_config_as_json(name, stem, norm, last_norm):
    model = models.create(
        name,
        in_channels=2,
        classes=3,
        size=9,
        stem=stem,
        norm=norm,
        last_norm=last_norm,
        mean=(0.1, 0.2),
        std=(1, 2),
        width=0.5,
        compress="sqrt",
    ).eval()
    config = ModelConfig.from_json(json.loads(json.dumps(model.config.to_json())), "test")
    assert config == model.config
    other = models.create(**config.arguments()).eval()
    other.load_state_dict(model.state_dict())
    x = torch.rand(2, 2, 9, 9)
    assert torch.equal(model(x), other(x))


def test_stem_half_quarters_the_first_map():
    full, half = (
        models.create("resnet20", in_channels=1, classes=2, size=8, stem=stem) for stem in ("full", "half")
    )
    x = torch.rand(1, 1, 8, 8)
    assert full.conv1(x).shape[-1] == 8
    assert half.conv1(x).shape[-1] == 4


def test_norms_differ_in_what_they_learn():
    def norms(norm):
        model = models.create("resnet20", in_channels=1, classes=2, size=8, norm=norm)
        return [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)], model

    assert all(layer.affine for layer in norms("batch")[0])
    assert all(not layer.affine for layer in norms("batch_no_affine")[0])
    found, bare = norms("none")
    assert not found
    assert bare.conv1.bias is not None  # nothing after the convolution could shift it


def test_last_norm_standardises_logits_in_training():
    model = models.create("cnn", in_channels=1, classes=3, size=8, last_norm=True).train()
    logits = model(torch.rand(64, 1, 8, 8))
    torch.testing.assert_close(logits.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(logits.std(0, correction=0), torch.ones(3), atol=1e-2, rtol=0)


GOOD = {"name": "cnn", "in_channels": 1, "classes": 2, "size": 8}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "cnn2"}, "did you mean 'cnn'"),
        ({"widht": 2}, "width"),
        ({"norm": "layer"}, "batch_no_affine"),
        ({"stem": "quarter"}, "full or half"),
        ({"width": 0}, "width"),
        ({"width": "2"}, "width"),
        ({"width": float("nan")}, "width"),
        ({"dropout": 1.0}, "dropout"),
        ({"compress": "log"}, "sqrt"),
        ({"in_channels": 0}, "in_channels"),
        ({"classes": 1}, "classes"),
        ({"size": 8.0}, "size"),
        ({"mean": (0.1, 0.2)}, "one a channel"),
        ({"mean": (float("inf"),)}, "finite"),
        ({"std": (0.0,)}, "positive"),
    ],
    ids=lambda value: str(value),
)
def test_bad_arguments_are_named(change, says):
    with pytest.raises(UsageError, match=says):
        models.create(**{**GOOD, **change})


def test_unknown_model_lists_the_zoo():
    with pytest.raises(UnknownNameError, match=r"cnn, .*convnet, .*mobilenetv2, .*resnet18"):
        models.create("resnet19", in_channels=3, classes=10, size=32)


def test_names_and_options_describe_what_create_takes():
    assert {"alexnet", "cnn", "resnet20", "resnet50", "vgg19", "vit", "yolov2"} <= set(models.names())
    assert models.options("cnn") == {"width": 1.0, "dropout": 0.1, "input_norm": True, "compress": "sqrt"}


@pytest.mark.parametrize("data", [{"name": "cnn"}, {"colour": 1}, [1], None], ids=str)
def test_config_refuses_anything_else(data):
    with pytest.raises(DataError, match=r"m\.safetensors"):
        ModelConfig.from_json(data, "m.safetensors")
