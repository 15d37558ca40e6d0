"""Starting from weights that another training left: fine-tuning."""

from __future__ import annotations

from pathlib import Path

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from holdfast import models
from holdfast.core.errors import UsageError
from holdfast.models import ModelConfig


def start_from(model: nn.Module, path: Path) -> list[str]:
    """Take the weights of the model file ``path`` over into ``model`` (from ``models.create``).

    Both are of the same architecture, size and channels; the number of classes may differ, and then the
    entries with a row a class keep their own values: returns their names. The statistics of the input
    (``scaling``) belong to the data, not to the model, and start anew. Raises DataError for a damaged file,
    UsageError for a model that does not fit.
    """
    source = models.load(path)
    ours, theirs = _config(model), _config(source)
    here, there = model.state_dict(), source.state_dict()
    kept = sorted(key for key in here if key not in there or there[key].shape != here[key].shape)
    last = {key for key in kept if key in there and here[key].dim() and there[key].dim()}
    last = {key for key in last if (len(here[key]), len(there[key])) == (ours.classes, theirs.classes)}
    wrong = [key for key in kept if key not in last]
    if ours.name != theirs.name or wrong:
        got = f"{theirs.name} {theirs.in_channels}×{theirs.size}×{theirs.size}"
        got += f", which differs in {', '.join(wrong[:4])}" if wrong else ""
        expected = f"a {ours.name} for {ours.in_channels}×{ours.size}×{ours.size} with the same options"
        raise UsageError(f"weights of {path}", expected=expected, got=got)
    model.load_state_dict({**here, **{key: there[key] for key in here if key not in kept}})
    for module in getattr(model, "scaling", nn.Identity()).modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
    return kept


def _config(model: nn.Module) -> ModelConfig:
    config = model.config
    assert isinstance(config, ModelConfig)
    return config
