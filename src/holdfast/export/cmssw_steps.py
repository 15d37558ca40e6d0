"""The transform of a model's training images as calls of C++."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from textwrap import fill
from typing import Any

import numpy as np

from holdfast.core.errors import UsageError
from holdfast.data.transforms import (
    Channels,
    Compress,
    Crop,
    FoldCells,
    Layout,
    Normalise,
    Pipeline,
    Scale,
    Standardise,
    Step,
    SumChannels,
    ZeroSuppress,
)
from holdfast.export.cmssw_style import COLUMNS

_MOST_CHANNELS = 64


def cpp_steps(pipeline: Pipeline) -> list[str]:
    """One statement on ``image`` a step. Raises UsageError for a step that is not fitted or not bound."""
    calls = (f"image.{_CALLS[type(step)](step)};" for step in pipeline.steps)
    return [fill(call, COLUMNS, initial_indent="  ", subsequent_indent="      ") for call in calls]


def input_layout(
    pipeline: Pipeline,
    shape: tuple[int, int, int],
    *,
    rows: int,
    columns: int,
    channels: tuple[str, ...] | None = None,
) -> Layout:
    """The maps of ``rows`` × ``columns`` that ``pipeline`` makes images of ``shape`` (C, H, W) of.

    Without the names of their ``channels`` their number follows from the steps. Raises UsageError if no maps,
    or maps of more than one number of channels, would do.
    """
    if channels is not None:
        layout = _layout(channels, rows, columns)
        if (got := pipeline.outgoing(layout).shape) != shape:
            raise UsageError("transform", expected=f"images {shape}, as the model takes", got=got)
        return layout
    fitting = []
    for count in range(1, _MOST_CHANNELS + 1):
        layout = _layout([f"channel{number}" for number in range(count)], rows, columns)
        try:
            if pipeline.outgoing(layout).shape == shape:
                fitting.append(layout)
        except UsageError:
            continue
    if not fitting:
        raise UsageError(
            "transform",
            expected=f"steps from maps of {rows}x{columns} to images {shape}, as the model takes",
            got=", ".join(step.name for step in pipeline.steps) or "no steps",
            remedy="say --rows and --columns of the maps, or a --transform with a crop",
        )
    if len(fitting) > 1:
        raise UsageError(
            "channels of the maps", expected="their names", got="none", remedy="say --channels a,b,c"
        )
    return fitting[0]


def _layout(channels: Iterable[str], rows: int, columns: int) -> Layout:
    names = tuple(channels)
    return Layout(names, ("",) * len(names), rows, columns)


def _crop(step: Any) -> str:
    if step.around == "hottest":
        return f"cropAroundHottest({step.size}, {step.channel})"
    return f"cropAroundCentre({step.size})"


def _suppress(step: Any) -> str:
    if step.unit_gev is None:
        raise UsageError(
            "transform zero_suppress",
            expected="unit_gev, the GeV that 1 stands for in each channel (0: no energy)",
            got="none",
        )
    return f"suppressZeros({_floats(step.gev / unit if unit else 0.0 for unit in step.unit_gev)})"


def _standardise(step: Any) -> str:
    if step.mean is None:
        raise UsageError("transform standardise", expected="mean and std, fitted", got="none")
    return f"standardise({_floats(step.mean)}, {_floats(step.std)})"


def _normalise(step: Any) -> str:
    what = "Image" if step.over == "image" else "Channels"
    return f"normalise{what}By{'Largest' if step.by == 'max' else 'Root'}()"


_CALLS: dict[type[Step], Callable[[Any], str]] = {
    Channels: lambda step: f"selectChannels({{{', '.join(map(str, step.keep))}}})",
    Compress: lambda step: f"compress{'Log' if step.how == 'log1p' else 'Sqrt'}({_float(step.scale)})",
    Crop: _crop,
    FoldCells: lambda step: f"foldCells({step.k})",
    Normalise: _normalise,
    Scale: lambda step: f"scale({_floats(step.factors)})",
    Standardise: _standardise,
    SumChannels: lambda step: "sumChannels()",
    ZeroSuppress: _suppress,
}


def _floats(values: Iterable[float]) -> str:
    return f"{{{', '.join(map(_float, values))}}}"


def _float(value: float) -> str:
    """The float32 nearest to ``value`` as a C++ literal that reads back as exactly that."""
    if not abs(value) <= float(np.finfo(np.float32).max):
        raise UsageError("transform", expected="numbers that a float can hold", got=value)
    return f"{np.float32(value)!s}f"
