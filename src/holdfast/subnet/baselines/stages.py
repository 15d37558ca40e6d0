"""What the stages of a baseline share: data, attack, folder, and how long each takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Generator, nn
from torch.nn.modules.batchnorm import _BatchNorm

from holdfast.core.errors import UsageError
from holdfast.core.seeding import derive
from holdfast.subnet.baselines.constraints import save_plain
from holdfast.subnet.rates import adaptive_counts
from holdfast.training import Objective, fit

Weights = Literal["float", "binary"]


@dataclass(frozen=True)
class Task:
    """What a baseline is to do; ``rate`` are prune rate and p, ``lr`` and ``weight_decay`` those of weights.

    ``epochs`` are divided among the stages as ``split`` says (None: as the method does).
    """

    data: tuple[Any, Any]
    attack: Objective
    out: Path
    weights: Weights
    prune_rate: float
    p: float | str
    epochs: int
    split: Sequence[float] | None
    lr: float
    weight_decay: float
    batch_size: int
    seed: int
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def binary(self) -> bool:
        """Whether weights are to be binary."""
        return self.weights == "binary"

    def stage(self, name: str, model: nn.Module, epochs: int, **changed: Any) -> None:
        """Train ``model`` in the folder ``name``; a stage that ended there before is not done again.

        Weights learn as the task says: float ones by SGD, binary ones by Adam. ``changed`` is passed on.
        """
        options = {
            "optimizer": "adamw" if self.binary else "sgd",  # without decay, AdamW is Adam
            "lr": self.lr,
            "weight_decay": 0.0 if self.binary else self.weight_decay,
            "objective": self.attack,
            **self.training,
            **changed,
        }
        train, val = self.data
        fit(
            model,
            train,
            val,
            out=self.out / name,
            epochs=epochs,
            batch_size=self.batch_size,
            seed=derive(self.seed, name),
            save=save_plain,
            **options,
        )
        model.eval()

    def counts(self, sizes: Sequence[int]) -> list[int]:
        """Weights that layers of ``sizes`` keep. Raises UsageError for values that do not fit."""
        if isinstance(self.p, str):
            raise UsageError("p", expected="a number >= 0; global is ATMC's", got=self.p)
        return adaptive_counts(sizes, self.prune_rate, self.p)

    def epochs_of(self, default: Sequence[float]) -> list[int]:
        """Epochs of each stage: at least one, together ``epochs``, in proportion to ``split``."""
        shares = list(default if self.split is None else self.split)
        if len(shares) != len(default) or min(shares) <= 0 or self.epochs < len(shares):
            raise UsageError(
                "split",
                expected=f"{len(default)} numbers > 0 and as many epochs",
                got=f"{shares}, {self.epochs} epochs",
            )
        rest, found = self.epochs, []
        for index, share in enumerate(shares):
            others = len(shares) - index - 1
            wanted = round(rest * share / sum(shares[index:]))
            found.append(max(1, min(wanted, rest - others)))
            rest -= found[-1]
        return found

    def restate(self, model: nn.Module) -> None:
        """Measure the statistics of the norms of ``model`` anew, in one pass over attacked training data."""
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over all batches
        device = next(model.parameters()).device
        model.train()
        for index, (x, y) in enumerate(self.data[0].batches(self.batch_size, epoch=0, shuffle=True)):
            if len(y) > 1:
                generator = Generator().manual_seed(derive(self.seed, "restate", index))
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(derive(self.seed, "restate", index))  # dropout
                    self.attack(model, x.to(device), y.to(device), generator)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.eval()
