"""Pictures of masks: the kept weights of one layer, or of two consecutive ones, channels aligned."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import UsageError
from holdfast.programs import charts

if TYPE_CHECKING:
    from holdfast.subnet import Packed
    from holdfast.subnet.packed import PackedLayer

BLUE, ORANGE = "#0072B2", "#E69F00"
"""Of Okabe and Ito's palette: told apart by readers with any colour vision, and by brightness alone."""
LARGEST = 460
"""Longest side of a picture in pixels of the page."""


Pair = tuple["PackedLayer", "PackedLayer"]
"""Two convolutions, of which the second reads what the first computes."""


def consecutive(packed: Packed) -> list[Pair]:
    """The consecutive convolutions of ``packed``, in a residual network those of one block.

    Raises UsageError where there are none.
    """
    convolutions = [layer for layer in packed.layers if layer.mask.ndim == 4 and layer.mask.shape[2] > 1]
    pairs = [(a, b) for a, b in pairwise(convolutions) if len(a.mask) == b.mask.shape[1]]
    inside = [(a, b) for a, b in pairs if a.name.rpartition(".")[0] == b.name.rpartition(".")[0]]
    if not pairs:
        raise UsageError("masks", expected="two consecutive convolutions", got=packed.config.name)
    return inside or pairs


def to_draw(packed: Packed) -> Pair:
    """The first consecutive convolutions with a channel that is empty on both sides, else the last ones."""
    pairs = consecutive(packed)
    return next((pair for pair in pairs if empty_on_both_sides(pair).any()), pairs[-1])


def empty_on_both_sides(pair: Pair) -> NDArray[np.bool_]:
    """Of the channels between two layers those that the first leaves empty and the second does not read."""
    before, after = pair
    return ~alive(before.mask, 0) & ~alive(after.mask, 1)


def alive(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Which channels of a kernel's mask (M, C, kh, kw) have a weight, along ``axis`` 0 (M) or 1 (C)."""
    return np.asarray(mask.any(tuple(i for i in range(mask.ndim) if i != axis)))


def layer(mask: NDArray[np.bool_]) -> str:
    """The mask (M, C, kh, kw) as a picture of M·kh rows and C·kw columns: SVG.

    Kept weights are blue, channels without any orange, rows of outputs and columns of inputs; the bar on top
    is blue where an input channel has weights.
    """
    alt = charts._altair()
    side = _side(mask)
    picture = _picture(alt, mask, side, y_title="output channel", x_title="input channel")
    bar = _bar(alt, alive(mask, 1), side * mask.shape[1] * mask.shape[3], along="x")
    return charts.svg(alt.vconcat(bar, picture, spacing=4))


def pair(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> str:
    """Two consecutive layers side by side, the channels between them in the same rows: SVG.

    On the left the rows are the outputs of ``before``, on the right the inputs of ``after``; the two bars in
    the middle are blue where the channel has weights in the layer beside it.
    """
    alt = charts._altair()
    turned = after.swapaxes(0, 1)
    side = min(_side(before), _side(turned))
    left = _picture(alt, before, side, y_title="channel between the layers", x_title="input channel")
    right = _picture(alt, turned, side, y_title=None, x_title="output channel")
    height = side * len(before) * before.shape[2]
    bars = [_bar(alt, alive(mask, 0), height, along="y") for mask in (before, turned)]
    return charts.svg(alt.hconcat(left, *bars, right, spacing=4))


def _side(mask: NDArray[np.bool_]) -> float:
    """Pixels of the page for one weight."""
    m, c, kh, kw = mask.shape
    return min(4.0, LARGEST / int(max(m * kh, c * kw)))


def _picture(alt: Any, mask: NDArray[np.bool_], side: float, *, y_title: str | None, x_title: str) -> Any:
    m, c, kh, kw = mask.shape
    size = {"width": side * c * kw, "height": side * m * kh}
    x_scale, y_scale = (
        alt.Scale(domain=[0, c], nice=False),
        alt.Scale(domain=[0, m], nice=False, reverse=True),
    )
    x = {"scale": x_scale, "title": x_title, "axis": alt.Axis(grid=False, tickCount=6, format="d")}
    y = {
        "scale": y_scale,
        "title": y_title,
        "axis": alt.Axis(grid=False, tickCount=6, format="d") if y_title else None,
    }
    bands = [{"x": 0, "x2": c, "y": a, "y2": b} for a, b in _runs(~alive(mask, 0))]
    bands += [{"x": a, "x2": b, "y": 0, "y2": m} for a, b in _runs(~alive(mask, 1))]
    kept = [
        {"x": j + v / kw, "x2": j + (v + 1) / kw, "y": i + u / kh, "y2": i + (u + 1) / kh}
        for i, j, u, v in np.argwhere(mask).tolist()
    ]
    layers = [
        alt.Chart(alt.Data(values=values), **size)
        .mark_rect(color=colour, strokeWidth=0)
        .encode(x=alt.X("x:Q", **x), x2="x2:Q", y=alt.Y("y:Q", **y), y2="y2:Q")
        for values, colour in ((bands, ORANGE), (kept, BLUE))
    ]
    return alt.layer(*layers, view=alt.ViewConfig(stroke="#444"))


def _bar(alt: Any, kept: NDArray[np.bool_], length: float, *, along: Literal["x", "y"]) -> Any:
    """A strip that is blue where channels are alive, white elsewhere."""
    data = alt.Data(values=[{"a": a, "b": b} for a, b in _runs(kept)])
    scale = alt.Scale(domain=[0, len(kept)], nice=False, reverse=along == "y")
    if along == "x":
        size = {"width": length, "height": 10}
        where = {"x": alt.X("a:Q", scale=scale, axis=None), "x2": "b:Q"}
    else:
        size = {"width": 10, "height": length}
        where = {"y": alt.Y("a:Q", scale=scale, axis=None), "y2": "b:Q"}
    bar = alt.Chart(data, **size).mark_rect(color=BLUE, strokeWidth=0).encode(**where)
    return bar.properties(view=alt.ViewConfig(stroke="#444"))


def _runs(flags: NDArray[np.bool_]) -> list[list[int]]:
    """Where (first, last + 1) neighbours are set. One box for all: seams would look like channels."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return [[int(a), int(b)] for a, b in edges.reshape(-1, 2)]
