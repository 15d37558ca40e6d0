"""State dicts from elsewhere: read safely, loaded strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from holdfast.core.errors import DataError, UsageError

SUFFIXES = (".safetensors", ".pt", ".pth", ".th")


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a foreign state dict into ``model``, all of it or nothing.

    The file ends in ``.safetensors``, ``.pt``, ``.pth`` or ``.th``. A surrounding ``state_dict`` entry and a
    common ``module.`` prefix are taken off. No code of the file is run. Raises DataError for a damaged file
    and for missing, unexpected or differently shaped entries, which it names, and UsageError for another kind
    of file.
    """
    load_strictly(model, read_state_dict(Path(path)), str(path))


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read tensors by name, on the CPU. Raises DataError, UsageError as ``load_weights`` does."""
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"weights {path}", expected=f"a file ending in {', '.join(SUFFIXES)}", got=path.suffix
        )
    if not path.is_file():
        raise DataError(f"weights {path}", expected="a file", got="none there")
    try:
        if path.suffix == ".safetensors":
            data: Any = load_file(path)
        else:
            data = torch.load(path, map_location="cpu", weights_only=True)
    # The readers raise whatever the damaged byte leads them into; the file is at fault in every case.
    except Exception as error:
        raise DataError(
            f"weights {path}", expected="a readable state dict", got=why_unreadable(error)
        ) from error
    if isinstance(data, Mapping) and isinstance(data.get("state_dict"), Mapping):
        data = data["state_dict"]
    if not isinstance(data, Mapping) or not all(isinstance(value, Tensor) for value in data.values()):
        raise DataError(f"weights {path}", expected="tensors by name", got=type(data).__name__)
    prefixed = bool(data) and all(str(key).startswith("module.") for key in data)
    return {str(key).removeprefix("module.") if prefixed else str(key): value for key, value in data.items()}


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load ``state`` into ``model`` if names and shapes agree. Raises DataError that lists what does not."""
    own = model.state_dict()
    # A counter of training steps that older files lack and no forward pass reads.
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    problems = {
        "missing": sorted(set(own) - set(state) - counters),
        "unexpected": sorted(set(state) - set(own)),
        "of another shape": [
            f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
            for key in sorted(set(own) & set(state))
            if state[key].shape != own[key].shape
        ],
    }
    if any(problems.values()):
        got = "; ".join(f"{kind}: {_listed(keys)}" for kind, keys in problems.items() if keys)
        raise DataError(f"weights {source}", expected="the model's own entries", got=got)
    model.load_state_dict(state, strict=False)


def _listed(keys: list[str], most: int = 8) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


def why_unreadable(error: Exception) -> str:
    """One line about an error of a reader of tensors."""
    if isinstance(error, UnpicklingError):
        return "objects other than tensors"  # torch's own text advises to run them
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"
