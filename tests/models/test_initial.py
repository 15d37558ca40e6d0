import pytest
import torch

from holdfast import models


@pytest.mark.parametrize("name", ["vgg19", "resnet50"])
def test_signals_keep_their_size_without_norms(name):
    """After 16 and more convolutions the maps are neither lost nor overflowing."""
    torch.manual_seed(0)
    model = models.create(name, in_channels=3, classes=10, size=32, width=1 / 4, norm="none").eval()
    last = model.features if name == "vgg19" else model.layer4
    maps = []
    last.register_forward_hook(lambda _, __, out: maps.append(out))
    with torch.inference_mode():
        model(torch.randn(2, 3, 32, 32))
    assert 1e-3 < float(maps[0].abs().mean()) < 1e5
