"""What is known of a data set and of one stream through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

Split = Literal["train", "val", "test", "train_val", "all"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class DataInfo:
    """One split of a data set.

    ``shape`` is (channels, height, width); ``n`` and ``counts`` (by class name) are of this split;
    ``unit_gev`` has the GeV that one unit of each channel stands for (None: that channel is no energy), and
    is None where no channel is one; ``value_range`` bounds the inputs where they are bounded;
    ``fingerprint`` (64 hex digits) identifies the events of this split by the content of their files.
    ``channels`` and ``units`` ("50 GeV") name each channel and its unit; ``transform`` are the steps
    (``data.transforms``, as JSON) that the images went through. Each is None where it is not known.
    """

    name: str
    split: Split
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    n: int
    counts: dict[str, int]
    unit_gev: tuple[float | None, ...] | None
    value_range: tuple[float, float] | None
    simulated: bool
    fingerprint: str
    channels: tuple[str, ...] | None = None
    units: tuple[str, ...] | None = None
    transform: tuple[dict[str, Any], ...] | None = None

    def for_model_file(self) -> dict[str, Any]:
        """What a model file says of the data it was trained on, as plain JSON."""
        return {
            "transform": None if self.transform is None else list(self.transform),
            "channels": None if self.channels is None else list(self.channels),
            "units": None if self.units is None else list(self.units),
            "classes": list(self.classes),
            "simulated": self.simulated,
        }

    @property
    def classes_present(self) -> tuple[str, ...]:
        """Classes that this split has events of."""
        return tuple(name for name in self.classes if self.counts[name])
