"""The optimizers that training takes by name."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from holdfast.core.errors import UnknownNameError

NAMES = ("adamw", "sgd")
MOMENTUM = 0.9


def create(name: str, model: nn.Module, lr: float, weight_decay: float) -> Optimizer:
    """AdamW, or SGD with momentum 0.9; norms and biases do not decay. Raises UnknownNameError."""
    groups = _parameter_groups(model, weight_decay)
    if name == "adamw":
        return AdamW(groups, lr=lr)
    if name == "sgd":
        return SGD(groups, lr=lr, momentum=MOMENTUM)
    raise UnknownNameError("optimizer", name, NAMES)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and norms, which have one dimension, do not."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
