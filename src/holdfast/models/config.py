"""What a model was made with, so that it can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from holdfast.core.errors import DataError


@dataclass(frozen=True)
class ModelConfig:
    """Name and all arguments of ``models.create``; every value is JSON-able."""

    name: str
    in_channels: int
    classes: int
    size: int
    stem: str | None = None
    norm: str | None = None
    last_norm: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The configuration as a JSON object."""
        data = asdict(self)
        return {**data, "mean": _listed(self.mean), "std": _listed(self.std)}

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments that make the same model: ``models.create(**config.arguments())``."""
        data = self.to_json()
        options = data.pop("options")
        return {**data, **options}

    @classmethod
    def from_json(cls, data: Any, source: str) -> ModelConfig:
        """Read ``to_json``'s object. Raises DataError that names ``source`` if it is anything else."""
        try:
            config = cls(**data)
            return cls(**{**data, "mean": _tupled(config.mean), "std": _tupled(config.std)})
        except TypeError as error:
            raise DataError(source, expected="a model configuration", got=str(error)) from error


def _listed(values: tuple[float, ...] | None) -> list[float] | None:
    return None if values is None else list(values)


def _tupled(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)
