"""Whether the labels mean what they are said to mean: gluon jets are heavier, electrons wider along phi."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.data import schema
from holdfast.data.readers import Block

SIGNIFICANCE = 5.0
Sums = dict[str, dict[str, list[float]]]
"""By quantity and label: number, sum and sum of squares."""

# Quantity, the class in which it is larger on average, the one in which it is smaller, its unit, and why.
_RULES = (
    ("m0", "gluon", "quark", "GeV", "gluon jets are heavier"),
    ("jet width", "gluon", "quark", "cells", "gluon jets are wider"),
    ("phi width", "electron", "photon", "crystals²", "bremsstrahlung widens electrons along phi"),
)


@dataclass(frozen=True)
class Evidence:
    """A quantity in two classes: means, numbers of events, and how the means differ in standard deviations.

    ``significance`` is positive where ``larger`` has the larger mean, as it should.
    """

    quantity: str
    unit: str
    larger: str
    smaller: str
    mean_larger: float
    mean_smaller: float
    n_larger: int
    n_smaller: int
    significance: float
    reason: str

    @property
    def contradicts(self) -> bool:
        """Whether the labels are the wrong way round, at five standard deviations."""
        return self.significance < -SIGNIFICANCE

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"the mean {self.quantity} is {self.mean_larger:.4g} {self.unit} for {self.larger} "
            f"({self.n_larger} events) and {self.mean_smaller:.4g} {self.unit} for {self.smaller} "
            f"({self.n_smaller}), {abs(self.significance):.0f} standard deviations apart; {self.reason}"
        )


def observed(block: Block, labels: NDArray[np.int64]) -> Sums:
    """What a block says about its labels (n,)."""
    sums: Sums = {}
    for quantity, values in _quantities(block).items():
        of_label = sums.setdefault(quantity, {})
        for label in np.unique(labels):
            chosen = values[labels == label].astype(np.float64)
            chosen = chosen[np.isfinite(chosen)]
            of_label[str(label)] = [float(len(chosen)), float(chosen.sum()), float(np.square(chosen).sum())]
    return sums


def merged(parts: Iterable[Sums]) -> Sums:
    """The sums of several blocks or pieces."""
    total: Sums = {}
    for part in parts:
        for quantity, of_label in part.items():
            for label, values in of_label.items():
                into = total.setdefault(quantity, {}).setdefault(label, [0.0, 0.0, 0.0])
                into[:] = [a + b for a, b in zip(into, values, strict=True)]
    return total


def judged(sums: Sums, classes: tuple[str, ...]) -> list[Evidence]:
    """What the sums say about the labels of ``classes``, strongest evidence first."""
    found = []
    for quantity, larger, smaller, unit, reason in _RULES:
        if quantity in sums and {larger, smaller} <= set(classes):
            a, b = (sums[quantity].get(str(classes.index(name)), [0, 0, 0]) for name in (larger, smaller))
            if min(a[0], b[0]) >= 2:
                found.append(_evidence(quantity, larger, smaller, unit, reason, a, b))
    return sorted(found, key=lambda item: -abs(item.significance))


def _evidence(
    quantity: str, larger: str, smaller: str, unit: str, reason: str, a: list[float], b: list[float]
) -> Evidence:
    means = [s[1] / s[0] for s in (a, b)]
    errors = [max(s[2] / s[0] - m * m, 0.0) / s[0] for s, m in zip((a, b), means, strict=True)]
    spread = float(np.sqrt(sum(errors)))
    difference = means[0] - means[1]
    significance = difference / spread if spread > 0 else 0.0
    return Evidence(
        quantity, unit, larger, smaller, means[0], means[1], int(a[0]), int(b[0]), significance, reason
    )


def _quantities(block: Block) -> Mapping[str, NDArray[Any]]:
    """Quantities (n,) that tell classes apart by physics alone."""
    found: dict[str, NDArray[Any]] = {}
    if "m0" in block.columns:
        found["m0"] = block.columns["m0"]
    shape = block.images.shape[1:]
    if shape in ((1, schema.SIZE, schema.SIZE), (2, schema.SIZE, schema.SIZE)):
        found["phi width"] = schema.phi_width(block.images[:, 0].astype(np.float64))
    elif "m0" not in found and min(shape[1:]) > 1:
        found["jet width"] = _width(block.images)
    return found


def _width(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean distance from the centre cell in cells, weighted with the sum of the channels: (n,)."""
    total = np.maximum(images.sum(axis=1, dtype=np.float64), 0)
    rows, columns = np.indices(total.shape[1:])
    distance = np.hypot(rows - total.shape[1] // 2, columns - total.shape[2] // 2)
    weight = total.sum(axis=(1, 2))
    width: NDArray[np.float64] = (total * distance).sum(axis=(1, 2)) / np.maximum(weight, 1e-12)
    return width
