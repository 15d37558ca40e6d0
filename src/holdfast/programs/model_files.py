"""Model files as programs pass them on: weights, configuration, and how the model is to be protected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from holdfast import models
from holdfast.core.result import Label


@dataclass(frozen=True)
class ModelFile:
    """A model file's path and what programs know of it: its name and its protection (None: plain)."""

    path: Path
    name: str
    protection: dict[str, Any] | None

    @classmethod
    def open(cls, path: Path) -> ModelFile:
        """Read the header only. Raises DataError if the file is not a Holdfast model."""
        meta = models.read_meta(path)
        return cls(path, meta.get("name", path.stem), meta.get("protection"))

    @property
    def labels(self) -> dict[str, Label]:
        """Labels of every record measured on this model."""
        return {"model": self.name, "protection": "protected" if self.protection else "plain"}

    def load(self) -> nn.Module:
        """The model in eval mode, protected if the file says so."""
        model = models.load(self.path)
        if self.protection:
            from holdfast import protect

            # All rungs, whatever pays on this machine: so that the records of two runs agree.
            model = protect(model, **{"plan": None, **self.protection})
        return model.eval()

    __call__ = load


def save(model: nn.Module, path: Path, name: str, protection: dict[str, Any] | None = None) -> None:
    """Write ``model`` (unprotected) with its name and protection settings to ``path`` atomically."""
    models.save(model, path, {"name": name, "protection": protection})
