import pytest
import torch

from holdfast import models


def made(name, **options):
    with torch.device("meta"):
        return models.create(name, in_channels=3, classes=10, size=32, **options).eval()


@pytest.mark.parametrize(("name", "convs"), [("resnet18", 2), ("resnet50", 3)])
def test_names_are_those_of_torchvision(name, convs):
    keys = made(name).state_dict().keys()
    block = {f"layer1.0.conv{i}.weight" for i in range(1, convs + 1)}
    assert block | {"conv1.weight", "bn1.running_var", "layer4.1.bn2.bias", "fc.weight", "fc.bias"} <= keys
    assert {"layer2.0.downsample.0.weight", "layer2.0.downsample.1.weight"} <= keys
    assert ("layer1.0.downsample.0.weight" in keys) == (name == "resnet50")
    assert not [key for key in keys if "layer2.1.downsample" in key]


@pytest.mark.parametrize(("stem", "side"), [(None, 1), ("imagenet", 1), ("cifar", 4)])
def test_stem_for_small_images_keeps_their_resolution(stem, side):
    model = made("resnet18", stem=stem)
    maps = []
    model.layer4.register_forward_hook(lambda _, __, out: maps.append(out))
    model(torch.empty(1, 3, 32, 32, device="meta"))
    assert maps[0].shape == (1, 512, side, side)
    assert model.conv1.kernel_size == ((3, 3) if stem == "cifar" else (7, 7))


def test_resnet34_for_32_has_the_weights_that_are_pruned():
    """21,265,088 in convolutions and the last layer, as counted for the CIFAR-10 form."""
    model = made("resnet34", stem="cifar")
    assert sum(p.numel() for p in model.parameters() if p.dim() > 1) == 21_265_088


def test_bottleneck_strides_in_its_middle():
    block = made("resnet50").layer2[0]
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))
