"""What baselines ask of weights: to be binary, or some of them to be zero.

Both are parametrizations of ``torch.nn.utils.parametrize``: the model stays what ``models.create`` made, with
its biases, and only computes with constrained weights.
"""

from __future__ import annotations

from math import prod, sqrt
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from holdfast import models
from holdfast.models import ModelConfig
from holdfast.models.state import load_strictly
from holdfast.subnet.layers import prunable
from holdfast.subnet.scores import top_mask


class Signs(nn.Module):
    """BinaryConnect (Courbariaux et al., NeurIPS 2015): latent weights w compute as scale · sign(w).

    sign(0) is +1. The gradient passes straight through, and latent weights are kept in [-1, 1].
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, latent: Tensor) -> Tensor:
        """± ``scale``, of the shape of ``latent``."""
        if self.training:
            with torch.no_grad():
                latent.clamp_(-1, 1)
        signs: Tensor = _Sign.apply(latent, self.scale)  # type: ignore[no-untyped-call]
        return signs


class Chosen(nn.Module):
    """The weights with the ``kept`` largest scores compute, the others are 0.

    Gradients go to the scores, straight through as in edge-popup, and to the weights that take part:
    ``requires_grad`` says which of the two learns.
    """

    def __init__(self, scores: Tensor, kept: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)
        self.kept = kept
        self._made: tuple[object, Tensor] | None = None

    @property
    def mask(self) -> Tensor:
        """Bool, of the weight's shape, with exactly ``kept`` ones; worked out once a state of the scores."""
        state = (self.scores.data_ptr(), self.scores._version)
        if self._made is None or self._made[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self._made = state, top_mask(self.scores, self.kept)
        return self._made[1]

    def forward(self, weight: Tensor) -> Tensor:
        """``weight`` where it is kept, else 0."""
        chosen: Tensor = _Masked.apply(weight, self.scores, self.mask)  # type: ignore[no-untyped-call]
        return chosen


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latent: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return torch.where(latent >= 0, scale, -scale).to(latent.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.scale, None


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(weight, mask)
        return torch.where(mask, weight, 0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weight, mask = ctx.saved_tensors
        to_weight = torch.where(mask, gradient, 0) if ctx.needs_input_grad[0] else None
        to_scores = gradient * weight if ctx.needs_input_grad[1] else None
        return to_weight, to_scores, None


def binary_scale(weight: Tensor, kept: int | None = None) -> float:
    """√(2 / fan-in) of ``weight`` (M, C, …), of which ``kept`` (None: all) take part.

    Norms void it. Where none follows, signals keep their size by it (arXiv 1502.01852).
    """
    fan_in = prod(weight.shape[1:])
    return sqrt(2 / fan_in * (1 if kept is None else weight.numel() / kept))


def binarise(model: nn.Module) -> None:
    """Make all prunable weights of ``model`` binary."""
    for layer in prunable(model).values():
        parametrize.register_parametrization(layer, "weight", Signs(binary_scale(layer.weight)))


def constraints(layer: nn.Module, kind: type[Any]) -> list[Any]:
    """The constraints of ``kind`` on the weight of ``layer``."""
    if not parametrize.is_parametrized(layer, "weight"):
        return []
    found = cast("nn.ModuleDict", layer.parametrizations)["weight"]
    return [each for each in cast("nn.ModuleList", found) if isinstance(each, kind)]


def trained_weight(layer: nn.Module) -> nn.Parameter:
    """The parameter behind the weight of ``layer``: the latent one where there are constraints."""
    if not parametrize.is_parametrized(layer, "weight"):
        return cast("nn.Parameter", layer.weight)
    return cast("Any", layer.parametrizations)["weight"].original  # type: ignore[no-any-return]


def plain(model: nn.Module) -> nn.Module:
    """A new model of the same configuration, on the CPU and in eval mode, that has the weights in effect."""
    config = cast("ModelConfig", model.config)
    with torch.random.fork_rng(devices=[]):
        twin = models.create(**config.arguments())
    state = {key: value for key, value in model.state_dict().items() if ".parametrizations." not in key}
    with torch.no_grad():
        state |= {f"{name}.weight": layer.weight.detach() for name, layer in prunable(model).items()}
    load_strictly(twin, {key: value.cpu() for key, value in state.items()}, config.name)
    return twin.eval()


def save_plain(model: nn.Module, path: Path, meta: dict[str, Any]) -> None:
    """Write ``plain(model)`` as ``models.save`` does."""
    models.save(plain(model), path, meta)
