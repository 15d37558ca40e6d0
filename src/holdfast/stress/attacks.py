"""Adversarial inputs in the L-infinity ball: FGSM (Goodfellow 2015) and PGD (Madry 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from holdfast.core.errors import UsageError
from holdfast.core.protocols import Stressed
from holdfast.core.result import Label
from holdfast.stress.channels import (
    GEV_DEFAULT,
    UnitGev,
    check_size,
    gev_in_input_units,
    normalise_range,
    normalise_unit,
)
from holdfast.stress.registry import stressors
from holdfast.stress.sites import evaluating

EPS_DEFAULT = 8 / 255
"""Usual radius for images, as a fraction of the value range."""


def sample_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of each sample (N,); ``logits`` (N, classes), or (N,) or (N, 1) for two classes."""
    if logits.dim() == 1 or logits.shape[1] == 1:
        return binary_cross_entropy_with_logits(logits.reshape(-1), y.to(logits.dtype), reduction="none")
    return cross_entropy(logits, y.long(), reduction="none")


def linf_attack(
    model: nn.Module, start: Tensor, y: Tensor, low: Tensor, high: Tensor, step: Tensor, steps: int
) -> Tensor:
    """Ascend the loss by ``steps`` sign steps from ``start`` (N, ...) inside [``low``, ``high``].

    Every iterate is scored, the start and the last included; of each sample the one with the highest loss is
    returned. ``model`` must be in eval mode; its parameters receive no gradient.
    """
    # The caller may be in inference mode, in which nothing can be differentiated.
    with torch.inference_mode(False), torch.enable_grad():
        x, best, best_loss = start.clone(), start.clone(), None
        # Clones, since tensors made in inference mode cannot take part in a backward pass.
        y, low, high, step = y.clone(), low.clone(), high.clone(), step.clone()
        for iterate in range(steps + 1):
            x.requires_grad_(iterate < steps)
            with torch.set_grad_enabled(iterate < steps):
                loss = sample_loss(model(x), y)
            worse = (
                loss.detach() > best_loss if best_loss is not None else torch.ones_like(y, dtype=torch.bool)
            )
            shape = worse.reshape(-1, *[1] * (x.dim() - 1))
            best = torch.where(shape, x.detach(), best)
            best_loss = loss.detach() if best_loss is None else torch.where(worse, loss.detach(), best_loss)
            if iterate < steps:
                (gradient,) = torch.autograd.grad(loss.sum(), x)
                x = torch.clamp(x.detach() + step * gradient.sign(), low, high)
    return best


@dataclass(frozen=True)
class LInf:
    """Radius, units and range that all attacks share; the radius is ``eps`` or ``eps_gev``.

    ``eps`` is in input units, ``eps_gev`` in GeV by ``unit_gev`` (channels that are no energies stay as they
    are). By default 0.05 GeV where units are known, else 8/255 of the value range. ``value_range`` (lowest,
    highest; None: open) is by default [0, open) for energies and [0, 1] otherwise; an attack leaves it
    nowhere that the clean input does not. Raises UsageError for a radius larger than the range, and for
    inputs above it: both mean that units were mistaken.
    """

    eps: float | None = None
    eps_gev: float | None = None
    unit_gev: UnitGev = None
    value_range: Sequence[float | None] | None = None
    judged_by: ClassVar[str] = "quality"

    def __post_init__(self) -> None:
        units = normalise_unit(self.unit_gev)
        bounds = normalise_range(self.value_range, units)
        object.__setattr__(self, "unit_gev", units)
        object.__setattr__(self, "value_range", bounds)
        if self.eps is not None and self.eps_gev is not None:
            raise UsageError("attack radius", expected="one of eps, eps_gev", got="both")
        if self.eps is None and self.eps_gev is None:
            if units:
                object.__setattr__(self, "eps_gev", GEV_DEFAULT)
            else:
                object.__setattr__(self, "eps", EPS_DEFAULT * _width(bounds, 1.0))
        for key in ("eps", "eps_gev"):
            if getattr(self, key) is not None:
                check_size(key, getattr(self, key))
        if self.eps is not None and self.eps > _width(bounds, float("inf")):
            raise wrong_unit("eps", f"at most the value range {bounds}", self.eps)

    @property
    def labels(self) -> dict[str, Label]:
        """The radius in the unit it was given in."""
        return {"eps": self.eps} if self.eps is not None else {"eps_gev": self.eps_gev or 0.0}

    def ball(self, x: Tensor, times: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Radius (broadcastable to ``x``), lowest and highest values (as ``x``) in ``times`` the ball."""
        low, high = normalise_range(self.value_range, self.unit_gev)
        if self.eps is not None:
            radius = torch.full_like(x[:1], self.eps)
        else:
            radius = (self.eps_gev or 0.0) * gev_in_input_units(x, normalise_unit(self.unit_gev))
        if x.numel():
            spread = float(x.max() - x.min())
            if high is None and spread > 0 and float(radius.max()) > spread:
                raise wrong_unit(
                    "attack radius", f"at most the spread {spread:.3g} of the inputs", radius.max()
                )
            if high is not None and float(x.max()) > high + 1e-3 * abs(high):
                raise wrong_unit("inputs of an attack", f"values up to {high}", float(x.max()))
        lowest, highest = x - times * radius, x + times * radius
        # A clean value outside the range (noise below zero) stays reachable: eps = 0 changes nothing.
        if low is not None:
            lowest = torch.maximum(lowest, torch.clamp(x, max=low))
        if high is not None:
            highest = torch.minimum(highest, torch.clamp(x, min=high))
        return radius, lowest, highest


def _width(bounds: tuple[float | None, float | None], otherwise: float) -> float:
    low, high = bounds
    return otherwise if low is None or high is None else high - low


def wrong_unit(what: str, expected: str, got: object) -> UsageError:
    """The error of a radius or of inputs that are not in the unit they should be in."""
    remedy = "check the unit: eps is in input units, eps_gev in GeV; value_range says where inputs lie"
    return UsageError(what, expected=expected, got=got, remedy=remedy)


@stressors.register("fgsm")
@dataclass(frozen=True)
class FGSM(LInf):
    """One step of the full radius along the sign of the gradient, from the clean input.

    Of each sample the clean and the attacked input are scored and the worse is kept.
    """

    name: str = "fgsm"

    @contextmanager
    def apply(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Iterator[Stressed]:
        """Yield the model with attacked inputs; ``x`` (N, ...) floating, ``y`` (N,) class numbers."""
        radius, low, high = self.ball(x)
        with evaluating(model):
            attacked = linf_attack(model, x, y, low, high, radius, steps=1)
        yield Stressed(model, attacked, y)


@stressors.register("pgd")
@dataclass(frozen=True)
class PGD(LInf):
    """Projected gradient ascent from a uniformly random start in the ball (``random_start``).

    ``steps`` sign steps of ``step`` times the radius (default 2.5 / steps, as Madry et al.), the best of
    ``restarts`` runs a sample; every iterate is scored and the worst kept.
    """

    steps: int = 10
    step: float | None = None
    random_start: bool = True
    restarts: int = 1
    name: str = "pgd"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.restarts < 1:
            raise UsageError("pgd", expected="steps and restarts >= 1", got=(self.steps, self.restarts))
        if self.step is not None and not (isfinite(self.step) and self.step > 0):
            raise UsageError("pgd step", expected="a positive fraction of the radius", got=self.step)

    @property
    def labels(self) -> dict[str, Label]:
        """Radius, number of steps and, where there are several, of restarts."""
        restarts: dict[str, Label] = {"restarts": self.restarts} if self.restarts > 1 else {}
        return {**super().labels, "steps": self.steps, **restarts}

    def stages(self, classes: int) -> list[tuple[str, PGD]]:
        """Each restart as an attack of its own: what one run has fooled needs no other."""
        if self.restarts == 1:
            return [(self.name, self)]
        return [(f"{self.name}-{i + 1}", replace(self, restarts=1)) for i in range(self.restarts)]

    @contextmanager
    def apply(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Iterator[Stressed]:
        """Yield the model with attacked inputs; ``x`` (N, ...) floating, ``y`` (N,) class numbers."""
        radius, low, high = self.ball(x)
        step = radius * (self.step if self.step is not None else 2.5 / self.steps)
        runs = []
        with evaluating(model):
            for _ in range(self.restarts):
                start = x
                if self.random_start:
                    draw = torch.rand(x.shape, generator=generator, dtype=x.dtype).to(x.device)
                    start = torch.clamp(x + radius * (2 * draw - 1), low, high)
                runs.append(linf_attack(model, start, y, low, high, step, self.steps))
            attacked = _worst(model, runs, y)
        yield Stressed(model, attacked, y)


def _worst(model: nn.Module, runs: list[Tensor], y: Tensor) -> Tensor:
    """Of each sample the run with the highest loss."""
    if len(runs) == 1:
        return runs[0]
    with torch.no_grad():
        losses = torch.stack([sample_loss(model(run), y) for run in runs])
    return torch.stack(runs)[losses.argmax(0), torch.arange(len(y), device=y.device)]
