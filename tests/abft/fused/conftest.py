"""Small models with every kind of chain."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from holdfast.kernels import native


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/abft/fused" in str(item.path) and not native.variants():
            item.add_marker(pytest.mark.skip(reason="the native core is not built"))


class Block(nn.Module):
    """Two convolutions with norms beside a projected shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Input (N, C, H, W)."""
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        y += self.down(x)
        return self.relu(y)


class Plain(nn.Module):
    """Identity shortcuts, functional and method activations."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1, bias=False)
        self.c, self.d = nn.Conv2d(8, 8, 3, padding=2, dilation=2), nn.Conv2d(8, 8, 3, padding=1, groups=8)

    def forward(self, x: Tensor) -> Tensor:
        """Input (N, 8, H, W)."""
        x = self.b(nn.functional.relu6(self.a(x))) + x
        y = nn.functional.leaky_relu(self.c(x), 0.1)
        return torch.cat([y, x.add(self.d(y)).relu()], 1)


def small(seed: int = 0) -> nn.Module:
    """A model of 12 protected layers on (N, 3, 20, 20), in eval mode, its norms no identities."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 5, 2, 2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        Plain(),
        Block(16, 24, 2),
        Block(24, 24, 1, groups=4),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 33),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(33, 10),
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return model.eval()


@pytest.fixture
def model() -> nn.Module:
    return small()
