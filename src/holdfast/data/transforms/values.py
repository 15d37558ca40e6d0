"""Steps that change the values of cells, each by itself or by numbers of its image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import numpy as np

from holdfast.data.transforms.layout import Layout, rescaled
from holdfast.data.transforms.moments import Moments
from holdfast.data.transforms.step import Images, Step

How = Literal["log1p", "sqrt"]
Over = Literal["image", "channel"]
By = Literal["max", "l2"]


@dataclass(frozen=True)
class Scale(Step):
    """Each channel times its factor: 0.02 turns GeV into units of 50 GeV."""

    name: ClassVar[str] = "scale"
    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.factors or not all(np.isfinite(f) and f > 0 for f in self.factors):
            raise self._refuse("positive factors, one a channel", self.factors)

    def apply(self, images: Images) -> Images:
        """x · factor."""
        return images * _columns(self.factors)

    def outgoing(self, layout: Layout) -> Layout:
        """Other units."""
        if len(self.factors) != len(layout.channels):
            raise self._refuse(f"{len(layout.channels)} factors, one a channel", len(self.factors))
        units = (rescaled(unit, factor) for unit, factor in zip(layout.units, self.factors, strict=True))
        return replace(layout, units=tuple(units))


@dataclass(frozen=True)
class ZeroSuppress(Step):
    """Energies below ``gev`` in absolute value become 0; channels that are no energies stay.

    ``unit_gev``, GeV that 1 stands for in each channel (0: no energy), is filled in when bound.
    """

    name: ClassVar[str] = "zero_suppress"
    gev: float
    unit_gev: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.gev) or self.gev < 0:
            raise self._refuse("a threshold >= 0 in GeV", self.gev)

    def apply(self, images: Images) -> Images:
        """0 where \\|x\\| < gev / unit_gev, in float32."""
        if self.unit_gev is None:
            raise self._refuse("to be bound to a layout first", "no units")
        thresholds = [self.gev / unit if unit else 0.0 for unit in self.unit_gev]
        kept: Images = np.where(np.abs(images) < _columns(tuple(thresholds)), np.float32(0), images)
        return kept

    def bound(self, layout: Layout) -> Step:
        """With the units of the channels. Raises UsageError if none is an energy."""
        if layout.unit_gev is None:
            raise self._refuse("energies", layout.units, "say what units the images are in (units)")
        return replace(self, unit_gev=tuple(unit or 0.0 for unit in layout.unit_gev))


@dataclass(frozen=True)
class Compress(Step):
    """sign(x) · log(1 + \\|x\\| / scale) or sign(x) · sqrt(\\|x\\| / scale)."""

    name: ClassVar[str] = "compress"
    how: How = "log1p"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise self._refuse(f"one of {', '.join(get_args(How))}", self.how)
        if not np.isfinite(self.scale) or self.scale <= 0:
            raise self._refuse("scale > 0", self.scale)

    def apply(self, images: Images) -> Images:
        """The compressed values, of the same sign."""
        size = np.abs(images)
        size /= np.float32(self.scale)
        (np.log1p if self.how == "log1p" else np.sqrt)(size, out=size)
        np.copysign(size, images, out=size)
        return size

    def outgoing(self, layout: Layout) -> Layout:
        """Units that are no energies any more."""
        return replace(layout, units=tuple(f"{self.how}({unit or 'x'})" for unit in layout.units))


@dataclass(frozen=True)
class Standardise(Step):
    """(x − mean) / std of each channel, learnt from the training split if not given."""

    name: ClassVar[str] = "standardise"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None) or len(self.mean or ()) != len(self.std or ()):
            raise self._refuse("mean and std, one a channel, or neither", (self.mean, self.std))
        if self.std is not None and not all(np.isfinite(s) and s > 0 for s in self.std):
            raise self._refuse("standard deviations > 0", self.std, "leave out channels without content")

    def apply(self, images: Images) -> Images:
        """(x − mean) / std. Raises UsageError before it is fitted."""
        if self.mean is None or self.std is None:
            raise self._refuse("to be fitted first", "no mean and std")
        out: Images = images - _columns(self.mean)
        out /= _columns(self.std)
        return out

    def fitted(self, moments: Moments) -> Standardise:
        """With mean and standard deviation of what was seen."""
        return Standardise(tuple(moments.mean.tolist()), tuple(moments.std.tolist()))

    def outgoing(self, layout: Layout) -> Layout:
        """Units that are no energies any more."""
        if self.mean is not None and len(self.mean) != len(layout.channels):
            raise self._refuse(f"{len(layout.channels)} means, one a channel", len(self.mean))
        return replace(layout, units=("1",) * len(layout.channels))


@dataclass(frozen=True)
class Normalise(Step):
    """Each image, or each of its channels, divided by one number of its own; empty ones stay 0.

    That is the largest absolute value (``max``), or the root of the sum of squares (``l2``).
    """

    name: ClassVar[str] = "normalise"
    over: Over = "image"
    by: By = "max"

    def __post_init__(self) -> None:
        if self.over not in get_args(Over):
            raise self._refuse(f"over one of {', '.join(get_args(Over))}", self.over)
        if self.by not in get_args(By):
            raise self._refuse(f"by one of {', '.join(get_args(By))}", self.by)

    def apply(self, images: Images) -> Images:
        """x / max \\|x\\|, or x / √Σx²."""
        axes = (1, 2, 3) if self.over == "image" else (2, 3)
        if self.by == "max":
            sizes = np.abs(images).max(axis=axes, keepdims=True)
        else:
            squares = np.square(images, dtype=np.float64).sum(axis=axes, keepdims=True)
            sizes = np.sqrt(squares).astype(np.float32)
        sizes[sizes == 0] = 1
        normalised: Images = images / sizes
        return normalised

    def outgoing(self, layout: Layout) -> Layout:
        """Units that are no energies any more."""
        return replace(layout, units=("1",) * len(layout.channels))


def _columns(values: tuple[float, ...]) -> Images:
    """One float32 a channel, (C, 1, 1)."""
    return np.array(values, dtype=np.float32)[:, None, None]
