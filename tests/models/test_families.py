"""What holds for every family: published sizes, shapes, names of layers, tracing, a round trip."""

from __future__ import annotations

import pytest
import torch
from torch import fx

from holdfast import models
from holdfast.core.errors import UsageError
from holdfast.models import ModelConfig

PUBLISHED = {
    "alexnet": (224, {}, 61_100_840),
    "alexnet_caffe": (227, {}, 60_965_224),
    "vgg11": (224, {}, 132_863_336),
    "vgg13": (224, {}, 133_047_848),
    "vgg16": (224, {}, 138_357_544),
    "vgg19": (224, {}, 143_667_240),
    "vgg19 with norms": (224, {"norm": "batch"}, 143_678_248),
    "resnet18": (224, {}, 11_689_512),
    "resnet34": (224, {}, 21_797_672),
    "resnet50": (224, {}, 25_557_032),
    "mobilenetv2": (224, {}, 3_504_872),
}


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("row", PUBLISHED)
def test_parameters_match_the_published_models(row):
    size, options, count = PUBLISHED[row]
    with torch.device("meta"):
        model = models.create(row.split()[0], in_channels=3, classes=1000, size=size, **options).eval()
        assert model(torch.empty(2, 3, size, size)).shape == (2, 1000)
    assert parameters(model) == count


SMALL = {
    "alexnet": (64, {"width": 1 / 16}),
    "alexnet with norms": (63, {"width": 1 / 16, "norm": "batch"}),
    "vgg11": (32, {"width": 1 / 16}),
    "vgg13 with norms": (33, {"width": 1 / 16, "norm": "batch_no_affine"}),
    "vgg16": (40, {"width": 1 / 16}),
    "vgg19": (32, {"width": 1 / 16, "last_norm": True}),
    "resnet18": (33, {"width": 1 / 8}),
    "resnet18 for 32": (32, {"width": 1 / 8, "stem": "cifar"}),
    "resnet34": (7, {"width": 1 / 8, "norm": "none"}),
    "resnet50": (64, {"width": 1 / 8, "mean": (0.1, 0.2), "std": (1.0, 2.0)}),
    "resnet50 of one pixel": (1, {"width": 1 / 8, "stem": "cifar"}),
    "mobilenetv2": (32, {"width": 0.25}),
    "mobilenetv2 for 32": (32, {"width": 0.25, "stem": "cifar", "norm": "none"}),
    "vit": (32, {"dim": 16, "depth": 2}),
    "vit with mean": (9, {"dim": 16, "depth": 1, "patch": 3, "pool": "mean", "input_norm": False}),
    "vit of one patch": (4, {"dim": 16, "depth": 1, "mlp": 8, "heads": 1, "compress": "none"}),
    "cnn": (9, {"width": 0.5}),
    "convnet": (9, {"width": 0.5}),
    "convnet of one pixel": (1, {"width": 0.5, "strides": (2, 2, 2, 2)}),
    "convnet with pool": (8, {"width": 0.5, "strides": (1, 2, 1, 2), "pool": True}),
    "resnet20": (9, {"width": 0.25}),
}


@pytest.mark.parametrize("row", SMALL)
def test_small_ones_run_trace_and_go_through_a_file(row, tmp_path):
    size, options = SMALL[row]
    torch.manual_seed(0)
    model = models.create(row.split()[0], in_channels=2, classes=3, size=size, **options)
    x = torch.rand(4, 2, size, size)
    assert torch.isfinite(model.train()(x)).all()
    model.eval()
    with torch.inference_mode():
        logits = model(x)
        assert logits.shape == (4, 3)
        assert torch.isfinite(logits).all()
        assert float(logits.std()) > 1e-6  # the signal reaches the end
        assert torch.equal(fx.symbolic_trace(model)(x), logits)
        models.save(model, tmp_path / "m.safetensors")
        assert torch.equal(models.load(tmp_path / "m.safetensors")(x), logits)
    config = model.config
    assert ModelConfig.from_json(config.to_json(), "test") == config


BAD = {
    "alexnet of 62": ("alexnet", {"size": 62}, ">= 63"),
    "vgg of 31": ("vgg16", {"size": 31}, ">= 32"),
    "Caffe's of 224": ("alexnet_caffe", {"size": 224}, "227"),
    "Caffe's with norm": ("alexnet_caffe", {"size": 227, "norm": "batch"}, "norm"),
    "groups": ("alexnet_caffe", {"size": 227, "groups": 3}, "groups"),
    "stem of vgg": ("vgg11", {"size": 32, "stem": "cifar"}, "stem"),
    "stem of resnet18": ("resnet18", {"size": 32, "stem": "half"}, "imagenet or cifar"),
    "norm": ("resnet50", {"size": 32, "norm": "layer"}, "batch_no_affine"),
    "width": ("mobilenetv2", {"size": 32, "width": 0}, "width"),
    "dropout": ("mobilenetv2", {"size": 32, "dropout": 1}, "dropout"),
    "yolo of 100": ("yolov2", {"size": 100}, "multiple of 32"),
    "yolo last norm": ("yolov2", {"size": 32, "last_norm": True}, "last_norm"),
    "anchors": ("yolov2", {"size": 32, "anchors": 0}, "anchors"),
    "patch": ("vit", {"size": 33}, "multiple of 4"),
    "heads": ("vit", {"size": 32, "heads": 3}, "heads"),
    "depth": ("vit", {"size": 32, "depth": 0}, "depth"),
    "pool": ("vit", {"size": 32, "pool": "max"}, "class, mean"),
}


@pytest.mark.parametrize("row", BAD)
def test_bad_arguments_are_named(row):
    name, options, says = BAD[row]
    with pytest.raises(UsageError, match=says), torch.device("meta"):
        models.create(name, in_channels=3, classes=10, **options)
