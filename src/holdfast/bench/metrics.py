"""Quality on a data stream: accuracy and ROC-AUC, each with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from holdfast.core.errors import DataError
from holdfast.core.progress import progress
from holdfast.core.result import Label, Record
from holdfast.core.stats import roc_auc, wilson


@dataclass(frozen=True)
class Evaluation:
    """Logits (n, classes) float32 and labels (n,) int64 of one pass over some data."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def correct(self) -> int:
        """Number of images whose largest logit is the label's; one with a non-finite logit never counts."""
        finite = np.isfinite(self.logits).all(1)
        return int((finite & (self.logits.argmax(1) == self.labels)).sum())

    @property
    def accuracy(self) -> float:
        """Share of correct images."""
        return self.correct / len(self.labels)

    @property
    def scores(self) -> NDArray[np.float64]:
        """Log odds (n,) of class 1 of two: probabilities would tie where they saturate."""
        logits = self.logits.astype(np.float64)
        return np.asarray(logits[:, 1] - logits[:, 0])

    @property
    def has_auc(self) -> bool:
        """Whether there are two classes, both among the labels."""
        return self.logits.shape[1] == 2 and len(np.unique(self.labels)) == 2

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats, in float64."""
        logits, labels = torch.from_numpy(self.logits).double(), torch.from_numpy(self.labels)
        return float(functional.cross_entropy(logits, labels))


def evaluate(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, device: torch.device | str = "cpu"
) -> Evaluation:
    """Run ``model`` in eval mode over (x, y) batches and put it back into the mode it had.

    Raises DataError if there is no batch or a label that is no class.
    """
    was_training = model.training
    model.eval()
    logits, labels = [], []
    try:
        with torch.inference_mode():
            for x, y in batches:
                logits.append(model(x.to(device)).float().cpu())
                labels.append(y)
    finally:
        model.train(was_training)
    if not logits:
        raise DataError("evaluation", expected="at least one batch", got="none")
    found = Evaluation(torch.cat(logits).numpy(), torch.cat(labels).numpy())
    classes = found.logits.shape[1]
    if found.labels.min() < 0 or found.labels.max() >= classes:
        got = f"labels {found.labels.min()} to {found.labels.max()}"
        raise DataError("evaluation", expected=f"labels 0 to {classes - 1}, the model's classes", got=got)
    return found


def quality(
    model: nn.Module,
    stream: Any,
    *,
    labels: Mapping[str, Label] | None = None,
    seed: int | None = None,
    batch_size: int = 512,
) -> list[Record]:
    """Evaluate ``model`` on ``stream`` (holdfast.data): Records ``accuracy`` and, for two classes, ``auc``.

    Accuracy has its Wilson interval, ROC-AUC that of DeLong. Logits that are not finite count as wrong, and
    make the AUC invalid. Raises DataError for an empty stream.
    """
    found = evaluate_stream(model, stream, batch_size=batch_size)
    return quality_records(found, labels=labels, seed=seed, simulated=bool(stream.info.simulated))


def evaluate_stream(
    model: nn.Module, stream: Any, *, batch_size: int = 512, device: torch.device | str = "cpu"
) -> Evaluation:
    """``evaluate`` on all of ``stream`` (holdfast.data) in its own order, with a progress bar."""
    with progress("evaluate", -(-stream.info.n // batch_size), "batches") as advance:
        return evaluate(model, _told(stream.batches(batch_size), advance), device=device)


def quality_records(
    found: Evaluation,
    *,
    labels: Mapping[str, Label] | None = None,
    seed: int | None = None,
    simulated: bool = False,
) -> list[Record]:
    """Records ``accuracy`` and, for two classes, ``auc`` of an Evaluation."""
    n = len(found.labels)
    common: dict[str, Any] = {
        "unit": "1",
        "direction": "higher",
        "n": n,
        "labels": dict(labels or {}),
        "seed": seed,
        "simulated": simulated,
    }
    interval = wilson(found.correct, n)
    records = [Record(metric="accuracy", value=found.accuracy, interval=interval, **common)]
    if not found.has_auc:
        return records
    bad = int(np.sum(~np.isfinite(found.scores)))
    if bad:
        message = f"{bad} of {n} scores are not finite"
        return [*records, Record(metric="auc", value=None, status="invalid", message=message, **common)]
    auc, interval = roc_auc(found.labels, found.scores)
    return [*records, Record(metric="auc", value=auc, interval=interval, **common)]


def _told(batches: Iterable[tuple[Tensor, Tensor]], advance: Any) -> Iterable[tuple[Tensor, Tensor]]:
    for batch in batches:
        yield batch
        advance()
