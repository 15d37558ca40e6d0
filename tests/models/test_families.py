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
    "vit with all options": (
        9,
        {
            "dim": 16,
            "depth": 1,
            "head_dim": 3,
            "pad": True,
            "shifted": True,
            "locality": True,
            "positions": "sinusoidal",
        },
    ),
    "simple_vit": (8, {"dim": 16, "depth": 1}),
    "simple_vit padded": (13, {"dim": 8, "depth": 1, "heads": 2, "pad": True}),
    "deep_vit": (8, {"dim": 16, "depth": 2, "last_norm": True}),
    "scalable_vit": (32, {"dims": (8, 16, 24), "heads": (1, 2, 3)}),
    "scalable_vit of odd maps": (33, {"dims": (8, 16), "depths": (3, 1), "heads": (1, 2)}),
    "scalable_vit padded": (44, {"dims": (8, 8), "depths": (2, 2), "heads": (1, 1), "pad": True}),
    "scalable_vit of one pixel": (1, {"dims": (8,), "depths": (2,), "heads": (2,)}),
    "cct": (9, {"dim": 16, "depth": 1}),
    "cct of one token": (3, {"dim": 16, "depth": 1, "positions": "grid", "convs": 3}),
    "cnn_egamma": (32, {}),
    "cnn_jets": (33, {"input_norm": True, "compress": "sqrt"}),
    "resnet15": (9, {"width": 0.25}),
    "resnet15 without norms": (1, {"width": 0.25, "norm": "none", "stem": "half"}),
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
    "patch, what divides": ("vit", {"size": 125}, "patch 5 or 25 divides 125.* nearest sizes are 124 or 128"),
    "patch, a prime": ("deep_vit", {"size": 31}, r"got 31; the nearest sizes are 28 or 32; pad=true adds 1 "),
    "patch, too large": ("simple_vit", {"size": 3, "patch": 5}, "nearest sizes are 5"),
    "heads": ("vit", {"size": 32, "heads": 3}, "heads"),
    "head_dim": ("vit", {"size": 32, "head_dim": 0}, "head_dim"),
    "positions": ("vit", {"size": 32, "positions": "learned"}, "learnable, sinusoidal, grid"),
    "grid of 6": ("simple_vit", {"size": 32, "dim": 6, "heads": 1}, "multiple of 4"),
    "sines of 7": ("vit", {"size": 32, "dim": 7, "heads": 1, "positions": "sinusoidal"}, "even number"),
    "locality of one": ("vit", {"size": 4, "locality": True, "pool": "mean"}, "two tokens"),
    "windows": ("scalable_vit", {"size": 44}, "sides 11, 6, 3 .* nearest sizes are 40 or 45"),
    "window": ("scalable_vit", {"size": 32, "window": 1}, "window"),
    "stages": ("scalable_vit", {"size": 32, "dims": (8, 16)}, "equally many"),
    "ratio": ("scalable_vit", {"size": 32, "ratio": 0}, "ratio"),
    "ratio and heads": ("scalable_vit", {"size": 32, "ratio": 1.1}, "divisor of"),
    "convs": ("cct", {"size": 32, "convs": 0}, "convs"),
    "norm of a transformer": ("cct", {"size": 32, "norm": "batch"}, "norm"),
    "small for the proposal's": ("cnn_egamma", {"size": 12}, "layer 8, conv"),
    "depth": ("vit", {"size": 32, "depth": 0}, "depth"),
    "pool": ("vit", {"size": 32, "pool": "max"}, "class, mean"),
}


@pytest.mark.parametrize("row", BAD)
def test_bad_arguments_are_named(row):
    name, options, says = BAD[row]
    with pytest.raises(UsageError, match=says), torch.device("meta"):
        models.create(name, in_channels=3, classes=10, **options)
