"""What reading, converting and loading detector images takes: ``python -m benchmarks.etl_speed``.

Random jets in the official Parquet schema (3 × 125 × 125 doubles, a row a row group) are read, and converted
by one process: as they are, and to 33 × 33 × 1 as ``workflow:particle-vit`` does. Then the e/γ CNN is trained
on converted images of 32 × 32 × 2, decoded anew every epoch or held in memory, in turns. One thread. Every
path first has to give the right images.
"""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table

from holdfast import data, models
from holdfast.core.result import Interval, Record, write_records
from holdfast.data.conversion import convert
from holdfast.data.readers import open_reader

RECORDS = Path(__file__).parent / "records" / "etl_speed.jsonl"
JETS, EVENTS, BATCH, ROUNDS, PAIRS = 1536, 4096, 256, 3, 7
SMALL = [{"name": "crop", "size": 33}, {"name": "sum_channels"}, {"name": "normalise", "by": "l2"}]


def main() -> None:
    """Measure, print and record."""
    torch.set_num_threads(1)
    records = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_jets(folder / "jets.parquet")
        check(path)
        records.append(rate("read", [JETS / timed(lambda: read(path)) for _ in range(ROUNDS)]))
        for label, steps in (("convert", []), ("convert to 33 x 33 x 1", SMALL)):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                rates, peak = pool.submit(conversions, path, folder, label, steps).result()
            records.append(rate(label, rates))
            records.append(record("peak_memory", peak, "bytes", "lower", label, timed=False))
        records.append(loading(folder))
    write_records(RECORDS, records)
    table = Table("what", "metric", "value", "interval")
    for made in records:
        bounds = made.interval and f"{made.interval.low:.4g} to {made.interval.high:.4g}"
        table.add_row(str(made.labels["what"]), made.metric, f"{made.value:.4g} {made.unit}", bounds)
    Console(width=110).print(table)


def write_jets(path: Path) -> Path:
    """Sparse random images, about as full as jets are: 40 tracks, 300 crystals, 40 towers of 5 × 5."""
    rng = np.random.default_rng(0)
    writer = None
    for start in range(0, JETS, 64):
        count = min(64, JETS - start)
        images = np.zeros((count, 3, 125, 125))
        for event in images:
            for channel, hits in ((0, 40), (1, 300)):
                at = np.clip(rng.normal(62, 15, (2, hits)), 0, 124).astype(int)
                event[channel][tuple(at)] = rng.exponential(1, hits)
            towers = np.zeros((25, 25))
            towers[tuple(rng.integers(0, 25, (2, 40)))] = rng.exponential(2, 40)
            event[2] = np.kron(towers, np.ones((5, 5)) / 25)
        lists = pa.array(images.reshape(-1))
        for size in (125, 125, 3):
            lists = pa.ListArray.from_arrays(np.arange(0, len(lists) + 1, size, dtype=np.int32), lists)
        numbers = {"m0": rng.normal(15, 3, count), "y": rng.integers(0, 2, count).astype(float)}
        table = pa.table({"X_jets": lists, **numbers})
        writer = writer or pq.ParquetWriter(path, table.schema, compression="snappy")
        writer.write_table(table, row_group_size=1)
    assert writer is not None
    writer.close()
    return path


def check(path: Path) -> None:
    """The reader's images are those that pyarrow gives as Python lists."""
    slow = pq.ParquetFile(path).read_row_groups([0, 1, 2], columns=["X_jets"])["X_jets"].to_pylist()
    assert np.array_equal(next(open_reader(path).blocks(3)).images, np.array(slow, dtype=np.float32))


def read(path: Path) -> None:
    """All blocks of a file."""
    assert sum(len(block) for block in open_reader(path).blocks()) == JETS


def conversions(path: Path, folder: Path, label: str, steps: list[dict[str, Any]]) -> tuple[list[float], int]:
    """Jets a second of several conversions in this process, and its peak memory in bytes."""
    rates = []
    for number in range(ROUNDS):
        out = folder / f"{label}-{number}"
        rates.append(JETS / timed(lambda out=out: convert(path, out, transform=steps)))
    with h5py.File(out / "train.h5") as file:
        assert file["images"].shape[1:] == ((1, 33, 33) if steps else (3, 125, 125))
    return rates, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def loading(folder: Path) -> Record:
    """Time of a training epoch on decoded images over that on images in memory, paired, in turns."""
    rng = np.random.default_rng(0)
    images = rng.exponential(0.01, (EVENTS, 32, 32, 2)).astype(np.float32) * (
        rng.random((EVENTS, 32, 32, 1)) < 0.2
    )
    np.savez(folder / "showers.npz", X=images.astype(np.float32), y=rng.integers(0, 2, EVENTS))
    convert(folder / "showers.npz", folder / "showers", shares=(1.0, 0.0))
    decoded = data.open(folder / "showers", cache_bytes=0)
    memory = data.open(folder / "showers")
    for (a, _), (b, _) in zip(decoded.batches(BATCH), memory.batches(BATCH), strict=True):
        assert torch.equal(a, b)
    model = models.create("cnn", in_channels=2, classes=2, size=32)
    optimizer = torch.optim.AdamW(model.parameters())
    epoch(model, optimizer, memory, 0)
    ratios = []
    for number in range(1, PAIRS + 1):
        slow = timed(lambda n=number: epoch(model, optimizer, decoded, n))
        ratios.append(slow / timed(lambda n=number: epoch(model, optimizer, memory, n)))
    return record("epoch_time_ratio", median(ratios), "1", "lower", "decoded / in memory", ratios)


def epoch(model: torch.nn.Module, optimizer: torch.optim.Optimizer, stream: Any, number: int) -> None:
    """One pass over the training data, shuffled."""
    for x, y in stream.batches(BATCH, epoch=number, shuffle=True):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def timed(call: Callable[[], object]) -> float:
    """Seconds that ``call`` takes."""
    start = perf_counter()
    call()
    return perf_counter() - start


def rate(what: str, rates: list[float]) -> Record:
    """The median of jets a second."""
    return record("jets_per_second", median(rates), "1/s", "higher", what, rates)


def record(
    metric: str,
    value: float,
    unit: str,
    direction: Any,
    what: str,
    values: list[float] | None = None,
    timed: bool = True,
) -> Record:
    """A record with the range of ``values`` as interval."""
    bounds = (
        None
        if values is None
        else Interval(low=min(values), high=max(values), level=1.0, method=f"range of {len(values)}")
    )
    return Record(
        metric=metric,
        value=value,
        unit=unit,
        direction=direction,
        n=len(values) if values else None,
        interval=bounds,
        timed=timed,
        labels={"what": what, "workers": 1},
        simulated=True,
    )


if __name__ == "__main__":
    main()
