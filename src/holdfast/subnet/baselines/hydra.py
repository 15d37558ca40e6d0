"""HYDRA (Sehwag et al., NeurIPS 2020): pretrain, learn which weights to keep, and finetune those."""

from __future__ import annotations

from math import prod, sqrt

from torch import Tensor, nn
from torch.nn.utils import parametrize

from holdfast.subnet.baselines.constraints import (
    Chosen,
    Signs,
    binarise,
    binary_scale,
    constraints,
    trained_weight,
)
from holdfast.subnet.baselines.stages import Task
from holdfast.subnet.layers import prunable

SPLIT = (5, 1, 5)
"""Epochs of the stages: the paper takes 100, 20 and 100."""
SCORES = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4}
"""How scores learn, those of binary weights too."""
FINETUNING = 0.1
"""Learning rate of the last stage, as a part of that of the first; binary weights keep theirs."""


def hydra(model: nn.Module, task: Task) -> None:
    """Prune ``model`` by scores that are learnt while its pretrained weights stand still.

    Each layer keeps as many weights as adaptive pruning says. Binary weights are BinaryConnect's in the first
    and in the last stage. Norms and biases learn in every stage.
    """
    layers = list(prunable(model).values())
    counts = task.counts([layer.weight.numel() for layer in layers])
    pretraining, choosing, finetuning = task.epochs_of(SPLIT)
    if task.binary:
        binarise(model)
    task.stage("pretrain", model, pretraining)
    for layer, kept in zip(layers, counts, strict=True):
        for signs in constraints(layer, Signs):
            signs.scale = binary_scale(layer.weight, kept)
        chosen = Chosen(first_scores(trained_weight(layer)), kept)
        parametrize.register_parametrization(layer, "weight", chosen)
    _let_learn(model, scores=True)
    task.stage("choose", model, choosing, **SCORES)
    _let_learn(model, scores=False)
    task.stage("finetune", model, finetuning, lr=task.lr * (1 if task.binary else FINETUNING))


def first_scores(weight: Tensor) -> Tensor:
    """Scores in proportion to the size of pretrained weights: √(6 / fan-in) |w| / max |w| (its eq. 3)."""
    size = weight.detach().abs()
    return sqrt(6 / prod(weight.shape[1:])) * size / size.max().clamp_min(1e-12)


def _let_learn(model: nn.Module, *, scores: bool) -> None:
    for layer in prunable(model).values():
        trained_weight(layer).requires_grad_(not scores)
        for chosen in constraints(layer, Chosen):
            chosen.scores.requires_grad_(scores)
