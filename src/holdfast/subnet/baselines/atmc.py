"""ATMC (Gui et al., NeurIPS 2019): sparsity and quantisation as constraints of adversarial training.

The attacked loss is minimised over weights θ with a limited number of non-zeros, by projection after every
step, and for binary weights with θ = z, z ∈ ± one number a layer, by the alternating direction method of
multipliers: the loss gets ρ/2 ‖θ - z + u‖²; every few steps z becomes the nearest binary weights to θ + u,
and u grows by θ - z. In the end the weights are θ, or the nearest binary ones to θ. The paper's low-rank
factors are left out; beyond it, the statistics of the norms are measured anew under binary weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from holdfast.subnet.baselines.constraints import trained_weight
from holdfast.subnet.baselines.stages import Task
from holdfast.subnet.global_rate import global_counts
from holdfast.subnet.layers import prunable
from holdfast.subnet.rates import kept_in_all
from holdfast.subnet.scores import top_mask

SPLIT = (1, 1)
"""Epochs of pretraining at full precision, and of training under the constraints."""
RHO = 0.1
EVERY = 5
"""Weight of the penalty, and steps between two updates of z and u: those of the authors' code."""


def atmc(model: nn.Module, task: Task) -> None:
    """Pretrain ``model``, then train it under its constraints; both at full precision, under attack.

    ``p="global"`` limits the non-zeros of all layers together, a number those of each as adaptive pruning
    says. Norms and biases learn in both stages.
    """
    layers = list(prunable(model).values())
    sizes = [layer.weight.numel() for layer in layers]
    counts = None if task.p == "global" else task.counts(sizes)
    total = kept_in_all(sizes, task.prune_rate)
    pretraining, compressing = task.epochs_of(SPLIT)
    by_sgd = {"optimizer": "sgd", "weight_decay": task.weight_decay}
    task.stage("pretrain", model, pretraining, **by_sgd)
    if task.binary:
        for layer in layers:
            multiplier = Multiplier(layer.weight)
            parametrize.register_parametrization(layer, "weight", multiplier)
            trained_weight(layer).register_hook(multiplier.pull(layer))  # type: ignore[no-untyped-call]
    sparse = Sparse(layers, total, counts)
    model.register_forward_pre_hook(sparse)
    task.stage("compress", model, compressing, **by_sgd)
    sparse()
    if task.binary:
        for layer, mask in zip(layers, sparse.masks, strict=True):
            weight = trained_weight(layer)
            weight.data.copy_(nearest_binary(weight.detach(), mask))
        sparse.freeze()
        task.restate(model)


class Sparse:
    """A forward pre-hook that keeps the largest weights of ``layers`` and sets the others to 0, in place.

    Each layer keeps its number of ``counts``, or all together ``total``.
    """

    def __init__(self, layers: Sequence[nn.Module], total: int, counts: Sequence[int] | None) -> None:
        self.weights = [trained_weight(layer) for layer in layers]
        self.total, self.counts = total, counts
        self.masks: list[Tensor] = []
        self.seen: object = None
        self.frozen = False

    def __call__(self, *_: Any) -> None:
        """Project, if the weights have changed since."""
        if self.frozen or self.seen == self._state():
            return
        with torch.inference_mode(False), torch.no_grad():
            counts = self.counts or global_counts(self.weights, self.total, "magnitude")
            chosen = zip(self.weights, counts, strict=True)
            self.masks = [top_mask(weight, kept, "magnitude") for weight, kept in chosen]
            for weight, mask in zip(self.weights, self.masks, strict=True):
                weight.masked_fill_(~mask, 0)
        self.seen = self._state()

    def freeze(self) -> None:
        """Leave the weights as they are from now on."""
        self.frozen = True

    def _state(self) -> list[tuple[int, int]]:
        return [(weight.data_ptr(), weight._version) for weight in self.weights]


class Multiplier(nn.Module):
    """The identity, with z (``target``), the scaled multiplier u (``dual``) and the number of ``steps``."""

    target: Tensor
    dual: Tensor
    steps: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("target", weight.detach().clone())
        self.register_buffer("dual", torch.zeros_like(weight))
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, weight: Tensor) -> Tensor:
        """``weight``."""
        return weight

    def pull(self, layer: nn.Module) -> Any:
        """A hook on the gradient of θ: it adds ρ (θ - z + u), after updating z and u when it is time."""

        def pulled(gradient: Tensor) -> Tensor:
            weight = trained_weight(layer).detach()
            if int(self.steps) % EVERY == 0:
                self.target.copy_(nearest_binary(weight + self.dual, weight != 0))
                self.dual.add_(weight - self.target).masked_fill_(weight == 0, 0)
            self.steps += 1
            return gradient + RHO * (weight - self.target + self.dual)

        return pulled


def nearest_binary(weight: Tensor, mask: Tensor) -> Tensor:
    """The nearest weights to ``weight`` that are ± one number where ``mask`` is, and 0 elsewhere.

    That number is the mean size of ``weight`` there; the sign of 0 is +.
    """
    scale = weight.abs()[mask].mean()
    return torch.where(mask, torch.where(weight >= 0, scale, -scale), 0)
