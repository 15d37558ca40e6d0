"""Checkpoints from which training goes on exactly where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from holdfast.core.errors import DataError, UsageError
from holdfast.core.paths import atomic_path
from holdfast.models.state import why_unreadable
from holdfast.training.moment import Remembering
from holdfast.training.objectives import Objective

_FORMAT = "holdfast.checkpoint/1"


@dataclass
class TrainingState:
    """Where training is: ``step`` steps of epoch ``epoch`` (both from 0) are done.

    ``loss_sum`` is the sum over ``images`` images of this epoch so far; ``history`` holds one line a finished
    epoch; ``best_epoch`` counts from 1, ``stale`` the epochs since. ``stopped`` says why training ended.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    images: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: float | None = None
    best_epoch: int | None = None
    stale: int = 0
    stopped: str | None = None


def save(
    path: Path,
    settings: Mapping[str, Any],
    state: TrainingState,
    model: nn.Module,
    optimizer: Optimizer,
    objective: Objective | None = None,
) -> None:
    """Write everything that decides the rest of the training to ``path`` atomically. Raises StorageError.

    Random states are not part of it: every step draws from seeds of its own.
    """
    content = {
        "format": _FORMAT,
        "settings": json.dumps(settings),
        "state": json.dumps(asdict(state)),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    if isinstance(objective, Remembering):
        content["memory"] = objective.state()
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def load(
    path: Path,
    settings: Mapping[str, Any],
    model: nn.Module,
    optimizer: Optimizer,
    objective: Objective | None = None,
) -> TrainingState | None:
    """Restore ``model``, ``optimizer`` and what ``objective`` remembers in place and return the state.

    Returns None if there is no checkpoint.

    Raises UsageError if the checkpoint was made under other settings, which it names, and DataError if the
    file is damaged.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}")
        before, state = json.loads(content["settings"]), TrainingState(**json.loads(content["state"]))
    # The reader raises whatever the damaged byte leads it into; the file is at fault in every case.
    except Exception as error:
        raise DataError(
            f"checkpoint {path}",
            expected=f"an undamaged {_FORMAT}",
            got=why_unreadable(error),
            remedy="delete it to train from the start",
        ) from error
    _check(path, before, json.loads(json.dumps(settings)))
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    if isinstance(objective, Remembering):
        objective.restore(content["memory"])
    return state


def clean(folder: Path, names: tuple[str, ...]) -> None:
    """Remove what a kill in the middle of an atomic write of ``names`` left in ``folder``."""
    for name in names:
        for leftover in folder.glob(f".{name}.*.part"):
            leftover.unlink(missing_ok=True)


def _check(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if differing:
        raise UsageError(
            f"cannot resume {path}",
            expected=", ".join(f"{key}={before.get(key)}" for key in differing),
            got=", ".join(f"{key}={now.get(key)}" for key in differing),
            remedy="use the same settings or another folder",
        )
