"""Data sets as streams: official layouts, simulated showers, checks.

stream = holdfast.data.open("digits", split="train")
for x, y in stream.batches(64, epoch=0, shuffle=True): ...
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.data.info import DataInfo, Split

if TYPE_CHECKING:
    from holdfast.data.sources import Source
    from holdfast.data.stream import Stream

__all__ = ["DataInfo", "Split", "open"]


def open(  # noqa: A001  # reads as holdfast.data.open
    source: Source,
    *,
    split: Split = "train",
    seed: int = 0,
    limit: int | None = None,
    cache_bytes: int | None = None,
    image_size: int | None = None,
) -> Stream:
    """Open one split ("train", "val", "train_val" for both, "test" or "all") of a data set as a Stream.

    ``source`` is a data set's name (digits, mnist, cifar10, cifar100, ml4sci-egamma, or a plugin's), one or
    several files or folders in the ML4SCI HDF5 layout (a list, or comma-separated), a folder laid out as
    ImageNet is (train/CLASS/*.JPEG and val/CLASS/*.JPEG, images of ``image_size``, by default 224), a folder
    that ``holdfast convert`` wrote (with the splits it made), or a folder with a manifest. ``seed`` decides
    the splits of sets without official ones, and the shuffled order; a manifest's own decides its splits.
    ``limit`` takes at most that many events of the split, spread over files and classes. A decoded split that
    fits in ``cache_bytes`` (1 GiB) is kept. Raises UnknownNameError, UsageError, DataError.
    """
    from holdfast.data import manifest, sources, stream

    cache = stream.CACHE_BYTES if cache_bytes is None else cache_bytes
    if manifest.is_manifest(source):
        assert isinstance(source, str | Path)
        pinned, table = manifest.read_manifest(Path(source))
        return stream.Stream(
            table,
            split=split,
            seed=pinned.seed,
            order_seed=seed,
            limit=limit,
            limit_all=pinned.limit,
            cache_bytes=cache,
        )
    table = sources.table(source, image_size)
    return stream.Stream(table, split=split, seed=seed, limit=limit, cache_bytes=cache)
