"""What a conversion will do: its files, what they have in common, and the pieces of work."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.core.canonical import content_hash
from holdfast.core.errors import DataError, UsageError
from holdfast.data.conversion.layout import LAYOUT
from holdfast.data.conversion.pieces import Piece, Task
from holdfast.data.files import found_files
from holdfast.data.readers import FORMATS, OnCorrupt, Reader, open_reader
from holdfast.data.table import file_hash
from holdfast.data.transforms import Layout, Pipeline, Step

_PIECE_BYTES, _MIN_ROWS, _MAX_ROWS = 512 << 20, 1024, 65536


@dataclass(frozen=True)
class Plan:
    """All that decides the result; ``key`` is its hash, file contents included.

    ``pipeline`` is bound to the images of ``incoming``; ``before`` are its steps up to the one that learns.
    """

    name: str
    pieces: tuple[Piece, ...]
    task: Task
    pipeline: Pipeline
    before: tuple[Step, ...]
    incoming: Layout
    classes: tuple[str, ...] | None
    simulated: bool
    sources: tuple[dict[str, Any], ...]
    settings: dict[str, Any]
    key: str


def plan(
    files: Sequence[Path | str] | Path | str,
    pipeline: Pipeline,
    *,
    classes: tuple[str, ...] | None,
    label: str | None,
    image: str | None,
    channels: tuple[str, ...] | None,
    units: tuple[str, ...] | None,
    seed: int,
    shares: tuple[float, float],
    on_corrupt: OnCorrupt,
) -> Plan:
    """Look at all files, and cut them into pieces. Raises UsageError, DataError."""
    if len(shares) != 2 or min(shares) < 0 or sum(shares) > 1:
        raise UsageError("shares", expected="those of train and val, at most 1 together", got=shares)
    if on_corrupt not in ("stop", "skip"):
        raise UsageError("on_corrupt", expected="stop or skip", got=repr(on_corrupt))
    paths = sorted(found_files(files, FORMATS), key=lambda path: (path.name, str(path)))
    readers = [open_reader(path, image=image, channels=channels, units=units) for path in paths]
    first = readers[0]
    for reader in readers:
        _fits(reader, first)
    label = label or first.label
    _has_label(readers, label)
    assert first.shape is not None
    assert label is not None
    incoming = Layout(first.channels, first.units, *first.shape[1:])
    pipeline = pipeline.bind(incoming)
    outgoing = pipeline.outgoing(incoming)
    before, learner, _ = pipeline.parts()
    classes = classes or first.classes
    columns = [name for name in first.columns if name != label]
    task = Task(
        shape=first.shape,
        out_shape=before.outgoing(incoming).shape,
        before=before.steps,
        learns=learner is not None,
        label=label,
        classes=len(classes) if classes else None,
        columns=tuple((name, first.types[name]) for name in columns),
        image=image,
        seed=seed,
        shares=shares,
        on_corrupt=on_corrupt,
    )
    with ThreadPoolExecutor(4) as pool:
        hashes = list(pool.map(file_hash, paths))
    sources = tuple(
        {
            "name": r.path.name,
            "format": r.kind,
            "bytes": r.path.stat().st_size,
            "rows": r.rows,
            "sha256": digest,
        }
        for r, digest in zip(readers, hashes, strict=True)
    )
    settings = {
        "seed": seed,
        "shares": list(shares),
        "on_corrupt": on_corrupt,
        "label": label,
        "image": image,
        "split_by": "SHA-256 of the untransformed image",
    }
    asked = [LAYOUT, sources, settings, pipeline.to_json(), classes, incoming.channels, incoming.units]
    return Plan(
        name=_name(first),
        pieces=tuple(_pieces(readers)),
        task=task,
        pipeline=pipeline,
        before=before.steps,
        incoming=incoming,
        classes=classes,
        simulated=any(reader.simulated for reader in readers),
        sources=sources,
        settings=settings,
        key=content_hash([*asked, list(outgoing.shape)]),
    )


def _fits(reader: Reader, first: Reader) -> None:
    if reader.rows == 0:
        raise DataError(str(reader.path), expected="at least one event", got="none")
    if reader.shape is None:
        raise DataError(
            str(reader.path),
            expected="images of one shape",
            got="several shapes, or no image that can be read",
            remedy="convert images of different shapes apart",
        )
    for what in ("shape", "units", "columns"):
        if getattr(reader, what) != getattr(first, what):
            raise DataError(
                str(reader.path),
                expected=f"the {what} of {first.path.name}: {getattr(first, what)}",
                got=getattr(reader, what),
                remedy="convert files that differ apart",
            )


def _has_label(readers: Sequence[Reader], label: str | None) -> None:
    for reader in readers:
        if label not in reader.columns:
            raise DataError(
                str(reader.path),
                expected=f"labels in a column {label or 'y'}",
                got=f"columns {', '.join(reader.columns) or 'none'} beside the images",
                remedy="name the column of the labels (label)" if reader.columns else None,
            )


def _name(reader: Reader) -> str:
    kind = "-".join(sorted(reader.classes)) if reader.classes else reader.kind
    return f"{kind}-simulated" if reader.simulated else kind


def _pieces(readers: Sequence[Reader]) -> list[Piece]:
    pieces = []
    for source, reader in enumerate(readers):
        assert reader.shape is not None
        fit = _PIECE_BYTES // (4 * int(np.prod(reader.shape)))
        rows = min(max(fit, _MIN_ROWS), _MAX_ROWS)
        for start in range(0, reader.rows, rows):
            pieces.append(Piece(reader.path, source, start, min(start + rows, reader.rows)))
    return pieces
