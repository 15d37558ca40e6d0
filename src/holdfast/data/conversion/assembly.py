"""From the pieces to one file a split, with what was learnt from all of them applied."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from holdfast.core.paths import atomic_path
from holdfast.data.conversion.layout import SPLITS, Writer, arrays_of, created
from holdfast.data.schema import reading
from holdfast.data.transforms import Pipeline, Step

_BLOCK_BYTES = 8 << 20
_BUCKET = 1 << 22


def write(
    folder: Path,
    parts: Sequence[Path],
    after: tuple[Step, ...],
    header: Mapping[str, Any],
    pool: Executor | None,
    advance: Callable[..., None],
) -> None:
    """Write the files of all splits, each atomically. Raises StorageError."""
    calls = [(folder, split, list(parts), after, dict(header)) for split in SPLITS]
    if pool is None:
        for call in calls:
            write_split(*call)
            advance()
        return
    for future in [pool.submit(write_split, *call) for call in calls]:
        future.result()
        advance()


def write_split(
    folder: Path, split: str, parts: Sequence[Path], after: tuple[Step, ...], header: Mapping[str, Any]
) -> None:
    """Write one split: the events of all ``parts`` in order, after the steps that are left."""
    pipeline = Pipeline(after)
    with atomic_path(folder / f"{split}.h5") as temporary, created(temporary) as target:
        writer: Writer | None = None
        for part in parts:
            with reading(part), h5py.File(part, "r") as file:
                group = file[split]
                rows = max(1, _BLOCK_BYTES // max(1, 4 * int(np.prod(group["images"].shape[1:]))))
                for low in range(0, max(len(group["images"]), 1), rows):
                    arrays = arrays_of(group, low, low + rows)
                    arrays["images"] = pipeline.apply(arrays["images"])
                    if writer is None:
                        columns = {
                            name.removeprefix("columns/"): values.dtype.str
                            for name, values in arrays.items()
                            if name.startswith("columns/")
                        }
                        writer = Writer(target, arrays["images"].shape[1:], columns)
                    writer.append(arrays)
        assert writer is not None
        for key, value in header.items():
            target.attrs[key] = value if isinstance(value, str | bool) else json.dumps(value)
        target.attrs["split"] = split
        target.attrs["content"] = writer.content


def duplicates(path: Path) -> int:
    """How many events have the image of an earlier one, found by their hashes in bounded memory."""
    with reading(path), h5py.File(path, "r") as file:
        events = file["event"]
        buckets = -(-len(events) // _BUCKET)
        found = 0
        for bucket in range(buckets):
            chosen = []
            for low in range(0, len(events), _BUCKET):
                values = events[low : low + _BUCKET]
                chosen.append(values[values % np.uint64(buckets) == bucket])
            hashes = np.concatenate(chosen)
            found += len(hashes) - len(np.unique(hashes))
    return found
