"""What ends an epoch: a look at the validation data, and which number of it chooses the best epoch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.bench.metrics import evaluate
from holdfast.core.stats import roc_auc


class Judge(Protocol):
    """Measures a model on validation batches."""

    higher: ClassVar[bool]
    """Whether more of the metric is better."""

    def __call__(
        self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
    ) -> dict[str, float | None] | None:
        """What was measured, by name; None if it is not finite."""

    def metric(self, line: dict[str, Any]) -> str:
        """Name of the number in ``line`` that is to become best."""


class Classification:
    """Cross-entropy, accuracy and, for two classes, ROC-AUC, which then decides; else accuracy does."""

    higher: ClassVar[bool] = True

    def __call__(
        self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
    ) -> dict[str, float | None] | None:
        """``val_loss``, ``val_accuracy`` and ``val_auc``; None for logits that are not finite."""
        found = evaluate(model, batches, device=device)
        if not np.isfinite(found.logits).all():
            return None
        auc = roc_auc(found.labels, found.scores)[0] if found.has_auc else None
        return {"val_loss": found.loss, "val_accuracy": found.accuracy, "val_auc": auc}

    def metric(self, line: dict[str, Any]) -> str:
        """``val_auc`` where there is one."""
        return "val_accuracy" if line["val_auc"] is None else "val_auc"
