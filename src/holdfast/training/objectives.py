"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from holdfast import stress
from holdfast.core.errors import UsageError
from holdfast.core.registry import Registry
from holdfast.training.named import make

Objective = Callable[[nn.Module, Tensor, Tensor, Generator], Tensor]
"""Takes (model, x (N, C, H, W), y (N,), a CPU generator for every draw); returns the mean loss, a scalar."""

registry: Registry[Callable[..., Objective]] = Registry("objective", "objectives")


def create(name: str, *, info: Any = None, **options: Any) -> Objective:
    """Make the objective ``name`` for the data that ``info`` describes. Raises UsageError."""
    return make(registry, name, options, info=info)


def check_smoothing(smoothing: float) -> None:
    """Raise UsageError unless ``smoothing`` of the labels is in [0, 1)."""
    if not 0 <= smoothing < 1:
        raise UsageError("label smoothing", expected="a number in [0, 1)", got=smoothing)


@dataclass(frozen=True)
class CrossEntropy:
    """Mean cross-entropy in nats, ``smoothing`` of each label spread evenly over the classes."""

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_smoothing(self.smoothing)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        """Loss of a batch."""
        return functional.cross_entropy(model(x), y, label_smoothing=self.smoothing)


@dataclass(frozen=True)
class Noise:
    """Cross-entropy under Gaussian noise and dead channels whose strength is drawn anew for each batch.

    The strengths are uniform from 0 to ``sigma`` (GeV if ``unit_gev`` is known, else a fraction of each
    image's maximum) and from 0 to ``dead`` (fraction of the cells).
    """

    sigma: float
    dead: float
    unit_gev: Any = None
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_smoothing(self.smoothing)
        self._stressors(1.0, 1.0)  # refuses wrong sizes now, not in the first step

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        """Loss of a stressed batch."""
        strengths = torch.rand(2, generator=generator).tolist()
        with ExitStack() as stack:
            for stressor in self._stressors(*strengths):
                x = stack.enter_context(stressor.apply(model, x, y, generator)).x
            return functional.cross_entropy(model(x), y, label_smoothing=self.smoothing)

    def _stressors(self, noise: float, dead: float) -> tuple[stress.GaussianNoise, stress.DeadChannels]:
        key = "sigma_gev" if self.unit_gev else "sigma_fraction_of_max"
        size = {key: noise * self.sigma}
        return (
            stress.GaussianNoise(unit_gev=self.unit_gev, **size),  # type: ignore[arg-type]
            stress.DeadChannels(rate=dead * self.dead),
        )


@registry.register("cross_entropy")
def cross_entropy(*, info: Any = None, smoothing: float = 0.0) -> Objective:
    """Plain training."""
    return CrossEntropy(smoothing)


@registry.register("noise")
def noise(
    *, info: Any = None, sigma: float | None = None, dead: float = 0.1, smoothing: float = 0.0
) -> Objective:
    """Hardening against a noisy detector; ``sigma`` is 1 GeV, or 0.1 of the maximum without units."""
    unit_gev = getattr(info, "unit_gev", None)
    if sigma is None:
        sigma = 1.0 if unit_gev else 0.1
    return Noise(sigma, dead, unit_gev, smoothing)
