"""One call for every baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from holdfast import models
from holdfast.core.errors import UnknownNameError, UsageError
from holdfast.core.seeding import derive
from holdfast.subnet.baselines.at import adversarial_training
from holdfast.subnet.baselines.atmc import atmc
from holdfast.subnet.baselines.constraints import plain
from holdfast.subnet.baselines.hydra import hydra
from holdfast.subnet.baselines.stages import Task, Weights
from holdfast.subnet.networks import network_config
from holdfast.training import Objective, objectives

METHODS: dict[str, Callable[[nn.Module, Task], None]] = {
    "at": adversarial_training,
    "atmc": atmc,
    "hydra": hydra,
}


def train(
    method: str,
    model: str | nn.Module,
    data: tuple[Any, Any],
    *,
    out: Path | str,
    weights: Weights = "float",
    last_norm: bool = False,
    prune_rate: float = 0.99,
    p: float | str = 0.1,
    attack: str | Objective = "pgd",
    epochs: int = 400,
    split: Sequence[float] | None = None,
    batch_size: int = 256,
    lr: float | None = None,
    weight_decay: float = 5e-4,
    seed: int = 0,
    **training: Any,
) -> nn.Module:
    """Train a model that withstands ``attack`` by ``method``, to compare subnetworks with.

    ``method`` is ``at`` (adversarial training; nothing is pruned), ``hydra`` or ``atmc``. ``model`` is a name
    of ``models.create``, made with its family's norms and, with ``last_norm``, one on the logits; or a model
    whose configuration is taken, not its weights, which are drawn from ``seed``. ``data`` are the training
    and the validation stream. ``epochs`` are those of all stages, divided as ``split`` says. ``weights`` are
    ``float``, which learn by SGD with rate ``lr`` (0.1), or ``binary``: those of a layer are ± one number.
    BinaryConnect's latent weights learn by Adam (1e-4), ATMC's by SGD. ``prune_rate`` and ``p`` are as in
    ``prune``; only ATMC takes ``p="global"``. Norms and biases are trained as the architecture has them.
    ``out`` receives a folder a stage, from which a killed run goes on; ``training`` is passed on to
    ``training.fit``.

    The result is a plain model of ``models.create`` on the CPU and in eval mode, with the weights in effect:
    exact zeros where it is pruned. Raises UsageError, and what ``training.fit`` raises.
    """
    if method not in METHODS:
        raise UnknownNameError("baseline", method, METHODS)
    if weights not in get_args(Weights):
        raise UsageError("weights", expected="float or binary", got=weights)
    config = network_config(model, data[0].info, norm=None, last_norm=last_norm, whose="baseline")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        network = models.create(**config.arguments())
    if isinstance(attack, str):
        attack = objectives.create(attack, info=data[0].info)
    by_adam = weights == "binary" and method != "atmc"
    rate = lr if lr is not None else 1e-4 if by_adam else 0.1
    task = Task(
        data=data,
        attack=attack,
        out=Path(out),
        weights=weights,
        prune_rate=prune_rate,
        p=p,
        epochs=epochs,
        split=split,
        lr=rate,
        weight_decay=weight_decay,
        batch_size=batch_size,
        seed=seed,
        training=training,
    )
    METHODS[method](network, task)
    return plain(network)
