import pytest
import torch
from torch import nn

from holdfast import models


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_depth_counts_the_layers_with_weights(depth):
    with torch.device("meta"):
        model = models.create(f"vgg{depth}", in_channels=3, classes=10, size=32)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == depth


@pytest.mark.parametrize(("norm", "last"), [(None, "features.34.weight"), ("batch", "features.49.weight")])
def test_names_are_those_of_torchvision(norm, last):
    with torch.device("meta"):
        keys = models.create("vgg19", in_channels=3, classes=10, size=32, norm=norm).state_dict().keys()
    assert {"features.0.weight", last, "classifier.0.weight", "classifier.6.bias"} <= keys
    assert ("features.1.running_mean" in keys) == (norm == "batch")
    assert len([key for key in keys if key.startswith("classifier")]) == 6
