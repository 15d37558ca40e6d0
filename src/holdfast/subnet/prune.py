"""Adversarial edge-popup (Liu et al., NeurIPS 2022, algorithm 1): training scores instead of weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Size, nn

from holdfast import models
from holdfast.core.errors import UsageError
from holdfast.subnet.layers import prunable, without_norm
from holdfast.subnet.networks import network_config
from holdfast.subnet.rates import adaptive_counts, channel_counts
from holdfast.subnet.scores import By
from holdfast.subnet.subnetwork import Init, Recipe, Subnetwork
from holdfast.training import FitResult, Objective, fit, objectives


def prune(
    model: str | nn.Module,
    data: tuple[Any, Any],
    *,
    out: Path | str,
    prune_rate: float = 0.99,
    p: float | Literal["global"] = 0.1,
    tilt: float = 0.0,
    counts: Sequence[int] | None = None,
    init: Init = "binary",
    score_init: Literal["normal", "uniform"] = "normal",
    score_scale: float = 0.01,
    by: By = "value",
    attack: str | Objective = "pgd",
    last_norm: bool = True,
    epochs: int = 400,
    batch_size: int = 256,
    lr: float = 0.1,
    weight_decay: float = 5e-4,
    seed: int = 0,
    **training: Any,
) -> Subnetwork:
    """Find a subnetwork of a random network that withstands ``attack``; no weight is ever trained.

    ``model`` is a name of ``models.create`` or a model that it made, whose own weights do not matter;
    ``data`` the training and the validation stream (``holdfast.data.open``). Each layer keeps the number of
    weights that adaptive pruning says (``rates.adaptive_counts`` of ``p`` and ``tilt``), or ``counts``; with
    ``p="global"`` all together keep those with the largest scores, at least one a layer; with
    ``by="channel"`` a layer reads whole channels or not at all (``rates.channel_counts``), the first one all.

    A name is made with norms without affine parameters and, with ``last_norm``, one on the logits. ``attack``
    is an objective of training: pgd, fgsm_rs, n_fgsm, trades, or cross_entropy for none. ``out`` receives the
    checkpoint from which a killed search resumes, its history, and ``best.safetensors``
    (``Subnetwork.load``); ``training`` is passed on to ``training.fit``. The result has the last scores and
    is in eval mode. Warns about layers that no norm follows: their scale is then that of the random weights.

    Raises UsageError for a prune rate outside [0, 1), p < 0, counts that do not fit, or a radius in the wrong
    unit, and what ``training.fit`` raises.
    """
    train, val = data
    config = network_config(model, train.info, norm="batch_no_affine", last_norm=last_norm, whose="prune")
    with torch.device("meta"):
        shapes = [layer.weight.shape for layer in prunable(models.create(**config.arguments())).values()]
    shared = p == "global" and counts is None
    counts = list(_counts(shapes, prune_rate, p, tilt, by) if counts is None else counts)
    found = Subnetwork(config, Recipe(seed, counts, init, score_init, score_scale, by, shared))
    for name in without_norm(found.model):
        warnings.warn(
            f"no normalisation follows layer {name}: its outputs have the scale of random weights",
            stacklevel=2,
        )
    if isinstance(attack, str):
        attack = objectives.create(attack, info=train.info)
    search(
        found,
        train,
        val,
        out=Path(out),
        objective=attack,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        seed=seed,
        **training,
    )
    return found


def search(
    found: Subnetwork, train: Any, val: Any, *, out: Path, optimizer: str = "sgd", **training: Any
) -> FitResult:
    """Train the scores of ``found`` in place; see ``training.fit`` for what is passed on to it."""

    def save(model: nn.Module, path: Path, meta: dict[str, Any]) -> None:
        found.save(path, meta)

    result = fit(found.model, train, val, out=out, optimizer=optimizer, save=save, **training)
    found.model.eval()
    return result


def _counts(shapes: Sequence[Size], prune_rate: float, p: float | str, tilt: float, by: By) -> list[int]:
    if p == "global" and by != "channel":
        p = 1.0  # layers will compete for the sum
    if not isinstance(p, int | float):
        raise UsageError(
            "p",
            expected="a number >= 0; global for single weights",
            got=p,
            remedy="holdfast prune --p auto chooses one by short searches",
        )
    if by == "channel":
        return channel_counts(shapes, prune_rate, p, tilt=tilt)
    return adaptive_counts([shape.numel() for shape in shapes], prune_rate, p, tilt=tilt)
