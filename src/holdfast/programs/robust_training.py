"""What programs that train against an attack share: the attack, the judge, the network, the verdict."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from holdfast.core.errors import UsageError
from holdfast.core.result import Label, Record

if TYPE_CHECKING:
    from holdfast.core.protocols import Stressor
    from holdfast.data.stream import Stream
    from holdfast.training import Objective

_JUDGE_STEPS = 20


def adversary(
    info: Any, attack: str, options: dict[str, Any], eps: float | None, eps_gev: float | None
) -> tuple[Objective, Stressor]:
    """The objective ``attack``, and PGD of 20 steps within the same radius to judge by."""
    from holdfast import stress
    from holdfast.training import objectives

    radius = {key: value for key, value in (("eps", eps), ("eps_gev", eps_gev)) if value is not None}
    judge = stress.create("pgd", info=info, steps=_JUDGE_STEPS, **radius)
    hostile = {} if attack == "cross_entropy" else radius
    return objectives.create(attack, info=info, **hostile, **options), judge


def network(model: str, info: Any, norm: str | None, last_norm: bool, options: dict[str, Any]) -> nn.Module:
    """The model called ``model`` for the data that ``info`` describes; ``options`` may name another norm.

    Raises UsageError, also for options that the data decide.
    """
    from holdfast import models

    given = {"norm": norm, **options}
    if fixed := {"name", "in_channels", "classes", "size", "last_norm"} & set(options):
        raise UsageError("options", expected="those of the model alone", got=", ".join(sorted(fixed)))
    return models.create(
        model,
        in_channels=info.shape[0],
        classes=len(info.classes),
        size=info.shape[1],
        last_norm=last_norm,
        **given,
    )


def checked(training: dict[str, Any]) -> dict[str, Any]:
    """``training`` if these are further settings of ``training.fit``. Raises UsageError."""
    from holdfast.training import fit

    own = {"model", "train", "val", "epochs", "out", "batch_size", "lr", "weight_decay", "seed", "objective"}
    known = [key for key in inspect.signature(fit).parameters if key not in {*own, "save"}]
    if unknown := sorted(set(training) - set(known)):
        raise UsageError("training", expected=f"of {', '.join(known)}", got=", ".join(unknown))
    return training


def verdict(
    model: nn.Module, val: Stream, judge: Stressor, out: Path, *, seed: int, labels: dict[str, Label]
) -> list[Record]:
    """Clean and robust accuracy of ``model``, resumable in ``out``."""
    from holdfast import stress

    return stress.evaluate_robustness(
        model, val, judge, out=out, seed=seed, labels={"protection": "plain", "split": "val", **labels}
    )
