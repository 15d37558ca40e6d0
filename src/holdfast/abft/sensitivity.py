"""How small a change each layer's check is certain to see."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, frexp, sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from holdfast.abft.calibration import batches_of

if TYPE_CHECKING:
    from holdfast.abft.layers import ProtectedLayer
    from holdfast.abft.protect import Protected

_MANTISSA = {torch.float64: 52, torch.float32: 23, torch.bfloat16: 7, torch.float16: 10}


@dataclass(frozen=True)
class Sensitivity:
    """What one layer's check sees, in the unit of its output.

    ``threshold``: the largest τ met. ``certain``: 2τ, the smallest change of a position's sum that no
    rounding can hide. ``typical``: root mean square of the output. ``lowest_certain_bit``: the lowest bit (0:
    the last of the mantissa) from which on every flip in a value of typical size is certainly caught; None:
    not even a flip of the sign.
    """

    layer: str
    threshold: float
    certain: float
    typical: float
    lowest_certain_bit: int | None


def sensitivity(model: Protected, example: Any) -> list[Sensitivity]:
    """Measure every layer of ``model`` on ``example`` (as for ``calibrate``), in the order of their calls."""
    largest: dict[str, float] = {}
    squares: dict[str, tuple[float, int]] = {}
    dtypes: dict[str, torch.dtype] = {}

    def watch(name: str, deviation: float, threshold: float) -> None:
        largest[name] = max(largest.get(name, 0.0), threshold)

    def note(layer: ProtectedLayer, x: Tensor, out: Tensor) -> None:
        total, count = squares.get(layer.name, (0.0, 0))
        squares[layer.name] = (total + float(out.detach().double().square().sum()), count + out.numel())
        dtypes[layer.name] = out.dtype

    with model.guard.watched(watch), model.guard.captured(note), torch.no_grad():
        for batch in batches_of(example):
            model(batch)
    found = []
    for name, threshold in largest.items():
        if name not in squares:
            continue  # a product outside of layers: no tensor of a layer was captured for it
        total, count = squares[name]
        typical = sqrt(total / max(count, 1))
        bit = lowest_certain_bit(typical, threshold, dtypes[name])
        found.append(Sensitivity(name, threshold, 2 * threshold, typical, bit))
    return found


def lowest_certain_bit(value: float, threshold: float, dtype: torch.dtype) -> int | None:
    """The lowest bit of ``value`` from which on every flip changes it by at least 2 ``threshold``.

    A flip of mantissa bit b changes it by 2^(e + b − mantissa bits); one in the exponent by at least half of
    it, one of the sign by twice.
    """
    mantissa = _MANTISSA[dtype]
    if value == 0:
        return None
    value = abs(value)
    exponent = frexp(value)[1] - 1
    for bit in range(mantissa):
        if 2.0 ** (exponent + bit - mantissa) >= 2 * threshold:
            return bit
    if value / 2 >= 2 * threshold:
        return mantissa
    width = torch.finfo(dtype).bits
    return width - 1 if 2 * value >= 2 * threshold else None


def describe(found: list[Sensitivity]) -> str:
    """A table of ``found`` as text."""
    rows = [("layer", "threshold", "certain from", "typical output", "lowest certain bit")]
    for item in found:
        bit = "none" if item.lowest_certain_bit is None else str(floor(item.lowest_certain_bit))
        rows.append((item.layer, f"{item.threshold:.2e}", f"{item.certain:.2e}", f"{item.typical:.2e}", bit))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
