import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast import models
from holdfast.models.resnet import PadShortcut

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DATA = Path(os.environ.get("HOLDFAST_DATA", "nowhere"))


@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet20", 269_722), ("resnet32", 464_154)], ids=["resnet20", "resnet32"]
)
def test_parameters_match_the_published_models(name, parameters):
    model = models.create(name, in_channels=3, classes=10, size=32)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize(("narrow", "wide", "size"), [(16, 32, 32), (3, 6, 7), (2, 5, 1)], ids=str)
def test_shortcut_keeps_every_second_pixel_and_pads_with_zeros(narrow, wide, size):
    x = torch.randn(2, narrow, size, size)
    y = PadShortcut(narrow, wide, 2)(x)
    before = (wide - narrow) // 2
    assert torch.equal(y[:, before : before + narrow], x[:, :, ::2, ::2])
    assert y.shape[1] == wide
    assert y[:, :before].abs().sum() + y[:, before + narrow :].abs().sum() == 0


def test_resnet15_is_the_published_notebooks():
    def conv(narrow, wide, kernel=3):
        return kernel * kernel * narrow * wide + 2 * wide  # no bias, but a norm

    stages = [conv(16, 16) * 4]
    stages += [conv(n, 2 * n) + 3 * conv(2 * n, 2 * n) + conv(n, 2 * n, 1) for n in (16, 32)]
    model = models.create("resnet15", in_channels=1, classes=2, size=32, input_norm=False, compress="none")
    count = sum(p.numel() for p in model.parameters())
    assert count == conv(1, 16) + sum(stages) + 65 * 2 == 174_450
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in model.modules()) == 15
    keys = model.state_dict().keys()
    assert {"conv1.weight", "layer1.1.bn2.bias", "layer2.0.shortcut.0.weight", "linear.bias"} <= keys
    assert "layer3.0.shortcut.1.running_var" in keys
    with torch.device("meta"):
        assert model.to("meta").layer3(torch.empty(2, 32, 16, 16)).shape == (2, 64, 8, 8)


@pytest.mark.parametrize("name", ["resnet20", "resnet32"])
def test_names_are_those_of_the_published_state_dicts(name):
    keys = models.create(name, in_channels=3, classes=10, size=32).state_dict().keys()
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer3.2.bn2.bias"} <= keys
    assert {"linear.weight", "linear.bias"} <= keys
    assert {key.split(".")[0] for key in keys} == {"conv1", "bn1", "layer1", "layer2", "layer3", "linear"}


def pretrained(name, file):
    weights = DATA / "cifar10_weights" / file
    if not weights.is_file():
        pytest.skip(f"needs {file} below HOLDFAST_DATA/cifar10_weights")
    model = models.create(name, in_channels=3, classes=10, size=32, mean=MEAN, std=STD)
    models.load_weights(model, weights)
    return model.eval()


@pytest.mark.slow
def test_pretrained_resnet20_reaches_its_published_accuracy_on_all_real_test_images():
    batch = DATA / "cifar-10-batches-py" / "test_batch"
    if not batch.is_file():
        pytest.skip("needs HOLDFAST_DATA/cifar-10-batches-py")
    model = pretrained("resnet20", "resnet20-12fca82f.th")
    content = pickle.loads(batch.read_bytes(), encoding="bytes")
    images = torch.from_numpy(content[b"data"].reshape(-1, 3, 32, 32)).float() / 255
    labels = np.array(content[b"labels"])
    with torch.inference_mode():
        predicted = torch.cat([model(part).argmax(1) for part in images.split(500)]).numpy()
    assert len(labels) == 10_000
    assert 0.916 <= (predicted == labels).mean() <= 0.919


@pytest.mark.parametrize(
    ("name", "file"),
    [("resnet20", "resnet20-12fca82f.th"), ("resnet32", "resnet32-d509ac18.th")],
    ids=["resnet20", "resnet32"],
)
def test_pretrained_weights_load_strictly(name, file):
    model = pretrained(name, file)
    with torch.inference_mode():
        assert torch.isfinite(model(torch.rand(2, 3, 32, 32))).all()
