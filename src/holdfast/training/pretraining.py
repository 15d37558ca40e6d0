"""Pretraining without labels: a transformer learns to fill in hidden patches, and is fine-tuned later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from holdfast import models
from holdfast.core.errors import DataError
from holdfast.core.seeding import derive
from holdfast.training.loop import fit
from holdfast.training.masked import Masked, MaskedImages
from holdfast.training.run import FitResult


@dataclass(frozen=True)
class Reconstruction:
    """Judges by the error of hidden patches, the same ones after every epoch; the smallest is best."""

    objective: Masked
    seed: int
    higher: ClassVar[bool] = False

    def __call__(
        self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
    ) -> dict[str, float | None] | None:
        """``val_loss``: the mean absolute error of hidden, scaled pixels; None if it is not finite.

        Raises DataError if there is no batch.
        """
        was_training, losses, images = model.training, 0.0, 0
        model.eval()
        try:
            with torch.inference_mode():
                for number, (x, y) in enumerate(batches):
                    generator = Generator().manual_seed(derive(self.seed, "judge", number))
                    losses += float(self.objective(model, x.to(device), y, generator)) * len(x)
                    images += len(x)
        finally:
            model.train(was_training)
        if not images:
            raise DataError("evaluation", expected="at least one batch", got="none")
        value = losses / images
        return {"val_loss": value} if isfinite(value) else None

    def metric(self, line: dict[str, Any]) -> str:
        """The error."""
        return "val_loss"


def pretrain_masked(
    model: nn.Module,
    train: Any,
    val: Any,
    *,
    epochs: int,
    out: Path,
    ratio: float = 0.6,
    seed: int = 0,
    **options: Any,
) -> FitResult:
    """Train ``model``, a transformer of ``models.create``, to fill in ``ratio`` of its patches (SimMIM).

    Labels are not looked at. ``options`` are those of ``fit``, which says what ``out`` receives and how a
    killed run resumes; ``best.safetensors`` is the model with the smallest error on ``val``, its head as it
    was: give it to ``fit(init=…)``. Raises what ``fit`` and ``MaskedImages`` raise.
    """
    torch_state = torch.get_rng_state()
    torch.manual_seed(derive(seed, "decoder"))
    wrapped = MaskedImages(model)
    torch.set_rng_state(torch_state)
    objective = Masked(ratio)
    return fit(
        wrapped,
        train,
        val,
        epochs=epochs,
        out=out,
        seed=seed,
        objective=objective,
        judge=Reconstruction(objective, seed),
        save=_save_encoder,
        **options,
    )


def _save_encoder(model: nn.Module, path: Path, meta: dict[str, Any]) -> None:
    assert isinstance(model, MaskedImages)
    models.save(model.encoder, path, {**meta, "pretrained": "masked patches"})
