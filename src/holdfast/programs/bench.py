"""Program ``bench``: quality, latency, FLOPs and size of one or several models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from holdfast.core.result import Record, write_records
from holdfast.programs.model_files import ModelFile

if TYPE_CHECKING:
    from holdfast.data.info import Split


def run(
    out: Path,
    *,
    models: list[Path],
    data: Path | str,
    batches: list[int],
    repeats: int,
    split: Split,
    limit: int | None,
    seed: int,
) -> None:
    """Measure every model on ``split`` and at every batch size, and write ``out/records.jsonl``.

    A protected model that comes after the plain one of its name is also timed against it, in turn.
    """
    from holdfast import bench
    from holdfast.data import open as open_data

    stream = open_data(data, split=split, seed=seed, limit=limit)
    records: list[Record] = []
    plain: dict[str, nn.Module] = {}
    for path in models:
        file = ModelFile.open(path)
        model = file.load()
        labels = {**file.labels, "split": split}
        records += bench.quality(model, stream, labels=labels, seed=seed)
        records += bench.size(model, labels=file.labels)
        records += bench.flops(model, stream.info.shape, labels=file.labels)
        if file.protection is None:
            plain[file.name] = model
        for batch in batches:
            if file.protection is not None and file.name in plain:
                records += bench.overhead(
                    plain[file.name], model, stream.info.shape, batch, labels=file.labels, seed=seed
                )
            records += bench.latency(
                model, stream.info.shape, batch, repeats=repeats, labels=file.labels, seed=seed
            )
    write_records(out / "records.jsonl", records)
