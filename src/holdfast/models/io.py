"""Model files: safetensors whose header says how to make the model again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from holdfast.core.canonical import canonical_json
from holdfast.core.errors import DataError, UsageError
from holdfast.core.paths import write_bytes
from holdfast.models.config import ModelConfig
from holdfast.models.state import load_strictly
from holdfast.models.zoo import create

_HEADER = "holdfast.model/1"


def save(model: nn.Module, path: Path, meta: Mapping[str, Any] | None = None) -> None:
    """Write weights, configuration and ``meta`` (JSON-able) to ``path`` atomically.

    Equal models with equal ``meta`` give equal bytes. Raises UsageError for a model that ``models.create``
    did not make, DataError for NaN in ``meta``, StorageError.
    """
    config = getattr(model, "config", None)
    if not isinstance(config, ModelConfig):
        raise UsageError("models.save", expected="a model made by models.create", got=type(model).__name__)
    # One header entry: several would be written in a random order.
    header = {_HEADER: canonical_json({"config": config.to_json(), "meta": dict(meta or {})}).decode()}
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_bytes(Path(path), to_bytes(tensors, metadata=header))


def load(path: Path) -> nn.Module:
    """Make the model that ``save`` wrote, on the CPU and in eval mode.

    Raises DataError for a file that is damaged or no Holdfast model.
    """
    path = Path(path)
    config = ModelConfig.from_json(_header(path)["config"], str(path))
    model = create(**config.arguments())
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise DataError(f"model {path}", expected="an undamaged file", got=str(error)) from error
    load_strictly(model, state, str(path))
    return model.eval()


def read_meta(path: Path) -> dict[str, Any]:
    """The ``meta`` that ``save`` was given, read from the header alone. Raises DataError as ``load`` does."""
    meta: dict[str, Any] = _header(Path(path))["meta"]
    return meta


def _header(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"model {path}", expected="a file", got="none there")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_HEADER)
    except (SafetensorError, OSError) as error:
        raise DataError(f"model {path}", expected="a model file", got=str(error)) from error
    if text is None:
        raise DataError(
            f"model {path}",
            expected=f"a header {_HEADER}",
            got="none",
            remedy="foreign weights come in by program:import-weights",
        )
    try:
        data = json.loads(text)
        return {"config": data["config"], "meta": dict(data["meta"])}
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"model {path}", expected="configuration and meta", got=str(error)) from error
