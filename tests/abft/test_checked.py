"""The exportable form: same output, and a deviation a layer that tells a fault."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast import protect

LAYERS = {
    "conv1d": (lambda: nn.Conv1d(3, 4, 3, padding=1, stride=2), (2, 3, 9)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2, padding_mode="reflect"), (3, 4, 6, 5)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2, bias=False), (2, 2, 4, 4, 4)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, output_padding=1), (2, 4, 5, 5)),
    "linear": (lambda: nn.Linear(7, 5), (4, 7)),
    "linear on tokens": (lambda: nn.Linear(7, 5), (4, 3, 7)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_same_output_and_the_same_deviation(name: str) -> None:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    model = nn.Sequential(make()).eval()
    x = torch.randn(*shape)
    protected = protect(model, plan=None)
    ratios = []
    with protected.guard.watched(lambda layer, deviation, threshold: ratios.append(deviation / threshold)):
        out = protected(x)
    checked, deviation = protected.checked()(x)
    assert torch.equal(checked, out)
    assert deviation.dtype is torch.float32
    assert deviation.tolist() == pytest.approx(ratios, rel=1e-3, abs=1e-6)
    assert 0 <= deviation.max() <= 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, 5.0])
def test_exported_and_compiled_it_still_tells_a_damaged_weight(value: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5)).eval()
    x = torch.randn(2, 2, 6, 6)
    checked = protect(model).checked()
    program = torch.export.export(checked, (x,))
    with torch.no_grad():
        out, deviation = program.module()(x)
        assert torch.allclose(out, model(x), atol=1e-6)
        assert (deviation <= 1).all()
        name = next(key for key in program.state_dict if key.endswith("0.layer.weight"))
        program.state_dict[name][1, 0, 2, 2] = value
        _, damaged = program.module()(x)
    assert not damaged[0] <= 1
    assert not damaged.isnan().any()


def test_it_compiles() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 1)).eval()
    x = torch.randn(2, 2, 6, 6)
    with torch.no_grad():
        out, deviation = torch.compile(protect(model).checked(), backend="eager", fullgraph=True)(x)
        assert torch.allclose(out, model(x), atol=1e-6)
    assert deviation.shape == (2,)


def test_a_protected_model_itself_compiles() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()).eval()
    x = torch.randn(2, 2, 6, 6)
    protected = protect(model, plan=None)
    with torch.no_grad():
        assert torch.allclose(torch.compile(protected, backend="eager")(x), model(x), atol=1e-6)
    assert not protected.events
