"""Adversarial training: which attack each step makes, and what is minimised under it.

All attacks start from the batch, stay in its L∞ ball and in the range of the data (``stress.attacks``), and
see the model in eval mode, so that the running statistics of its norms never see an iterate that is not
trained on. The last iterate is taken, unscored, as the papers do; evaluation (``stress``) scores every one.
With ``radius_epochs`` the radius rises linearly from 0 over that many epochs: without it, training in large
balls may not begin to learn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from holdfast import stress
from holdfast.core.errors import UsageError
from holdfast.stress.attacks import sample_loss
from holdfast.stress.sites import evaluating
from holdfast.training.moment import Moment
from holdfast.training.objectives import Objective, check_smoothing, registry


@dataclass(frozen=True)
class Adversarial:
    """Cross-entropy of inputs that ``steps`` sign steps have made hostile.

    ``ball`` says radius, units and range. The start is uniform in ``noise`` times the radius around the
    input, each step is ``step`` times the radius; with ``clip`` the iterates stay in the ball, else only in
    the range. ``smoothing`` is that of the labels.
    """

    ball: stress.PGD
    steps: int
    step: float
    noise: float = 1.0
    clip: bool = True
    smoothing: float = 0.0
    radius_epochs: float = 0.0

    def __post_init__(self) -> None:
        check_smoothing(self.smoothing)
        check_radius_epochs(self.radius_epochs)

    def at(self, moment: Moment) -> Adversarial:
        """The same with the radius of ``moment``."""
        return replace(self, ball=ball_at(self.ball, self.radius_epochs, moment))

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        """Loss of the attacked batch."""
        attacked = self.attack(model, x, y, generator)
        return functional.cross_entropy(model(attacked), y, label_smoothing=self.smoothing)

    def attack(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        """The hostile inputs."""
        radius, low, high = self.ball.ball(x)
        if not self.clip:
            low, high = self.ball.ball(x, times=self.noise + self.step)[1:]
        start = torch.clamp(x + self.noise * radius * uniform(x, generator), low, high)
        with attacked(model) as inner:
            for _ in range(self.steps):
                start = ascend(inner, start, y, self.step * radius, low, high)
        return start


@dataclass(frozen=True)
class Trades:
    """Cross-entropy of the clean inputs and ``beta`` times the KL divergence of hostile ones from them.

    The hostile inputs maximise that divergence (Zhang et al., ICML 2019, eq. 5), from a start 0.001 of the
    range away.
    """

    ball: stress.PGD
    steps: int
    step: float
    beta: float = 6.0
    smoothing: float = 0.0
    radius_epochs: float = 0.0

    def __post_init__(self) -> None:
        check_smoothing(self.smoothing)
        check_radius_epochs(self.radius_epochs)

    def at(self, moment: Moment) -> Trades:
        """The same with the radius of ``moment``."""
        return replace(self, ball=ball_at(self.ball, self.radius_epochs, moment))

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        """Loss of a batch."""
        radius, low, high = self.ball.ball(x)
        start = torch.clamp(x + 0.1 * radius * uniform(x, generator), low, high)
        with attacked(model) as inner:
            with torch.no_grad():
                clean = functional.log_softmax(inner(x), 1)
            for _ in range(self.steps):
                start.requires_grad_()
                loss = _divergence(functional.log_softmax(inner(start), 1), clean)
                (gradient,) = torch.autograd.grad(loss, start)
                start = torch.clamp(start.detach() + self.step * radius * gradient.sign(), low, high)
        logits = model(torch.cat([x, start]))
        natural, robust = logits.chunk(2)
        divergence = _divergence(functional.log_softmax(robust, 1), functional.log_softmax(natural, 1))
        plain = functional.cross_entropy(natural, y, label_smoothing=self.smoothing)
        return plain + self.beta * divergence / len(x)


def _divergence(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Σ KL(p ‖ q) over the batch."""
    return functional.kl_div(log_q, log_p, reduction="sum", log_target=True)


def uniform(x: Tensor, generator: Generator) -> Tensor:
    """Numbers in [-1, 1) of the shape of ``x``."""
    return (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1).to(x.device)


@contextmanager
def attacked(model: nn.Module) -> Iterator[nn.Module]:
    """The model in eval mode, its parameters without gradients (masked layers are quicker then).

    It is the model without what shares it among processes, which counts forward passes.
    """
    while isinstance(getattr(model, "module", None), nn.Module):
        model = model.module  # type: ignore[assignment]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        with evaluating(model):
            yield model
    finally:
        for parameter in learning:
            parameter.requires_grad_()


def ascend(model: nn.Module, x: Tensor, y: Tensor, step: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """``x`` one ``step`` along the sign of the gradient of its loss, inside [``low``, ``high``]."""
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(sample_loss(model(x), y).sum(), x)
    return torch.clamp(x.detach() + step * gradient.sign(), low, high)


def ball_at(ball: stress.PGD, radius_epochs: float, moment: Moment) -> stress.PGD:
    """``ball`` with its radius at ``moment`` of a linear rise over ``radius_epochs`` epochs."""
    share = moment.ramp(radius_epochs)
    if ball.eps is not None:
        return replace(ball, eps=share * ball.eps)
    return replace(ball, eps_gev=share * (ball.eps_gev or 0.0))


def check_radius_epochs(epochs: float) -> None:
    """Raise UsageError unless ``epochs`` is a finite number >= 0."""
    if not (isfinite(epochs) and epochs >= 0):
        raise UsageError("radius_epochs", expected="a finite number >= 0", got=epochs)


def ball_of(info: Any, eps: float | None, eps_gev: float | None) -> stress.PGD:
    return stress.PGD(
        eps=eps,
        eps_gev=eps_gev,
        unit_gev=getattr(info, "unit_gev", None),
        value_range=getattr(info, "value_range", None),
    )


@registry.register("pgd")
def pgd(
    *,
    info: Any = None,
    eps: float | None = None,
    eps_gev: float | None = None,
    steps: int = 10,
    step: float = 0.25,
    smoothing: float = 0.0,
    radius_epochs: float = 0.0,
) -> Objective:
    """PGD (Madry et al., 2018): ``steps`` steps of ``step`` times the radius from a random start."""
    return Adversarial(
        ball_of(info, eps, eps_gev), steps, step, smoothing=smoothing, radius_epochs=radius_epochs
    )


@registry.register("fgsm_rs")
def fgsm_rs(
    *,
    info: Any = None,
    eps: float | None = None,
    eps_gev: float | None = None,
    step: float = 1.25,
    smoothing: float = 0.0,
    radius_epochs: float = 0.0,
) -> Objective:
    """FGSM from a random start (Wong et al., 2020)."""
    return Adversarial(ball_of(info, eps, eps_gev), 1, step, smoothing=smoothing, radius_epochs=radius_epochs)


@registry.register("n_fgsm")
def n_fgsm(
    *,
    info: Any = None,
    eps: float | None = None,
    eps_gev: float | None = None,
    noise: float = 2.0,
    smoothing: float = 0.0,
    radius_epochs: float = 0.0,
) -> Objective:
    """N-FGSM (de Jorge et al., 2022): one step of the radius from ``noise`` times it, without clipping."""
    ball = ball_of(info, eps, eps_gev)
    return Adversarial(ball, 1, 1.0, noise, clip=False, smoothing=smoothing, radius_epochs=radius_epochs)


@registry.register("trades")
def trades(
    *,
    info: Any = None,
    eps: float | None = None,
    eps_gev: float | None = None,
    steps: int = 10,
    step: float = 0.25,
    beta: float = 6.0,
    smoothing: float = 0.0,
    radius_epochs: float = 0.0,
) -> Objective:
    """TRADES with the weight ``beta`` of robustness."""
    return Trades(ball_of(info, eps, eps_gev), steps, step, beta, smoothing, radius_epochs)
