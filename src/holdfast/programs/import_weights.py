"""Program ``import-weights``: foreign trained weights in a model of the zoo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.programs import model_files


def run(
    out: Path,
    *,
    weights: Path,
    model: str,
    name: str | None,
    in_channels: int,
    classes: int,
    size: int,
    options: dict[str, Any],
    mean: list[float],
    std: list[float],
) -> None:
    """Load ``weights`` strictly into ``model`` and write ``out/model.safetensors``.

    Raises DataError if a key is missing or left over, or a shape differs.
    """
    from holdfast import models

    network = models.create(
        model, in_channels=in_channels, classes=classes, size=size, mean=mean, std=std, **options
    )
    models.load_weights(network, weights)
    model_files.save(network, out / "model.safetensors", name or model)
