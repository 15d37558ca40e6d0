"""Model files as programs pass them on: weights, configuration, and how the model is to be protected."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from holdfast import models
from holdfast.core.errors import UsageError
from holdfast.core.result import Label

PACKED, SUBNETWORK = "holdfast.packed/1", "holdfast.subnetwork/1"


@dataclass(frozen=True)
class ModelFile:
    """A file that holds a model, and what programs know of it: its name and its protection (None: plain).

    It is a model file, a packed network or a subnetwork with its scores. ``data`` says what it was trained on
    (``DataInfo.for_model_file``), None where that is not known.
    """

    path: Path
    name: str
    protection: dict[str, Any] | None = field(hash=False)
    format: str | None = None
    data: dict[str, Any] | None = field(default=None, hash=False)

    @classmethod
    def open(cls, path: Path) -> ModelFile:
        """Read the header only. Raises DataError if the file holds no model."""
        kind, meta = _subnet_header(path)
        if kind is None:
            meta = models.read_meta(path)
        name = str(meta.get("name") or path.stem)
        return cls(path, name, meta.get("protection"), kind, meta.get("data"))

    @property
    def labels(self) -> dict[str, Label]:
        """Labels of every record measured on this model."""
        return {"model": self.name, "protection": "protected" if self.protection else "plain"}

    def plain(self) -> nn.Module:
        """The model of ``models.create``, unprotected, in eval mode. Raises DataError for a damaged file.

        Of a packed network or a subnetwork it has the weights in effect, and biases of zero where the
        architecture has biases.
        """
        from holdfast import subnet

        if self.format == PACKED:
            return _with_biases(subnet.load_packed(self.path).to_module())
        if self.format == SUBNETWORK:
            return _with_biases(_effective(subnet.Subnetwork.load(self.path)))
        return models.load(self.path)

    def load(self) -> nn.Module:
        """The model in eval mode, protected if the file says so."""
        model = self.plain()
        if self.protection:
            from holdfast import protect

            # All rungs, whatever pays on this machine: so that the records of two runs agree.
            model = protect(model, **{"plan": None, **self.protection})
        return model.eval()

    __call__ = load


def save(
    model: nn.Module,
    path: Path,
    name: str,
    protection: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Write ``model`` (unprotected) with its name, protection settings and ``data`` to ``path`` atomically.

    ``data`` is what the model has to know of its inputs (``DataInfo.for_model_file``).

    Raises UsageError for a network that channels have been taken out of: the file could not be read again.
    """
    with torch.device("meta"):
        made = models.create(**model.config.arguments()).state_dict()  # type: ignore[union-attr, operator]
    if any(value.shape != made[key].shape for key, value in model.state_dict().items() if key in made):
        raise UsageError(
            f"model {name}",
            expected="all channels of its architecture",
            got="a network without its dead channels",
            remedy="pack the subnetwork without --drop-dead-channels",
        )
    meta = {"name": name, "protection": protection}
    models.save(model, path, meta if data is None else {**meta, "data": data})


def _subnet_header(path: Path) -> tuple[str | None, dict[str, Any]]:
    """Which of the two formats of subnetworks ``path`` says it is in, and its meta; None for another file."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        kind = next((name for name in (PACKED, SUBNETWORK) if name in header), None)
        return kind, dict(json.loads(header[kind])["meta"]) if kind else {}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None, {}  # models.read_meta says what is wrong with it


def _effective(found: Any) -> nn.Module:
    """The model of a subnetwork with plain layers that hold the weights in effect."""
    from holdfast.subnet.assembly import stats_of
    from holdfast.subnet.layers import prunable

    model = models.create(**found.config.arguments())
    with torch.no_grad():
        for name, layer in prunable(model).items():
            layer.weight.copy_(found.layers[name].effective_weight())
            layer.register_parameter("bias", None)
    model.load_state_dict(stats_of(found.model), strict=False)
    return model.eval()


def _with_biases(model: nn.Module) -> nn.Module:
    """``model`` with a bias of zero wherever ``models.create`` makes one, so that it can be saved."""
    from holdfast.subnet.layers import prunable

    with torch.device("meta"):
        made = prunable(models.create(**model.config.arguments()))  # type: ignore[union-attr, operator]
    for name, layer in prunable(model).items():
        bias = made[name].bias
        if bias is not None and layer.bias is None:
            # As long as the layer is, which may be narrower than it was made.
            layer.bias = nn.Parameter(torch.zeros(len(layer.weight)), requires_grad=False)
    return model
