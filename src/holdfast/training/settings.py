"""What decides the outcome of a training."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from math import isfinite
from typing import Any

from holdfast.core.errors import UsageError

PRECISIONS = ("32-true", "bf16-mixed")


@dataclass(frozen=True)
class Settings:
    """Compared with those of a checkpoint before it is resumed; every value is JSON-able.

    ``train`` and ``val`` are the fingerprints of the data, ``objective`` and ``augment`` texts from
    ``described``, ``init`` the hash of the file that the weights came from. Raises UsageError for a value
    that training cannot work with.
    """

    model: dict[str, Any]
    train: str
    val: str
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    optimizer: str
    seed: int
    objective: str
    augment: str
    patience: int | None
    precision: str
    processes: int
    warmup_epochs: float | None = None
    init: str | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            check_count(name, getattr(self, name), optional=name == "patience")
        if not (isfinite(self.lr) and self.lr > 0):
            raise UsageError("lr", expected="a number > 0", got=self.lr)
        if not (isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise UsageError("weight_decay", expected="a number >= 0", got=self.weight_decay)
        if self.warmup_epochs is not None and not (isfinite(self.warmup_epochs) and self.warmup_epochs >= 0):
            raise UsageError("warmup_epochs", expected="a number >= 0 or None", got=self.warmup_epochs)
        if self.precision not in PRECISIONS:
            raise UsageError("precision", expected=" or ".join(PRECISIONS), got=repr(self.precision))


def check_count(name: str, value: int | None, *, optional: bool = False) -> None:
    """Raise UsageError unless ``value`` is an integer >= 1, or None where that is allowed."""
    if (value is None and optional) or (isinstance(value, int) and value >= 1):
        return
    raise UsageError(name, expected="an integer >= 1" + (" or None" if optional else ""), got=value)


def described(thing: Any) -> str:
    """A text that is the same in every process: the value of a dataclass, the name of anything else."""
    if thing is None:
        return "none"
    if is_dataclass(thing) and not isinstance(thing, type):
        return repr(thing)
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"
