import pytest
import torch

from holdfast import models
from holdfast.core.protocols import named_layers


def count(**options):
    model = models.create("cnn", in_channels=2, classes=2, size=32, **options)
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameters_match_the_seed():
    assert 29_500 <= count() <= 31_000


def test_width_scales_parameters_about_quadratically():
    assert count(width=0.5) < count() / 3
    assert 10 * count() < count(width=4) < 20 * count()


def test_layers_have_stable_names():
    model = models.create("cnn", in_channels=2, classes=2, size=32)
    with_weights = [name for name, layer in named_layers(model) if hasattr(layer, "kernel_size")]
    assert [name for name in with_weights if name.endswith("conv")] == [f"blocks.{i}.conv" for i in range(5)]


def test_it_can_overfit_images_as_faint_as_detector_ones():
    torch.manual_seed(0)
    x = 1e-3 * torch.rand(32, 2, 16, 16)
    y = torch.arange(32) % 2
    x[y == 1, 0, 8, 8] += 5e-3
    model = models.create("cnn", in_channels=2, classes=2, size=16, width=0.5, dropout=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert (model.eval()(x).argmax(1) == y).float().mean() > 0.9


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_pixels_are_not_hidden(value):
    model = models.create("cnn", in_channels=2, classes=2, size=16).eval()
    x = torch.zeros(1, 2, 16, 16)
    x[0, 0, 8, 8] = value
    assert not torch.isfinite(model(x)).all()
