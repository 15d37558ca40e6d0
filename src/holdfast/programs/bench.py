"""Program ``bench``: quality, latency, FLOPs and size of one or several models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from holdfast.core.result import Label, Record, write_records
from holdfast.programs.model_files import PACKED, ModelFile

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

    A protected model that comes after the plain one of its name is also timed against it, in turn. Of a
    packed network its compiled form is measured beside, as the protection ``compiled``.
    """
    from holdfast import bench
    from holdfast.data import open as open_data

    stream = open_data(data, split=split, seed=seed, limit=limit)
    shape = stream.info.shape
    records: list[Record] = []
    plain: dict[str, nn.Module] = {}
    for path in models:
        file = ModelFile.open(path)
        model = file.load()
        for labels, subject in ((file.labels, model), *_compiled(file)):
            records += bench.quality(subject, stream, labels={**labels, "split": split}, seed=seed)
            if subject is model:
                records += bench.size(model, labels=labels)
                records += bench.flops(model, shape, labels=labels)
            if file.protection is None and subject is model:
                plain[file.name] = model
            for batch in batches:
                if subject is not plain.get(file.name, subject):
                    records += bench.overhead(
                        plain[file.name], subject, shape, batch, labels=labels, seed=seed
                    )
                records += bench.latency(subject, shape, batch, repeats=repeats, labels=labels, seed=seed)
    write_records(out / "records.jsonl", records)


def _compiled(file: ModelFile) -> list[tuple[dict[str, Label], nn.Module]]:
    """The compiled form of a packed network, with the labels of its records."""
    if file.format != PACKED:
        return []
    import torch

    from holdfast.subnet import load_packed

    compiled = load_packed(file.path).compile(threads=torch.get_num_threads())
    return [({**file.labels, "protection": "compiled"}, compiled)]
