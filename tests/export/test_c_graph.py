"""Networks become steps; what cannot is refused by name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from export_support import allowed, build, logits, needs_cc, packed
from torch import Tensor, nn

from holdfast import models
from holdfast.core.errors import UsageError
from holdfast.export.c_graph import steps_of
from holdfast.export.c_steps import Pointwise, Product


def kinds(name: str, **options: object) -> Counter[str]:
    return Counter(type(step).__name__ for step in steps_of(packed(name, **options)))  # type: ignore[arg-type]


def test_norms_activations_and_sums_cost_no_step_of_their_own() -> None:
    assert kinds("convnet") == {"Pointwise": 1, "Product": 5}
    assert kinds("cnn") == {"Pointwise": 1, "Product": 6, "Pool": 3}
    assert kinds("resnet20", width=0.25) == {"Pointwise": 1, "Product": 22, "Pool": 1}
    assert kinds("resnet18", width=0.05) == {"Pointwise": 1, "Product": 21, "Pool": 2}


def test_a_residual_is_added_after_both_of_its_terms() -> None:
    made = set()
    for step in steps_of(packed("resnet18", width=0.05, stem="cifar")):
        assert isinstance(step, Pointwise | Product) or step.source in made
        for maps in (step.source, getattr(step, "residual", None)):
            assert maps is None or maps in made
        made.add(step.out)


class Odd(nn.Module):
    """What no family does: norms after activations, shared maps, sums of sums, dilation, groups."""

    def __init__(self, config: models.ModelConfig) -> None:
        super().__init__()
        self.one = nn.Conv2d(config.in_channels, 4, 3, padding=(1, 0), dilation=(1, 2), bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.two = nn.Conv2d(4, 4, (1, 3), padding=(0, 1), groups=2, bias=False)
        self.pool = nn.MaxPool2d(3, 1, padding=1)
        self.last = nn.MaxPool2d(2, ceil_mode=True)
        self.relu = nn.ReLU(inplace=False)
        self.classifier = nn.Linear(4 * 6 * 4, config.classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.relu(self.one(x)))
        y = self.two(x)
        z = self.relu(y) + self.pool(y)
        z = torch.add(z, x) + x
        z += self.two(z).relu()
        logits: Tensor = self.classifier(torch.flatten(self.last(nn.functional.relu6(z)), 1))
        return logits


@needs_cc
def test_a_graph_that_folds_badly_is_still_computed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(models.registry._entries, "odd", Odd)
    network = packed("odd", prune_rate=0.3, norm=None, last_norm=False)
    images = torch.randn(5, 2, 12, 12)
    with torch.no_grad():
        expected = network.to_module().double()(images.double())
    for flash in ("fast", "compact"):
        found = logits(build(network, tmp_path / flash, flash=flash), images)
        assert ((found - expected).abs().amax(1) <= allowed(expected)).all()


class Short(nn.Module):
    """A 1×1 convolution, ``module`` after it, and the mean."""

    def __init__(self, config: models.ModelConfig, module: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(config.in_channels, config.classes, 1, bias=False)
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.module(self.conv(x)).mean((2, 3))
        return logits


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


REFUSED = {
    "LocalResponseNorm": nn.LocalResponseNorm(3),
    "GELU": nn.GELU(),
    "truediv": Halved(),
    "AvgPool2d: padding": nn.AvgPool2d(2, padding=1),
    "InstanceNorm2d": nn.InstanceNorm2d(3),
    "no graph without branches": Branch(),
}


@pytest.mark.parametrize("named", REFUSED)
def test_what_cannot_be_exported_is_named(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.registry._entries, "odd", lambda config: Short(config, REFUSED[named]))
    with pytest.raises(UsageError, match=named) as caught:
        steps_of(packed("odd", norm=None, last_norm=False))
    assert "C export of model 'odd'" in str(caught.value)
    assert "to_module" in str(caught.value)


@needs_cc
def test_a_pool_and_an_activation_hand_nan_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    modules = nn.Sequential(nn.MaxPool2d(2), nn.ReLU())
    monkeypatch.setitem(models.registry._entries, "odd", lambda config: Short(config, modules))
    network = packed("odd", prune_rate=0, norm=None, last_norm=False)
    images = torch.rand(3, 2, 12, 12)
    images[1, 0, 0, 0] = float("nan")  # the first of its window
    images[2, 1, 11, 11] = float("nan")  # the last
    found = logits(build(network, tmp_path), images)
    assert found.isnan().all(1).tolist() == [False, True, True]
    with torch.no_grad():
        torch.testing.assert_close(found, network.to_module()(images), equal_nan=True)
