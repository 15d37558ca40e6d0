"""AT: adversarial training of all weights, at full precision or binary (BinaryConnect)."""

from __future__ import annotations

from torch import nn

from holdfast.subnet.baselines.constraints import binarise
from holdfast.subnet.baselines.stages import Task


def adversarial_training(model: nn.Module, task: Task) -> None:
    """Train ``model`` under attack, in one stage, and keep every weight (Madry et al., 2018)."""
    if task.binary:
        binarise(model)
    task.stage("train", model, task.epochs)
