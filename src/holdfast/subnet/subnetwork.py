"""A subnetwork of a random network: its seed, its scores, and the statistics of its norms."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod, sqrt
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Generator, Tensor

from holdfast import models
from holdfast.core.canonical import canonical_json
from holdfast.core.errors import DataError, UsageError
from holdfast.core.paths import write_bytes
from holdfast.core.seeding import derive
from holdfast.models import ModelConfig
from holdfast.models.state import load_strictly
from holdfast.subnet.assembly import stats_of
from holdfast.subnet.global_rate import GlobalRate
from holdfast.subnet.layers import Masked, masked, masked_layers, prunable, replace
from holdfast.subnet.packed import Packed, PackedLayer, as_stored
from holdfast.subnet.rates import check_counts
from holdfast.subnet.scores import By
from holdfast.subnet.signs import sign_bits

_HEADER = "holdfast.subnetwork/1"

Init = Literal["binary", "kaiming_constant", "kaiming_normal"]
"""Weights: ±1; ± the standard deviation √(2 / fan-in); normal with it. Signs are those of subnet/signs.py."""


@dataclass(frozen=True)
class Recipe:
    """What makes the random network and its first scores.

    Scores are drawn from N(0, ``score_scale``²), or uniformly from ± ``score_scale`` if ``score_init`` is
    ``uniform``. ``by`` is what they are ranked by. ``counts`` are the weights that each layer keeps; with
    ``shared`` only their sum counts, and layers compete for it by their scores.
    """

    seed: int
    counts: Sequence[int]
    init: Init = "binary"
    score_init: Literal["normal", "uniform"] = "normal"
    score_scale: float = 0.01
    by: By = "value"
    shared: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("init", Init), ("by", By)):
            if getattr(self, name) not in get_args(kind):
                raise UsageError(
                    name, expected=f"one of {', '.join(get_args(kind))}", got=getattr(self, name)
                )
        if self.score_init not in ("normal", "uniform"):
            raise UsageError("score_init", expected="normal or uniform", got=self.score_init)
        if not self.score_scale > 0:
            raise UsageError("score_scale", expected="a number > 0", got=self.score_scale)

    def weight(self, layer: str, shape: torch.Size) -> Tensor:
        """The weights of ``layer``, of ``shape`` (M, C, …)."""
        signs = torch.from_numpy(sign_bits(self.seed, layer, shape.numel())).view(shape)
        weight = torch.where(signs, 1.0, -1.0)
        deviation = sqrt(2 / prod(shape[1:]))
        if self.init == "kaiming_constant":
            return weight * deviation
        if self.init == "kaiming_normal":
            generator = Generator().manual_seed(derive(self.seed, "weights", layer))
            return weight * deviation * torch.randn(shape, generator=generator).abs()
        return weight

    def scores(self, layer: str, shape: torch.Size) -> Tensor:
        """The first scores of ``layer``."""
        generator = Generator().manual_seed(derive(self.seed, "scores", layer))
        if self.score_init == "uniform":
            return self.score_scale * (2 * torch.rand(shape, generator=generator) - 1)
        return self.score_scale * torch.randn(shape, generator=generator)


class Subnetwork:
    """A model whose convolutions and linear layers are masked, all with weights that never change.

    ``model`` is what trains and runs; ``masks`` are its masks now.
    """

    def __init__(self, config: ModelConfig, recipe: Recipe) -> None:
        """Start anew. Raises UsageError where ``recipe`` does not fit the model."""
        self.recipe = recipe
        self.model = models.create(**config.arguments())
        found = prunable(self.model)
        sizes = [layer.weight.numel() for layer in found.values()]
        for (name, layer), kept in zip(found.items(), check_counts(recipe.counts, sizes), strict=True):
            shape = layer.weight.shape
            new = masked(layer)
            new.start(recipe.weight(name, shape), recipe.scores(name, shape), kept, recipe.by)
            replace(self.model, name, new)
        self._share: Callable[..., None] | None = None
        if recipe.shared:
            self._share = GlobalRate(self.model, sum(recipe.counts), recipe.by)
            self.model.register_forward_pre_hook(self._share)

    @property
    def config(self) -> ModelConfig:
        """What the model was made with."""
        config: ModelConfig = self.model.config  # type: ignore[assignment]
        return config

    @property
    def layers(self) -> dict[str, Masked]:
        """The masked layers by name, each keeping its number of weights."""
        if self._share is not None:
            self._share()
        return masked_layers(self.model)

    @property
    def masks(self) -> dict[str, Tensor]:
        """The mask of each layer, bool, of its weight's shape."""
        return {name: layer.mask for name, layer in self.layers.items()}

    def save(self, path: Path | str, meta: Mapping[str, Any] | None = None) -> None:
        """Write scores, statistics and recipe to ``path``, atomically. Raises StorageError."""
        header = {
            "config": self.config.to_json(),
            "recipe": {**asdict(self.recipe), "counts": list(self.recipe.counts)},
            "meta": dict(meta or {}),
        }
        tensors = {key: value.detach().cpu().contiguous() for key, value in self.model.state_dict().items()}
        write_bytes(Path(path), to_bytes(tensors, metadata={_HEADER: canonical_json(header).decode()}))

    @classmethod
    def load(cls, path: Path | str) -> Subnetwork:
        """Read what ``save`` wrote, in eval mode. Raises DataError for a damaged or another file."""
        path = Path(path)
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {})[_HEADER])
            config = ModelConfig.from_json(header["config"], str(path))
            found = cls(config, Recipe(**header["recipe"]))
            load_strictly(found.model, load_file(path), str(path))
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, UsageError) as error:
            raise DataError(
                f"subnetwork {path}", expected=f"a file with a header {_HEADER}", got=str(error)
            ) from error
        found.model.eval()
        return found

    def pack(self, *, explicit_signs: bool = False, meta: Mapping[str, Any] | None = None) -> Packed:
        """The network as a small file, its statistics rounded to float16.

        ``explicit_signs`` puts the signs into it as well. Raises UsageError for weights that are not all of
        one size a layer (``kaiming_normal``), and for statistics that float16 cannot hold.
        """
        if self.recipe.init == "kaiming_normal":
            raise UsageError(
                "pack",
                expected="weights of one size: binary or kaiming_constant",
                got=self.recipe.init,
                remedy="prune with --init binary",
            )
        layers = []
        for name, layer in self.layers.items():
            weight, mask = layer.weight.cpu(), layer.mask.cpu()
            scale = float(weight.abs().max())
            layers.append(PackedLayer(name, mask.numpy(), (weight[mask] > 0).numpy(), scale))
        stats = {name: as_stored(name, value) for name, value in stats_of(self.model).items()}
        seed = None if explicit_signs else self.recipe.seed
        return Packed(self.config, tuple(layers), stats, seed, dict(meta or {}))
