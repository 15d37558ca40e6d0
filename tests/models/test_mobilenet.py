import pytest
import torch
from torch import nn

from holdfast import models
from holdfast.models.mobilenet import InvertedResidual


def made(**options):
    with torch.device("meta"):
        return models.create("mobilenetv2", in_channels=3, classes=10, **{"size": 224, **options})


def test_names_are_those_of_torchvision():
    model = made()
    keys = model.state_dict().keys()
    assert {
        "features.0.0.weight",
        "features.0.1.running_mean",
        "features.1.conv.0.0.weight",
        "features.1.conv.1.weight",
        "features.1.conv.2.running_var",
        "features.2.conv.0.0.weight",
        "features.2.conv.1.0.weight",
        "features.2.conv.2.weight",
        "features.17.conv.3.bias",
        "features.18.0.weight",
        "classifier.1.weight",
    } <= keys
    assert not any(isinstance(module, nn.ReLU) for module in model.modules())
    assert sum(isinstance(module, nn.ReLU6) for module in model.modules()) == 35


@pytest.mark.parametrize(("options", "side"), [({}, 7), ({"size": 32, "stem": "cifar"}, 4)])
def test_maps_shrink_as_published(options, side):
    model, maps = made(**options), []
    model.features.register_forward_hook(lambda _, __, out: maps.append(out))
    size = options.get("size", 224)
    model(torch.empty(1, 3, size, size, device="meta"))
    assert maps[0].shape == (1, 1280, side, side)


@pytest.mark.parametrize(
    ("width", "first", "last"), [(0.25, 8, 1280), (0.75, 24, 1280), (1.0, 32, 1280), (1.4, 48, 1792)]
)
def test_channels_are_multiples_of_eight(width, first, last):
    model = made(width=width)
    assert (model.features[0][0].out_channels, model.classifier[1].in_features) == (first, last)
    assert all(m.out_channels % 8 == 0 for m in model.modules() if isinstance(m, nn.Conv2d))


def test_input_is_added_where_the_shape_stays():
    x = torch.randn(2, 8, 5, 5)
    block = InvertedResidual(8, 8, 1, 6, "batch").eval()
    assert torch.equal(block(x), x + block.conv(x))
    assert InvertedResidual(8, 8, 2, 6, "batch")(x).shape == (2, 8, 3, 3)
    assert InvertedResidual(8, 16, 1, 6, "batch")(x).shape == (2, 16, 5, 5)
