"""How the images of a file become what a model was trained on: its transform, its channels, its units."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.core.errors import UsageError
from holdfast.data.conversion.layout import is_converted, read_attributes
from holdfast.data.readers import Reader
from holdfast.data.transforms import Channels, Layout, Pipeline, Scale, gev_of
from holdfast.programs.model_files import ModelFile


def input_pipeline(file: ModelFile, reader: Reader) -> Pipeline:
    """The steps from the images of ``reader`` to the input of the model in ``file``.

    A file that was converted is taken as it is, if by the model's own transform. Else channels are chosen by
    name where the model names its own, energies brought to its units, and its transform applied. A model
    that names no channels takes as many as it has, or the one called energy. Raises UsageError for a file
    that lacks a channel, whose units are not known, or whose images are not of the model's size.
    """
    config: Any = file.plain().config
    wanted = (config.in_channels, config.size, config.size)
    if reader.shape is None:
        raise UsageError(
            str(reader.path), expected="images of one shape", got="several", remedy="convert them"
        )
    data = file.data or {}
    transform = list(data.get("transform") or ())
    layout = Layout(reader.channels, reader.units, *reader.shape[1:])
    if _converted(reader.path):
        own = [dict(step) for step in read_attributes(reader.path)["transform"]]
        if own != transform:
            remedy = "convert the data as those that the model was trained on"
            raise UsageError(str(reader.path), expected=f"transform {transform}", got=own, remedy=remedy)
        pipeline = Pipeline()
    elif transform:
        pipeline = Pipeline.from_json(transform).bind(layout)
    else:
        pipeline = Pipeline((*_chosen(file, data, layout), *_scaled(data, layout)))
    found = pipeline.outgoing(layout)
    named = data.get("channels")
    if found.shape != wanted or (named and tuple(named) != found.channels):
        expected = f"{'×'.join(map(str, wanted))}" + (f" ({', '.join(named)})" if named else "")
        got = f"{'×'.join(map(str, found.shape))} ({', '.join(found.channels)})"
        remedy = "name its channels with --channels, or take a model of the channels that it has"
        raise UsageError(f"{reader.path} for {file.name}", expected=expected, got=got, remedy=remedy)
    units = data.get("units")
    if units and any(unit and unit != have for unit, have in zip(units, found.units, strict=True)):
        got = ", ".join(unit or "unknown" for unit in found.units)
        remedy = "name the file's units with --units, or write the energies in those of the training data"
        raise UsageError(f"units of {reader.path}", expected=", ".join(units), got=got, remedy=remedy)
    return pipeline


def _converted(path: Path) -> bool:
    return is_converted(path.parent) and path.suffix == ".h5"


def _chosen(file: ModelFile, data: dict[str, Any], layout: Layout) -> Sequence[Channels]:
    names = data.get("channels")
    count = file.plain().config.in_channels  # type: ignore[union-attr]
    if names is None:
        if count == len(layout.channels):
            return ()
        names = ["energy"] if count == 1 else []
    missing = [name for name in names if name not in layout.channels]
    if missing or not names:
        raise UsageError(
            f"channels for {file.name}",
            expected=", ".join(names) or f"{count} channels",
            got=", ".join(layout.channels),
            remedy="name the file's channels with --channels, or take a model of the channels that it has",
        )
    keep = tuple(layout.channels.index(name) for name in names)
    return () if keep == tuple(range(len(layout.channels))) else (Channels(keep),)


def _scaled(data: dict[str, Any], layout: Layout) -> Sequence[Scale]:
    """The step from the file's units to the model's, none if they are the same."""
    names, units = data.get("channels"), data.get("units")
    if not names or not units:
        return ()
    factors = []
    for name, unit in zip(names, units, strict=True):
        have = layout.units[layout.channels.index(name)]
        ours, theirs = gev_of(have), gev_of(unit)
        if have == unit or not unit:
            factors.append(1.0)
        elif ours is None or theirs is None:
            got = have or "an unknown unit"
            raise UsageError(f"unit of {name}", expected=unit, got=got, remedy="name it with --units")
        else:
            factors.append(ours / theirs)
    return () if all(factor == 1 for factor in factors) else (Scale(tuple(factors)),)
