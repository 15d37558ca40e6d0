"""Program ``import-weights``: foreign trained weights in a model of the zoo, or a whole Keras network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.programs import model_files


def run(
    out: Path,
    *,
    weights: Path,
    model: str | None,
    name: str | None,
    in_channels: int,
    classes: int,
    size: int,
    options: dict[str, Any],
    mean: list[float],
    std: list[float],
) -> None:
    """Load ``weights`` strictly into ``model`` and write ``out/model.safetensors``.

    Without ``model``, ``weights`` is a Keras network that says what its layers are, and how many channels,
    classes and pixels it has; nothing is removed from its pixels. An empty ``mean`` or ``std`` removes none
    either. Raises DataError if a key is missing or left over, or a shape differs, UsageError without a model
    for another kind of file.
    """
    from holdfast import models
    from holdfast.core.errors import UsageError
    from holdfast.models import keras_file

    keras = weights.suffix in keras_file.SUFFIXES
    if model is None:
        if not keras:
            raise UsageError("model", expected=f"the name of the model that {weights} belongs to", got="none")
        network = models.import_keras(weights)
    else:
        network = models.create(
            model,
            in_channels=in_channels,
            classes=classes,
            size=size,
            mean=mean or None,
            std=std or None,
            **options,
        )
        load = models.load_keras_weights if keras else models.load_weights
        load(network, weights)
    model_files.save(network, out / "model.safetensors", name or model or weights.stem)
