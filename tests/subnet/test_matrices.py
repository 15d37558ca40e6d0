from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from holdfast import models
from holdfast.core.errors import UsageError
from holdfast.subnet import Twin, as_matrices, worth_matrices


def sparse(layer: nn.Conv2d | nn.Linear, seed: int, share: float = 0.2) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.mul_(torch.rand(layer.weight.shape, generator=generator) < share)


def compare(model: nn.Module, x: torch.Tensor) -> None:
    """Outputs and gradients of ``model`` and of its matrices are equal up to rounding."""
    model.eval()
    found = as_matrices(model, tuple(x.shape[1:]))
    results = []
    for network in (model, found):
        z = x.clone().requires_grad_()
        y = network(z)
        weight = torch.linspace(-1, 1, y.numel()).reshape(y.shape)
        results.append((y.detach(), *torch.autograd.grad((y * weight).sum(), z)))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    groups=st.integers(1, 3),
    per_group=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
    n=st.integers(1, 5),
    share=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 1000),
)
def test_a_convolution(groups, per_group, kernel, stride, padding, dilation, bias, n, share, seed) -> None:
    torch.manual_seed(seed)
    channels, maps = (groups * each for each in per_group)
    layer = nn.Conv2d(
        channels, maps, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias
    )
    sparse(layer, seed, share)
    compare(nn.Sequential(layer), torch.randn(n, channels, 8, 9))


@pytest.mark.parametrize("name", ["convnet", "resnet18", "vgg11"])
def test_whole_models(name: str) -> None:
    torch.manual_seed(0)
    options = {"width": 0.25} if name == "convnet" else {"width": 0.125}
    model = models.create(name, in_channels=3, classes=5, size=32, last_norm=True, **options)
    for seed, module in enumerate(model.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            sparse(module, seed)
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, -1, 1)
                nn.init.uniform_(module.bias, -1, 1)
    compare(model, torch.rand(3, 3, 32, 32))


def test_worth_it_where_little_is_kept() -> None:
    layer = nn.Conv2d(4, 40, 5, bias=False)
    assert not worth_matrices(nn.Sequential(layer), (4, 9, 9))
    sparse(layer, 0, 0.02)
    assert worth_matrices(nn.Sequential(layer), (4, 9, 9))
    assert not worth_matrices(nn.Sequential(layer), (4, 900, 900)), "too many entries"


def test_a_twin_answers_fast_unless_a_gradient_is_asked_for() -> None:
    twin = Twin(nn.Identity(), lambda x: -x)
    x = torch.ones(2, 3)
    assert torch.equal(twin(x), -x)
    assert torch.equal(twin(x.clone().requires_grad_()), x)
    with torch.no_grad():
        assert torch.equal(twin(x.clone().requires_grad_()), -x)


@pytest.mark.parametrize("options", [{"padding_mode": "reflect", "padding": 1}, {"padding": "same"}], ids=str)
def test_other_padding_is_refused(options: dict) -> None:
    with pytest.raises(UsageError, match="zero padding"):
        as_matrices(nn.Sequential(nn.Conv2d(1, 1, 3, **options)), (1, 5, 5))
